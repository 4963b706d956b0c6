// Package etcdops is all that talks to etcd: no other package imports clientv3.
//
// [Connect] makes sure of every endpoint by itself before anything is built on it, and says of each one that can't be used why, and what to mend.
// It goes straight to the endpoints: the proxies of the environment are not used. A [Client] then scans, watches, reads and deletes,
// tells the state of the members ([Client.Status], and lightly [Client.Vitals]), and streams snapshots.
//
// # Guarantees
//
//   - A delete removes one key in a transaction of its own, and only at the revisions that it was looked at. Kubernetes' watch caches
//     assume that one revision changes one object.
//   - Memory depends on the size of a page, never on the number of keys.
//   - Every request ends: those of a sort that is answered at once have Config.CommandTimeout, and the others end with their context.
//   - Requests go to the leader, where it can be reached, and to another member once that hangs, is gone, or has lost the
//     leader. Large reads go to a follower.
//   - No goroutine outlives [Client.Close].
//
// It doesn't guarantee that a request whose answer was lost was not carried out. Whoever deletes reads again, unless the error
// is a [*RefusedError]: etcd certainly did nothing then.
package etcdops
