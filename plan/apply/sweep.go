package apply

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"golang.org/x/sync/errgroup"

	"etcdsweep/decode"
	"etcdsweep/plan"
)

// removeRoots deletes the owners, so that nothing makes new dependents. If one of them stays, the run ends: its pods
// would come back faster than they go.
func (r *run) removeRoots(ctx context.Context) error {
	total := r.planned(plan.StageRoots)
	if total == 0 {
		if r.Plan.Header.KeepRoots {
			r.emit(Warning{"the plan keeps the roots: their controllers may make new pods while this run deletes the old ones"})
		}
		return nil
	}
	judge := func(o *decode.Object) string {
		if guard, why := r.guards.RootObjection(o); guard != "" {
			return fmt.Sprintf("drifted, and is protected now by %s: %s", guard, why)
		}
		return ""
	}
	if err := r.removeStage(ctx, StepRoots, plan.StageRoots, judge); err != nil {
		return err
	}
	if roots := &r.report.Roots; roots.Remaining() > 0 {
		kept := roots.Skipped[0]
		return &plan.RefusedError{
			Reason: fmt.Sprintf("the root %s stays: %s; its pods would come back, so no pod was deleted (roots: %s)", kept.Examples[0], kept.Reason, roots.Words()),
			Advice: "plan again: a new plan sees the root as it is now",
		}
	}
	return nil
}

func (r *run) removePods(ctx context.Context) error {
	return r.removeStage(ctx, StepPods, plan.StagePods, r.judgePod)
}

// judgePod decides again about a pod that has drifted, as the plan decided.
func (r *run) judgePod(o *decode.Object) string {
	if _, selected := r.matches(o); !selected {
		return "drifted, and no longer meets the selection"
	}
	if guard, why := r.guards.Objection(o); guard != "" {
		return fmt.Sprintf("drifted, and is protected now by %s: %s", guard, why)
	}
	return ""
}

// removeStage deletes the entries of one stage of the plan.
func (r *run) removeStage(ctx context.Context, step Step, stage string, judge func(*decode.Object) string) error {
	r.emit(StepBegan{Step: step, Total: r.planned(stage)})
	err := r.removeAll(ctx, func(yield func(target, error) bool) {
		for entry, err := range r.Plan.Entries(stage) {
			t := target{step: step, key: entry.Key, uid: entry.UID, createRevision: entry.CreateRevision, modRevision: entry.ModRevision, judge: judge}
			if !yield(t, err) {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	r.emit(StepEnded{step, r.words(step)})
	return nil
}

// removeAll deletes the targets, several at a time. It feeds no more once ctx has ended or one has failed, and returns
// when those in flight have finished.
func (r *run) removeAll(ctx context.Context, targets iter.Seq2[target, error]) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(r.Concurrency)
	for t, err := range targets {
		if err != nil {
			return firstError(group.Wait(), err)
		}
		if groupCtx.Err() != nil {
			break
		}
		group.Go(func() error { return r.remove(groupCtx, t) })
	}
	return firstError(group.Wait(), ctx.Err())
}

func (r *run) planned(stage string) int64 {
	for _, tally := range r.Plan.Trailer.Summary.Stages {
		if tally.Name == stage {
			return tally.Entries
		}
	}
	return 0
}

// words tells the outcomes of a step.
func (r *run) words(step Step) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tally(step).Words()
}

// Words tells the outcomes in one line.
func (t *Tally) Words() string {
	var words []string
	for _, outcome := range Outcomes() {
		if n := t.Outcomes[outcome]; n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, outcome.Words()))
		}
	}
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}
