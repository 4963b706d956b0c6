package etcdops

import (
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// RevisionError is a revision that was asked for and that etcd does not have, any more or yet.
type RevisionError struct {
	Revision int64
	Err      error // what etcd said
}

func (e *RevisionError) Error() string { return fmt.Sprintf("revision %d: %v", e.Revision, e.Err) }
func (e *RevisionError) Unwrap() error { return e.Err }

// Hint says where there may be more.
func (e *RevisionError) Hint() string {
	if errors.Is(e.Err, rpctypes.ErrFutureRev) {
		return "the cluster has not come so far, or not on its newest restore"
	}
	return "etcd keeps what came after its last compaction, and kube-apiserver compacts every five minutes; a snapshot may have it"
}

// atRevision makes a *RevisionError of what is wrong with a revision that was asked for.
func atRevision(revision int64, err error) error {
	if revision != 0 && (errors.Is(err, rpctypes.ErrCompacted) || errors.Is(err, rpctypes.ErrFutureRev)) {
		return &RevisionError{Revision: revision, Err: err}
	}
	return err
}
