package apply

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"etcdsweep/decode"
)

const (
	maxDrifts = 5 // times that an object is judged afresh before it is left
	maxTries  = 6 // requests without an answer before the run stops
	firstWait = 50 * time.Millisecond
)

// target is one object to delete.
type target struct {
	step                        Step
	key, uid                    string
	createRevision, modRevision int64
	saved                       bool // these revisions are in the snapshot or in the archive
	// judge decides again about an object that has drifted: "" lets it go, else it is skipped for that reason.
	judge func(*decode.Object) string
}

// remove deletes one object, if it is safe to, and counts what became of it. An error stops the run: the cluster does
// not answer, or nothing can be archived any more.
//
// ctx ends waiting; a request that is under way is finished all the same.
func (r *run) remove(ctx context.Context, t target) error {
	if ctx.Err() != nil {
		return ErrInterrupted
	}
	requests := context.WithoutCancel(ctx)
	var current *decode.Record // once it is known to be other than the target says
	if held, err := r.held(t); err != nil {
		return err
	} else if !held {
		if current, err = r.Cluster.Get(requests, t.key); err != nil {
			return unhealthy(err)
		}
		if current == nil {
			r.judged(t.step, t.key, AlreadyGone, "", 0)
			return nil
		}
	}
	outcome := Deleted
	for drifts := 0; ; drifts++ {
		if current != nil {
			if drifts > maxDrifts {
				r.judged(t.step, t.key, Skipped, fmt.Sprintf("drifted %d times in a row", maxDrifts), 0)
				return nil
			}
			if reason := r.judgeAgain(t, current); reason != "" {
				r.judged(t.step, t.key, Skipped, reason, 0)
				return nil
			}
			if reason, err := r.save(current); err != nil {
				return err
			} else if reason != "" {
				r.judged(t.step, t.key, Skipped, reason, 0)
				return nil
			}
			if current.ModRevision != t.modRevision {
				outcome = DriftedDeleted
			}
			t.createRevision, t.modRevision = current.CreateRevision, current.ModRevision
		}
		answer, err := r.deleteOnce(ctx, requests, t)
		switch {
		case err != nil:
			if answer.unresolved {
				r.judged(t.step, t.key, Unresolved, "", 0)
			}
			return err
		case answer.deletedAt > 0:
			r.judged(t.step, t.key, outcome, "", answer.deletedAt)
			return nil
		case answer.current == nil && answer.lost:
			r.judged(t.step, t.key, GoneUnknown, "", 0)
			return nil
		case answer.current == nil:
			r.judged(t.step, t.key, AlreadyGone, "", 0)
			return nil
		}
		current = answer.current
	}
}

// judgeAgain decides about an object that is no longer what was planned.
func (r *run) judgeAgain(t target, current *decode.Record) string {
	object, err := decode.Decode(current.Value)
	if err != nil {
		return fmt.Sprintf("drifted, and cannot be read: %v", err)
	}
	if object.UID != t.uid {
		return "made again under the same name, with another UID"
	}
	return t.judge(&object)
}

// held reports whether the bytes that the target stands for are kept.
func (r *run) held(t target) (bool, error) {
	if t.saved {
		return true, nil
	}
	return r.snapshot.Holds(t.key, t.createRevision, t.modRevision)
}

// save makes sure that the current bytes of an object are kept before it is deleted: in the snapshot, or in the archive
// if they are newer. What the snapshot should hold and does not is left, for a reason.
func (r *run) save(current *decode.Record) (reason string, err error) {
	held, err := r.snapshot.Holds(current.Key, current.CreateRevision, current.ModRevision)
	switch {
	case err != nil || held:
		return "", err
	case current.ModRevision <= r.report.Snapshot.Revision:
		return notProved, nil
	default:
		return "", r.keep(*current)
	}
}

// keep archives records, and counts them.
func (r *run) keep(records ...decode.Record) error {
	if err := r.archive.Append(records...); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Archived += int64(len(records))
	return nil
}

// answer is what one guarded delete came to.
type answer struct {
	deletedAt  int64
	current    *decode.Record // as it is now, if it was not deleted; nil if it is absent
	lost       bool           // an answer was lost on the way, so an absent key may be our doing
	unresolved bool           // beside an error: nobody knows whether the key was deleted
}

// deleteOnce makes one guarded delete. If its answer is lost it reads the key again, and tries again only where it
// still stands as it was. It gives up when etcd gives no answers, or when ctx has ended.
func (r *run) deleteOnce(ctx, requests context.Context, t target) (a answer, err error) {
	for try := 1; ; try++ {
		if err := r.limiter.Wait(ctx); err != nil {
			return a, ErrInterrupted
		}
		a.deletedAt, a.current, err = r.Cluster.DeleteIf(requests, t.key, t.createRevision, t.modRevision)
		if err == nil {
			return a, nil
		}
		a.lost = true
		current, readErr := r.Cluster.Get(requests, t.key)
		if readErr == nil && (current == nil || current.CreateRevision != t.createRevision || current.ModRevision != t.modRevision) {
			a.current = current
			return a, nil
		}
		a.unresolved = readErr != nil
		if try == maxTries {
			return a, unhealthy(err)
		}
		if !pause(ctx, backOff(try)) {
			return a, ErrInterrupted
		}
	}
}

func unhealthy(err error) error {
	return &HealthError{
		Err:    err,
		Advice: "look at etcd's members and their logs; once they are well, apply the same plan again: what is gone stays gone, nothing is deleted twice",
	}
}

// backOff returns how long to wait after the try: doubled each time, and spread so that sixteen workers do not knock at once.
func backOff(try int) time.Duration {
	wait := firstWait << try
	return wait/2 + rand.N(wait)
}

// pause waits, and reports whether it did so to the end.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
