// Package lab starts a real etcd, of one member or three, and fills it with a Kubernetes incident to practise on.
//
// The servers are the etcd library in this process, or processes of any etcd binary from 3.4 on; both can start from a
// snapshot, with every key's revisions as they were. Transport is TLS, with client certificates from the lab's own [CA].
//
// What a test proves with it is proved against etcd itself: nothing here imitates a server. The package does not guarantee
// durability, and its certificates and data are worth nothing outside of the machine that it runs on.
package lab
