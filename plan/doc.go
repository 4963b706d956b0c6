// Package plan decides what is to go, and writes it down.
//
// A [Selection] says what the operator asked for, [Guards] keep out what must not be deleted by accident, and [Build]
// reads the cluster once and writes a plan file: every key to delete, with the revisions that it had and the reason why
// it is there. A plan is a value: it is reviewed, approved by its ID, and carried out by package apply, which decides
// nothing of its own.
//
// Selection and guards are pure: they look at a decode.Object and do no I/O. Build writes nothing to etcd. Memory does
// not depend on the number of entries, neither in Build nor in [Read].
package plan
