// Package faults strikes a cluster of three real etcd processes in the middle of an apply or an undo: members are killed, stand
// still, are cut off, have a slow disk, or say that the data is corrupt. Whatever happens, exactly what was planned is gone in the
// end, or back; all of it is in the archive, nothing else has changed, and the report says why the run stood still, and for how
// long.
package faults
