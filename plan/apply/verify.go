package apply

import (
	"context"
	"errors"
	"fmt"

	"etcdsweep/decode"
)

// verify scans again, and says what is left and whether births go on.
func (r *run) verify(ctx context.Context) error {
	r.emit(StepBegan{Step: StepVerify})
	left := &r.report.Left
	pods := decode.Pods()
	for _, namespace := range r.refreshed.Namespaces {
		for record, err := range r.Cluster.Scan(ctx, pods.NamespacePrefix(r.Plan.Header.Prefix, namespace)) {
			if err != nil {
				return err
			}
			r.look(pods, &record)
		}
	}
	now := r.Now()
	var perSec float64
	r.report.Births, r.report.LastBirth, perSec, _, r.report.RootsReturned = r.births.seen(now)
	if perSec > 0 && len(r.refreshed.Owners) > 0 {
		r.emit(Warning{fmt.Sprintf("births go on: %.1f a second", perSec)})
	}
	r.emit(StepEnded{StepVerify, fmt.Sprintf("%d of the selection are left, %d births since the roots went", left.Selected, r.report.Births)})
	tallies := r.report.Roots.Remaining() + r.report.Pods.Remaining() + r.report.Newcomers.Remaining()
	if tallies > 0 || (left.Selected > 0 && r.refreshed.Limit == 0) || len(r.report.RootsReturned) > 0 {
		return ErrLeft
	}
	return nil
}

// look counts one record that stands after the sweep.
func (r *run) look(resource decode.Resource, record *decode.Record) {
	left := &r.report.Left
	object, err := decode.Decode(record.Value)
	if unreadable, ok := errors.AsType[*decode.UnreadableError](err); ok {
		left.Unread = addReason(left.Unread, unreadable.Class(), record.Key)
		return
	}
	if err != nil || resource.Check(r.Plan.Header.Prefix, record.Key, &object) != nil {
		left.Unread = addReason(left.Unread, "key and object disagree", record.Key)
		return
	}
	if _, selected := r.matches(&object); !selected {
		return
	}
	if guard, _ := r.guards.Objection(&object); guard != "" {
		left.Kept = addReason(left.Kept, guard, record.Key)
		return
	}
	left.Selected++
	if len(left.Examples) < maxExamples {
		left.Examples = append(left.Examples, record.Key)
	}
}
