// Command bench measures etcdsweep against the least that could do the same work: a range loop that decodes nothing, a
// loop of guarded deletes that keeps nothing, etcdctl's snapshot. Both sides of a pair meet the same etcd, over the same
// transport, with the same page size and the same number of connections. The server is another process, so that its
// memory and its garbage collector are not measured with ours.
//
// Each pair's ratio is taken by itself, because a shared machine is fast in one minute and slow in the next; what counts is the
// median of the ratios. Every sweep meets a cluster that was just restored from the same snapshot.
//
// The exit status is 0 whatever the figures are, and 1 if something could not be measured.
package main
