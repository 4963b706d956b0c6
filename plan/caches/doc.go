// Package caches says whether the watch caches of kube-apiservers hold what etcd holds.
//
// Whoever deletes straight from etcd relies on them: a cache that has lost a deletion shows a ghost, an object that is gone, to
// every kubelet and controller, until it is built anew. The comparison is by revisions alone. They tell an object's versions apart, so no value is
// read, encrypted or not; and they put both sides in one order, so that it is exact while the cluster goes on changing:
//
//   - etcd is read between two revisions, before and after. A cache that has come to at least after and shows an object at a
//     revision up to before, which etcd does not hold like that, is wrong: nothing happened to the object since, or it would show.
//   - What stands in etcd, still unchanged after the cache was read, and was written before the revision that the cache has come
//     to, has to be in the cache.
//
// A cache that differs and has not come that far yet is read again, for a while.
package caches
