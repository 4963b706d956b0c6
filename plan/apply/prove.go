package apply

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sync/errgroup"

	"etcdsweep/plan"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/run"
)

// keepSnapshot makes sure that there is a snapshot that was proved, before anything is deleted: that of an earlier attempt,
// or a new one.
func (r *sweeper) keepSnapshot(ctx context.Context) error {
	if r.history.Proof != nil {
		r.emit(run.StepBegan{Step: run.StepSnapshot})
		snapshot, err := r.openProved(ctx)
		if err == nil {
			r.snapshot, r.report.Snapshot = snapshot, *r.history.Proof
			r.emit(run.StepEnded{Step: run.StepSnapshot, Words: fmt.Sprintf("that of the first attempt, at revision %d, SHA-256 checked again", r.report.Snapshot.Revision)})
			return nil
		}
		if ctx.Err() != nil {
			return run.ErrInterrupted
		}
		r.emit(run.Warning{Text: fmt.Sprintf("the snapshot of the first attempt cannot be used: %v; what is deleted already is in the archive; taking another", err)})
	}
	if err := r.takeSnapshot(ctx); err != nil {
		return err
	}
	if err := r.prove(ctx); err != nil {
		return err
	}
	proof := r.report.Snapshot
	return r.note(journal.Frame{Proved: &proof})
}

// openProved opens the snapshot that was proved, and no other.
func (r *sweeper) openProved(ctx context.Context) (Snapshot, error) {
	snapshot, err := r.Snapshots.Open(ctx, r.Dir.Snapshot())
	if err != nil {
		return nil, err
	}
	if is, was := snapshot.Describe(), r.history.Proof; is.SHA256 != was.SHA256 || is.Revision != was.Revision {
		return nil, errors.Join(fmt.Errorf("%s is another one, of revision %d, not %d", is.Path, is.Revision, was.Revision), snapshot.Close())
	}
	return snapshot, nil
}

// takeSnapshot keeps the cluster as it is now.
func (r *sweeper) takeSnapshot(ctx context.Context) error {
	if _, err := os.Lstat(r.Dir.Snapshot()); err == nil { // not proved, or not whole any more
		if err := r.Dir.FS.Remove(r.Dir.Snapshot()); err != nil {
			return fmt.Errorf("snapshot: %w", err)
		}
	}
	began := false
	snapshot, err := r.Snapshots.Save(ctx, r.Dir.Snapshot(), r.Plan.Header.Revision, func(done, total int64) {
		if !began {
			r.emit(run.StepBegan{Step: run.StepSnapshot, Total: total})
			began = true
		}
		r.emit(run.Advanced{Step: run.StepSnapshot, Done: done})
	})
	if err != nil {
		return err
	}
	r.snapshot, r.report.Snapshot = snapshot, snapshot.Describe()
	r.emit(run.StepEnded{Step: run.StepSnapshot, Words: fmt.Sprintf("at revision %d, SHA-256 checked", r.report.Snapshot.Revision)})
	return nil
}

// prove looks every entry up in the snapshot: at its planned revision or, if it is not there, at the revision that it
// has now. An entry that is in neither place is named, and is not deleted later: every delete asks the snapshot again.
func (r *sweeper) prove(ctx context.Context) error {
	r.emit(run.StepBegan{Step: run.StepProof, Total: r.Plan.Trailer.Entries})
	proof := &r.report.Snapshot
	var mu sync.Mutex // guards proof
	again, groupCtx := errgroup.WithContext(ctx)
	again.SetLimit(r.Concurrency)
	var done int64
	for entry, err := range r.Plan.Entries("") {
		if err == nil {
			err = groupCtx.Err()
		}
		if err != nil {
			return firstError(again.Wait(), err)
		}
		held, err := r.snapshot.Holds(entry.Key, entry.CreateRevision, entry.ModRevision)
		if err != nil {
			return firstError(again.Wait(), err)
		}
		if held {
			mu.Lock()
			proof.Planned++
			mu.Unlock()
		} else {
			again.Go(func() error { return r.proveDrifted(groupCtx, &entry, proof, &mu) })
		}
		if done++; done%1000 == 0 {
			r.emit(run.Advanced{Step: run.StepProof, Done: done})
		}
	}
	if err := again.Wait(); err != nil {
		return err
	}
	if proof.Planned+proof.Drifted+proof.Since+proof.Gone == 0 && !r.allows(AllowUnproved) {
		return &plan.RefusedError{
			Reason: fmt.Sprintf("the snapshot %s holds none of the plan's %d entries", proof.Path, r.Plan.Trailer.Entries),
			Advice: "nothing was deleted; look at the cluster, and plan again",
		}
	}
	words := fmt.Sprintf("%d of %d entries found in the snapshot", proof.Planned+proof.Drifted, r.Plan.Trailer.Entries)
	if proof.Since > 0 {
		words += fmt.Sprintf(", %d have drifted since", proof.Since)
	}
	if proof.Gone > 0 {
		words += fmt.Sprintf(", %d are gone already", proof.Gone)
	}
	r.emit(run.StepEnded{Step: run.StepProof, Words: words})
	r.warnOfUnproved(proof.Unproved)
	return nil
}

func (r *sweeper) warnOfUnproved(all []plan.KeptOut) {
	fate := "will not be deleted (--allow " + AllowUnproved + " deletes them all the same: their bytes are archived first)"
	if r.allows(AllowUnproved) {
		fate = "are deleted all the same, as --allow " + AllowUnproved + " says: their bytes are archived first"
	}
	for _, u := range all {
		r.emit(run.Warning{Text: fmt.Sprintf("%d entries are not proved and %s: %s, such as %s", u.Count, fate, u.Reason, u.Examples[0])})
	}
}

func (r *sweeper) proveDrifted(ctx context.Context, entry *plan.Entry, proof *journal.Proof, mu *sync.Mutex) error {
	current, err := r.get(ctx, entry.Key)
	if err != nil {
		return err
	}
	held := false
	if current != nil {
		if held, err = r.snapshot.Holds(current.Key, current.CreateRevision, current.ModRevision); err != nil {
			return err
		}
	}
	mu.Lock()
	defer mu.Unlock()
	switch {
	case current == nil:
		proof.Gone++
	case held:
		proof.Drifted++
	case current.ModRevision > proof.Revision:
		proof.Since++ // its current bytes go to the archive before it is deleted
	default:
		proof.Unproved = journal.AddReason(proof.Unproved, notProved, entry.Key)
	}
	return nil
}

func firstError(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

// ProvePlanned looks every entry up in a snapshot at its planned revision, and counts into proof what was found.
func ProvePlanned(p *plan.File, snapshot Snapshot, proof *journal.Proof) error {
	for entry, err := range p.Entries("") {
		if err != nil {
			return err
		}
		held, err := snapshot.Holds(entry.Key, entry.CreateRevision, entry.ModRevision)
		switch {
		case err != nil:
			return err
		case held:
			proof.Planned++
		default:
			proof.Unproved = journal.AddReason(proof.Unproved, "not at its planned revision", entry.Key)
		}
	}
	return nil
}
