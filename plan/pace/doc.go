// Package pace sets how fast a run may go, by how etcd is doing.
//
// A [Controller] decides: it is fed with samples of what was measured, and answers with the rate that is allowed, whether the
// run stands still, or that it has to end, each with a reason in words. It is pure: it does no I/O, and knows no time but that
// of its samples. A [Pacer] measures, asks the controller twice a second, and holds up writes, reads and snapshots accordingly.
//
// What is guaranteed: never more writes a second than are allowed, and none saved up for later; none begun while the run is
// paused or after it was ended; nothing raised by what was not measured. What is not: a request that is under way is not
// called back, and a cluster that nobody can measure, because it tells nothing of its members, is paced by its latency alone.
package pace
