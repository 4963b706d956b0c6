// Package apiserver is all that talks to kube-apiserver: no other package imports client-go's clients.
//
// It only reads: which version of a kind an apiserver serves, the UID of a Namespace, and what its watch cache holds. It asks
// for metadata, never for whole objects.
//
// It doesn't guarantee that an answer comes from a watch cache: an apiserver that has none for a resource answers from etcd.
package apiserver
