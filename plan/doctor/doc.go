// Package doctor judges whether etcdsweep can work on a cluster: facts in, findings out.
//
// It is pure: who calls [Examine] has gathered the [Facts], by reads only. A fact that nobody could gather is an error in
// its place, and becomes a finding as well, so that nothing passes for being well because nobody looked.
//
// # Guarantees
//
//   - Each finding stands for itself, and is ok, warn or fail. Fail means that apply would refuse to start, or could not
//     do its work; warn, that somebody should know first. Whatever is not ok has a hint that says what to do.
//   - The order is always the same: from the way to etcd over its members to what is kept there.
//
// Whether anything is about to go wrong that shows in none of its facts, it does not know: a disk that is about to fill up,
// a member that will be killed.
package doctor
