// Package controllers watches whether kube-controller-manager is alive: whether the record of its leader election moves.
//
// It reads revisions and never compares clocks of two machines: a living leader writes its record every two seconds (its
// --leader-elect-retry-period), and each write gives it a new mod revision. The record is the Lease
// kube-system/kube-controller-manager; before Kubernetes 1.17 it was an annotation of the Endpoints of that name, and until
// 1.19 it was both. Either one that moves counts.
//
// # What it does not know
//
//   - A record that is absent is no proof that nothing runs: a manager with --leader-elect=false has none.
//   - A record that stands still says that no manager leads. One that has just been started, or a standby, needs its lease
//     duration, 15 s, and up to two of its reads more to take over from one that was killed. So a record that was seen to move
//     must stand still for twice that time: see [Sight.Needs].
//   - A manager that cannot write, because kube-apiserver or etcd is down, stands still as well. While etcd does not answer
//     nothing counts as stillness; whether kube-apiserver answers is for the caller to know.
package controllers
