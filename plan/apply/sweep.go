package apply

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"

	"etcdsweep/decode"
	"etcdsweep/plan"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/run"
)

// removeRoots deletes the owners, so that nothing makes new dependents. If one of them stays, the run ends: its pods
// would come back faster than they go.
func (r *sweeper) removeRoots(ctx context.Context) error {
	total := r.planned(plan.StageRoots)
	if total == 0 {
		if r.Plan.Header.KeepRoots {
			r.emit(run.Warning{Text: "the plan keeps the roots: their controllers may make new pods while this run deletes the old ones"})
		}
		return nil
	}
	if !r.allRootsWent() {
		if err := r.archiveCollateral(ctx); err != nil {
			return err
		}
	}
	r.emit(run.StepBegan{Step: run.StepRoots, Total: total})
	err := r.sweep(ctx, run.StepRoots, r.judgeRoot, r.rootsLeft())
	tally := r.tally(run.StepRoots)
	switch {
	case errors.Is(err, errRootStays):
		kept := tally.Skipped[0]
		return &plan.RefusedError{
			Reason: fmt.Sprintf("the root %s stays: %s; its pods would come back, so %s (roots: %s)", kept.Examples[0], kept.Reason, r.podsSoFar(), tally.Words()),
			Advice: "plan again: a new plan sees the root as it is now",
		}
	case err != nil:
		return err
	}
	r.emit(run.StepEnded{Step: run.StepRoots, Words: tally.Words()})
	return nil
}

// errRootStays ends the stage of the roots: what is below a root that stays must not go.
var errRootStays = errors.New("a root stays")

// rootsWent returns the revision at which each root went, of those that any attempt has deleted; 0 if its answer was lost.
func (r *sweeper) rootsWent() map[string]int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	went := map[string]int64{}
	for key, v := range r.history.Verdicts[string(run.StepRoots)] {
		switch v.Outcome {
		case journal.Deleted, journal.DriftedDeleted, journal.GoneUnknown:
			went[key] = v.Revision
		}
	}
	for key := range r.history.Doubt[string(run.StepRoots)] {
		went[key] = 0 // it may have
	}
	return went
}

func (r *sweeper) allRootsWent() bool { return int64(len(r.rootsWent())) == r.planned(plan.StageRoots) }

// podsSoFar says whether any pod has gone, in this attempt or in an earlier one.
func (r *sweeper) podsSoFar() string {
	tally := r.tally(run.StepPods)
	if gone := tally.Outcomes[journal.Deleted] + tally.Outcomes[journal.DriftedDeleted] + tally.Outcomes[journal.GoneUnknown]; gone > 0 {
		return fmt.Sprintf("no more pods are deleted than the %d of before", gone)
	}
	return "no pod was deleted"
}

// rootsLeft yields the roots that no earlier attempt has seen go. One that stayed then is tried again.
func (r *sweeper) rootsLeft() iter.Seq2[candidate, error] {
	// Copies: the history changes while they are read.
	judged, doubt := maps.Clone(r.history.Verdicts[string(run.StepRoots)]), maps.Clone(r.history.Doubt[string(run.StepRoots)])
	return func(yield func(candidate, error) bool) {
		for entry, err := range r.Plan.Entries(plan.StageRoots) {
			if v, ok := judged[entry.Key]; err == nil && ok && !doubt[entry.Key] && v.Outcome != journal.Skipped {
				continue
			}
			if !yield(planned(&entry, doubt[entry.Key]), err) {
				return
			}
		}
	}
}

func (r *sweeper) judgeRoot(_ context.Context, o *decode.Object) (string, error) {
	if guard, why := r.guards.RootObjection(o); guard != "" {
		return protectedNow(guard, why), nil
	}
	return "", nil
}

func (r *sweeper) removePods(ctx context.Context) error {
	tally := r.tally(run.StepPods)
	r.emit(run.StepBegan{Step: run.StepPods, Total: r.planned(plan.StagePods)})
	r.emit(run.Advanced{Step: run.StepPods, Done: tally.Total()})
	if err := r.sweep(ctx, run.StepPods, r.judgePod, r.podsLeft()); err != nil {
		return err
	}
	tally = r.tally(run.StepPods)
	r.emit(run.StepEnded{Step: run.StepPods, Words: tally.Words()})
	return nil
}

// podsLeft yields the pods that no earlier attempt has judged: those in doubt, and those behind its last page.
func (r *sweeper) podsLeft() iter.Seq2[candidate, error] {
	last, doubt := r.history.Last[string(run.StepPods)], maps.Clone(r.history.Doubt[string(run.StepPods)])
	return func(yield func(candidate, error) bool) {
		for entry, err := range r.Plan.Entries(plan.StagePods) {
			if err == nil && entry.Key <= last && !doubt[entry.Key] {
				continue
			}
			if !yield(planned(&entry, doubt[entry.Key]), err) {
				return
			}
		}
	}
}

func planned(e *plan.Entry, doubt bool) candidate {
	return candidate{key: e.Key, uid: e.UID, createRevision: e.CreateRevision, modRevision: e.ModRevision, bytes: e.Bytes, doubt: doubt}
}

// judgePod decides again about a pod that has drifted, as the plan decided.
func (r *sweeper) judgePod(ctx context.Context, o *decode.Object) (string, error) {
	if _, selected := r.matches(o); !selected {
		return "drifted, and no longer meets the selection", nil
	}
	guard, why, err := r.objection(ctx, o)
	if guard != "" {
		return protectedNow(guard, why), err
	}
	return "", err
}

func protectedNow(guard, why string) string {
	return fmt.Sprintf("drifted, and is protected now by %s: %s", guard, why)
}

func (r *sweeper) planned(stage string) int64 {
	for _, tally := range r.Plan.Trailer.Summary.Stages {
		if tally.Name == stage {
			return tally.Entries
		}
	}
	return 0
}

// tally counts the outcomes of a stage in all attempts.
func (r *sweeper) tally(stage run.Step) journal.Tally {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.history.Tally(string(stage))
}
