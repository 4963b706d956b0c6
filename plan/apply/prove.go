package apply

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"etcdsweep/plan"
)

// notProved is why an entry stays that the snapshot should hold and does not.
const notProved = "not proved: the snapshot has reached its revision, and does not hold it"

// takeSnapshot keeps the cluster as it is now, before anything is deleted.
func (r *run) takeSnapshot(ctx context.Context) error {
	began := false
	snapshot, archive, err := r.Keep(ctx, r.Plan.Header.Revision, func(done, total int64) {
		if !began {
			r.emit(StepBegan{Step: StepSnapshot, Total: total})
			began = true
		}
		r.emit(Advanced{Step: StepSnapshot, Done: done})
	})
	if err != nil {
		return err
	}
	r.snapshot, r.archive = snapshot, archive
	r.report.Snapshot = snapshot.Describe()
	r.emit(StepEnded{StepSnapshot, fmt.Sprintf("at revision %d, SHA-256 checked", r.report.Snapshot.Revision)})
	return nil
}

// prove looks every entry up in the snapshot: at its planned revision or, if it is not there, at the revision that it
// has now. An entry that is in neither place is named, and is not deleted later: every delete asks the snapshot again.
func (r *run) prove(ctx context.Context) error {
	r.emit(StepBegan{Step: StepProof, Total: r.Plan.Trailer.Entries})
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
			r.emit(Advanced{Step: StepProof, Done: done})
		}
	}
	if err := again.Wait(); err != nil {
		return err
	}
	if proof.Planned+proof.Drifted+proof.Since+proof.Gone == 0 {
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
	r.emit(StepEnded{StepProof, words})
	for _, unproved := range proof.Unproved {
		r.emit(Warning{fmt.Sprintf("%d entries are not proved and will not be deleted: %s, such as %s", unproved.Count, unproved.Reason, unproved.Examples[0])})
	}
	return nil
}

func (r *run) proveDrifted(ctx context.Context, entry *plan.Entry, proof *Proof, mu *sync.Mutex) error {
	current, err := r.Cluster.Get(ctx, entry.Key)
	if err != nil {
		return unhealthy(err)
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
		proof.Unproved = addReason(proof.Unproved, notProved, entry.Key)
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
func ProvePlanned(p *plan.File, snapshot Snapshot, proof *Proof) error {
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
			proof.Unproved = addReason(proof.Unproved, "not at its planned revision", entry.Key)
		}
	}
	return nil
}
