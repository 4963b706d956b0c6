package apply

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

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
	err := r.removeGenerations(ctx)
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

// betweenGenerations is how long a running controller has to hear that an owner is gone, before it hears that what it has made is
// gone too: it hears of each kind by a watch of its own, and would make that again for an owner that it still knows.
const betweenGenerations = 2 * time.Second

// removeGenerations deletes the roots, those first that have no root above them.
func (r *sweeper) removeGenerations(ctx context.Context) error {
	byUID := r.Plan.Trailer.Summary.Generations()
	last := 0
	for _, generation := range byUID {
		last = max(last, generation)
	}
	for generation := range last + 1 {
		gone := len(r.rootsWent())
		err := r.sweep(ctx, run.StepRoots, r.judgeRoot, func(yield func(candidate, error) bool) {
			for c, err := range r.rootsLeft() {
				if err == nil && byUID[c.uid] != generation {
					continue
				}
				if !yield(c, err) {
					return
				}
			}
		})
		if err != nil {
			return err
		}
		if generation < last && len(r.rootsWent()) > gone && !run.Wait(ctx, betweenGenerations) {
			return run.ErrInterrupted
		}
	}
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
		return fmt.Sprintf("no more is deleted than the %d of before", gone)
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

// stages are those that go when the roots are gone, and the steps in which they do.
func stages() map[string]run.Step {
	return map[string]run.Step{plan.StagePods: run.StepPods, plan.StageObjects: run.StepObjects}
}

// removeRest deletes what the plan has below the roots, stage by stage.
func (r *sweeper) removeRest(ctx context.Context) error {
	for _, stage := range plan.Stages() {
		step, ok := stages()[stage]
		if !ok || r.planned(stage) == 0 {
			continue
		}
		tally := r.tally(step)
		r.emit(run.StepBegan{Step: step, Total: r.planned(stage)})
		r.emit(run.Advanced{Step: step, Done: tally.Total()})
		if err := r.sweep(ctx, step, r.judgeRest, r.entriesLeft(stage, step)); err != nil {
			return err
		}
		tally = r.tally(step)
		r.emit(run.StepEnded{Step: step, Words: tally.Words()})
	}
	return nil
}

// entriesLeft yields the entries of a stage that no earlier attempt has judged: those in doubt, and those behind its last page.
func (r *sweeper) entriesLeft(stage string, step run.Step) iter.Seq2[candidate, error] {
	last, doubt := r.history.Last[string(step)], maps.Clone(r.history.Doubt[string(step)])
	return func(yield func(candidate, error) bool) {
		for entry, err := range r.Plan.Entries(stage) {
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

// judgeRest decides again about an object that has drifted, as the plan decided. An event that is still the same is about the same
// pod.
func (r *sweeper) judgeRest(ctx context.Context, o *decode.Object) (string, error) {
	event := r.selection.WithEvents && o.GroupKind() == schema.GroupKind{Kind: "Event"}
	if _, selected := r.matches(o); !selected && !event {
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
