package apply

import (
	"context"
	"fmt"

	"etcdsweep/decode"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/run"
)

const maxDrifts = 5 // times that an object is judged afresh before it is left

const (
	// notProved is why an object stays that the snapshot should hold and does not.
	notProved  = "not proved: the snapshot has reached its revision, and does not hold it"
	anotherUID = "made again under the same name, with another UID"
	unresolved = "unresolved: its delete got no answer, and it could not be read again"
)

// judge decides again about an object that has drifted: "" lets it go, else it stays for that reason.
type judge func(context.Context, *decode.Object) (string, error)

// target is one object to delete. What it has at these revisions is in the archive.
type target struct {
	key, uid                    string
	createRevision, modRevision int64
	drifted                     bool // the revisions are newer than those that it was planned with
	judge                       judge
}

// removeOne deletes one object, and says what became of it; nil if its delete was not tried. An error stops the run: the
// cluster does not answer, or nothing can be archived any more.
func (r *sweeper) removeOne(ctx context.Context, stage run.Step, t *target) (*journal.Verdict, error) {
	if ctx.Err() != nil {
		return nil, run.ErrInterrupted
	}
	lost := false
	for drifts := 0; ; drifts++ {
		a, err := r.writes.Write(ctx, t.key,
			func(ctx context.Context) (int64, *decode.Record, error) {
				return r.Cluster.DeleteIf(ctx, t.key, t.createRevision, t.modRevision)
			},
			func(current *decode.Record) bool {
				return current != nil && current.CreateRevision == t.createRevision && current.ModRevision == t.modRevision
			})
		lost = lost || a.Lost
		switch {
		case err != nil && a.Unresolved:
			return t.verdict(journal.Unresolved, unresolved), err
		case err != nil:
			return nil, err
		case a.Revision > 0:
			v := t.verdict(journal.Deleted, "")
			if t.drifted {
				v.Outcome = journal.DriftedDeleted
			}
			v.Revision = a.Revision
			return v, nil
		case a.Current == nil:
			return t.gone(lost), nil
		case drifts == maxDrifts:
			return t.verdict(journal.Skipped, fmt.Sprintf("drifted %d times in a row", maxDrifts)), nil
		}
		reason, err := r.consider(ctx, t, a.Current)
		if err != nil {
			return nil, err
		}
		if reason == anotherUID && lost {
			return t.gone(lost), nil
		}
		if reason != "" {
			v := t.verdict(journal.Skipped, reason)
			if r.orphans(stage, reason, a.Current) {
				v.CreateRevision, v.ModRevision = a.Current.CreateRevision, a.Current.ModRevision
				err = r.archive.Append(*a.Current)
			}
			return v, err
		}
		if err := r.archive.Append(*a.Current); err != nil {
			return nil, err
		}
	}
}

func (t *target) verdict(outcome journal.Outcome, reason string) *journal.Verdict {
	return &journal.Verdict{Key: t.key, Outcome: outcome, CreateRevision: t.createRevision, ModRevision: t.modRevision, Reason: reason}
}

// gone judges a key that is absent, or names another object by now.
func (t *target) gone(lost bool) *journal.Verdict {
	if lost {
		return t.verdict(journal.GoneUnknown, "")
	}
	return t.verdict(journal.AlreadyGone, "")
}

// consider turns the target to the object as it is now, judged again if it has drifted; or it says why the object stays.
// The object's bytes are still to be archived.
func (r *sweeper) consider(ctx context.Context, t *target, current *decode.Record) (reason string, err error) {
	if current.CreateRevision != t.createRevision || current.ModRevision != t.modRevision {
		object, err := current.Decode()
		if err != nil {
			return fmt.Sprintf("drifted, and cannot be read: %v", err), nil
		}
		if object.UID != t.uid {
			return anotherUID, nil
		}
		if reason, err := t.judge(ctx, &object); reason != "" || err != nil {
			return reason, err
		}
		t.createRevision, t.modRevision, t.drifted = current.CreateRevision, current.ModRevision, true
	}
	return r.proved(current)
}

// proved makes sure that the snapshot holds the object, if it has reached its revision.
func (r *sweeper) proved(current *decode.Record) (reason string, err error) {
	if current.ModRevision > r.report.Snapshot.Revision || r.allows(AllowUnproved) {
		return "", nil
	}
	held, err := r.snapshot.Holds(current.Key, current.CreateRevision, current.ModRevision)
	if err != nil || held {
		return "", err
	}
	return notProved, nil
}
