// Package apply carries out a plan: preflight, snapshot and proof, roots, settle, pods, newcomers, verify.
//
// It decides nothing of its own. A key is deleted only
//
//   - in a transaction of its own that compares the revisions which the guards looked at, so that each delete is a
//     revision of its own and watchers lose nothing,
//   - after its current bytes were found in the proved snapshot or written to the archive,
//   - if what it holds is the object that was planned: after drift its UID, selection and guards are checked again.
//
// How fast, and whether at all, is the pace's to say: see package pace.
//
// When its context ends, Run feeds no more keys, lets those in flight finish, and reports where it stands.
package apply
