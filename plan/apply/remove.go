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

	silenceEvery = 5 * time.Second
)

// target is one object to delete.
type target struct {
	step                        Step
	key, uid                    string
	createRevision, modRevision int64
	saved                       bool // these revisions are in the snapshot or in the archive
	drifted                     bool // the revisions are newer than those that it was planned with
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
	held, err := r.held(t)
	if err != nil {
		return err
	}
	var a answer
	if !held { // its planned bytes are nowhere: see what it is now
		if a.current, err = r.Cluster.Get(requests, t.key); err != nil {
			return unhealthy(err)
		}
	}
	for drifts := 0; ; drifts++ {
		if drifts > 0 || !held {
			if a.current == nil {
				r.gone(t, a.lost)
				return nil
			}
			if drifts > maxDrifts {
				r.judged(t.step, t.key, Skipped, fmt.Sprintf("drifted %d times in a row", maxDrifts), 0)
				return nil
			}
			reason, err := r.takeUp(&t, a.current)
			if err != nil {
				return err
			}
			if reason == anotherUID && a.lost {
				r.gone(t, a.lost)
				return nil
			}
			if reason != "" {
				r.judged(t.step, t.key, Skipped, reason, 0)
				return nil
			}
		}
		if err := r.deleteOnce(ctx, requests, t, &a); err != nil {
			if a.unresolved {
				r.judged(t.step, t.key, Unresolved, "unresolved: its delete got no answer, and it could not be read again", 0)
			}
			return err
		}
		if a.deletedAt > 0 {
			outcome := Deleted
			if t.drifted {
				outcome = DriftedDeleted
			}
			r.judged(t.step, t.key, outcome, "", a.deletedAt)
			return nil
		}
	}
}

// gone counts a key that is absent, or names another object by now.
func (r *run) gone(t target, lost bool) {
	outcome := AlreadyGone
	if lost {
		outcome = GoneUnknown
	}
	r.judged(t.step, t.key, outcome, "", 0)
}

const anotherUID = "made again under the same name, with another UID"

// takeUp turns the target to the object as it is now: judged again, and its bytes kept. Otherwise it says why it stays.
func (r *run) takeUp(t *target, current *decode.Record) (reason string, err error) {
	object, err := decode.Decode(current.Value)
	if err != nil {
		return fmt.Sprintf("drifted, and cannot be read: %v", err), nil
	}
	if object.UID != t.uid {
		return anotherUID, nil
	}
	if reason := t.judge(&object); reason != "" {
		return reason, nil
	}
	if reason, err := r.save(current); reason != "" || err != nil {
		return reason, err
	}
	t.drifted = t.drifted || current.ModRevision != t.modRevision
	t.createRevision, t.modRevision = current.CreateRevision, current.ModRevision
	return "", nil
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

// answer is what guarded deletes of one key came to.
type answer struct {
	deletedAt  int64
	current    *decode.Record // as it is now, if it was not deleted; nil if it is absent
	lost       bool           // an answer was lost on the way, so a key that is gone may be our doing
	unresolved bool           // the last answer was lost, and the key could not be read again
}

// deleteOnce makes one guarded delete. If its answer is lost it reads the key again, and tries again only where it
// still stands as it was. It gives up when etcd gives no answers, or when ctx has ended.
func (r *run) deleteOnce(ctx, requests context.Context, t target, a *answer) error {
	for try := 1; ; try++ {
		if err := r.limiter.Wait(ctx); err != nil {
			return ErrInterrupted
		}
		var err error
		a.deletedAt, a.current, err = r.Cluster.DeleteIf(requests, t.key, t.createRevision, t.modRevision)
		if err == nil {
			a.unresolved = false
			return nil
		}
		a.lost = true
		r.warnOfSilence(err)
		current, readErr := r.Cluster.Get(requests, t.key)
		a.unresolved = readErr != nil
		if readErr == nil && (current == nil || current.CreateRevision != t.createRevision || current.ModRevision != t.modRevision) {
			a.current = current
			return nil
		}
		if try == maxTries {
			return unhealthy(err)
		}
		if !pause(ctx, backOff(try)) {
			return ErrInterrupted
		}
	}
}

// warnOfSilence says that an answer was lost, but not for each of those that are lost together.
func (r *run) warnOfSilence(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.Now(); now.Sub(r.warned) >= silenceEvery {
		r.warned = now
		r.observe(Warning{fmt.Sprintf("no answer: %v; reading again, and trying again", err)})
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
