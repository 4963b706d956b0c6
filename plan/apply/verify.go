package apply

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"etcdsweep/decode"
	"etcdsweep/plan"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/run"
)

// verify scans again, and says what is left and whether births go on.
func (r *sweeper) verify(ctx context.Context) error {
	r.emit(run.StepBegan{Step: run.StepVerify})
	left := &r.report.Left
	places, err := r.placesLeft(ctx)
	if err != nil {
		return err
	}
	for _, p := range places {
		for record, err := range r.Cluster.Scan(ctx, p.Prefix) {
			if err != nil {
				return run.Unhealthy(err)
			}
			if err := r.look(ctx, p.Resource, &record); err != nil {
				return err
			}
		}
	}
	if err := r.lookForBirths(ctx); err != nil {
		return err
	}
	now := r.Now()
	seen := r.births.sight(now)
	r.report.Births, r.report.LastBirth, r.report.RootsReturned = seen.count, seen.last, seen.returned
	goOn := seen.last.After(r.sweepBegan) && now.Sub(seen.last) < r.settleTime()
	if goOn {
		r.emit(run.Warning{Text: fmt.Sprintf("births go on: %d since the roots went, the last %s ago, by %s", seen.count, now.Sub(seen.last).Round(time.Second), strings.Join(seen.owners, ", "))})
	}
	r.emit(run.StepEnded{Step: run.StepVerify, Words: fmt.Sprintf("%d of the selection are left, %d births since the roots went", left.Selected, r.report.Births)})
	var skipped int64 // newcomers that stayed are left of the selection
	for _, step := range []run.Step{run.StepRoots, run.StepPods, run.StepObjects, run.StepNamespace} {
		tally := r.tally(step)
		skipped += tally.Remaining()
	}
	if r.stays {
		return run.ErrLeft
	}
	if skipped > 0 || goOn || (left.Selected > 0 && r.selection.Limit == 0) || len(r.report.RootsReturned) > 0 {
		return run.ErrLeft
	}
	return nil
}

// placesLeft returns where to look for what is left.
func (r *sweeper) placesLeft(ctx context.Context) (places []plan.Place, err error) {
	if r.selection.Whole != nil {
		return r.contents(ctx)
	}
	for _, prefix := range r.selection.Prefixes(r.Plan.Header.Prefix) {
		places = append(places, plan.Place{Resource: r.selection.Target(), Prefix: prefix})
	}
	return places, nil
}

// look counts one record that stands after the sweep.
func (r *sweeper) look(ctx context.Context, resource decode.Resource, record *decode.Record) error {
	left := &r.report.Left
	object, err := record.Decode()
	if unreadable, ok := errors.AsType[*decode.UnreadableError](err); ok {
		left.Unread = journal.AddReason(left.Unread, unreadable.Class(), record.Key)
		return nil
	}
	if err != nil || resource.Check(r.Plan.Header.Prefix, record.Key, &object) != nil {
		left.Unread = journal.AddReason(left.Unread, "key and object disagree", record.Key)
		return nil
	}
	if _, selected := r.matches(&object); !selected {
		return nil
	}
	guard, _, err := r.objection(ctx, &object)
	if err != nil {
		return err
	}
	if guard != "" {
		left.Kept = journal.AddReason(left.Kept, guard, record.Key)
		return nil
	}
	left.Selected++
	if len(left.Examples) < journal.MaxExamples {
		left.Examples = append(left.Examples, record.Key)
	}
	return nil
}
