// Package undo puts back what a run has deleted, and what went because of it: the raw bytes of the run's archive.
//
// What counts is every record of the archive, and of a key that stands in it more than once the last one. What was kept only
// because the garbage collector would take it counts if a root went: collateral, and what the run has skipped in the end after
// it had archived it as it was then. What it has skipped without that does not count.
//
//   - A key is made only where there is none, in a transaction of its own. What exists again is left alone. What has never gone,
//     such as collateral that nobody took, is left alone too, and counts as nothing that is left.
//   - Owners come before what they own, Namespaces first of all, then what else is in no namespace.
//   - Keys that shared a lease share a new one, which has the time that the old one has left. A key whose lease has expired
//     stays away, and is named.
//   - At the end everything that was put back is read again, and compared byte for byte.
//
// # Going on
//
// All is written down in a journal of its own before it is done, so an undo that was interrupted or killed goes on where it
// stood. Each selection (--only) is an undo by itself: one that was limited can be followed by a full one, which finds what
// is back already. One that went to its end looks at everything anew when it is given again: what has been destroyed since comes
// back, and the rest is there as archived.
//
// # Memory
//
// The archive is read several times, page by page: once to find out which keys it has twice and which UIDs are owners, once
// for the owners, then once for each generation of dependents, and once to verify. What is kept in memory are the owners, the
// keys that stand in it twice, those that the run has skipped, nodes, namespaces and leases, but never a key of each pod.
package undo
