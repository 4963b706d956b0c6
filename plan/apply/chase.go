package apply

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"

	"etcdsweep/decode"
	"etcdsweep/plan"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/run"
)

// chase deletes the newcomers: pods of the planned owners that were made after the plan, under names that are not in
// it. (A planned pod that was made again under its name was judged already, and stays.) They meet the same selection
// and guards, and are archived first. It scans until a scan finds none. Other objects than pods have no newcomers: what depends on
// one was not looked for.
func (r *sweeper) chase(ctx context.Context) error {
	if err := r.resolveNewcomers(ctx); err != nil {
		return err
	}
	if r.selection.Whole != nil {
		return r.chaseNamespace(ctx)
	}
	limited := r.selection.Limit > 0 // then the owner's other pods are meant to stay
	if r.NoChase || limited || len(r.selection.Owners) == 0 || !r.selection.OfPods() {
		return nil
	}
	r.emit(run.StepBegan{Step: run.StepNewcomers})
	if err := r.chaseRounds(ctx, r.newcomers); err != nil {
		return err
	}
	tally := r.tally(run.StepNewcomers)
	r.emit(run.StepEnded{Step: run.StepNewcomers, Words: tally.Words()})
	if r.report.Newcomers.Capped {
		r.emit(run.Warning{Text: fmt.Sprintf("%d newcomers were deleted, the most that --chase-max allows; there are more", r.ChaseMax)})
	}
	return nil
}

// chaseRounds deletes what a scan finds, and scans again, until one finds nothing that goes.
func (r *sweeper) chaseRounds(ctx context.Context, newcomers func(ctx context.Context, chased int64) iter.Seq2[candidate, error]) error {
	for before := int64(-1); !r.report.Newcomers.Capped; {
		tally := r.tally(run.StepNewcomers)
		gone := tally.Total() - tally.Remaining()
		if gone == before {
			return nil
		}
		before = gone
		if err := r.sweep(ctx, run.StepNewcomers, r.judgeRest, newcomers(ctx, tally.Total())); err != nil {
			return err
		}
	}
	return nil
}

// resolveNewcomers judges the newcomers that an earlier attempt has left in doubt and that are gone. The others are found
// again by the scan.
func (r *sweeper) resolveNewcomers(ctx context.Context) error {
	doubt := slices.Sorted(maps.Keys(r.history.Doubt[string(run.StepNewcomers)]))
	if len(doubt) == 0 {
		return nil
	}
	records, err := run.Retry(ctx, r.Pace, func(ctx context.Context) ([]*decode.Record, error) { return r.Cluster.GetAll(ctx, doubt) })
	if err != nil {
		return err
	}
	judged := &journal.Judged{Stage: string(run.StepNewcomers)}
	for i, key := range doubt {
		if records[i] == nil {
			judged.Keys = append(judged.Keys, r.absent(&candidate{key: key, doubt: true}))
		}
	}
	return r.note(journal.Frame{Judged: judged})
}

// newcomers scans for newcomers once. It stops at the most that may be deleted.
func (r *sweeper) newcomers(ctx context.Context, chased int64) iter.Seq2[candidate, error] {
	return func(yield func(candidate, error) bool) {
		pods := decode.Pods()
		planned := r.plannedKeys(plan.StagePods)
		defer planned.stop()
		for _, prefix := range r.selection.Prefixes(r.Plan.Header.Prefix) {
			for record, err := range r.Cluster.Scan(ctx, prefix) {
				if err != nil {
					yield(candidate{}, run.Unhealthy(err))
					return
				}
				uid, newcomer, err := r.newcomer(ctx, pods, &record)
				if err != nil {
					yield(candidate{}, err)
					return
				}
				if !newcomer {
					continue
				}
				if inPlan, err := planned.has(record.Key); err != nil {
					yield(candidate{}, err)
					return
				} else if inPlan {
					continue
				}
				if chased >= r.ChaseMax {
					r.report.Newcomers.Capped = true
					return
				}
				chased++
				c := candidate{key: record.Key, uid: uid, createRevision: record.CreateRevision, modRevision: record.ModRevision, bytes: len(record.Value), record: &record}
				if !yield(c, nil) {
					return
				}
			}
		}
	}
}

// newcomer reports whether a record is a pod of a planned owner that was made after the plan, and may go.
func (r *sweeper) newcomer(ctx context.Context, resource decode.Resource, record *decode.Record) (uid string, ok bool, err error) {
	if record.CreateRevision <= r.Plan.Header.Revision {
		return "", false, nil
	}
	object, err := record.Decode()
	if err != nil || resource.Check(r.Plan.Header.Prefix, record.Key, &object) != nil {
		return "", false, nil
	}
	if _, selected := r.matches(&object); !selected || r.unnamed(&object) {
		return "", false, nil
	}
	guard, _, err := r.objection(ctx, &object)
	return object.UID, guard == "" && err == nil, err
}

// plannedKeys walks along the keys of a stage while a scan walks along those of the cluster: both ascend.
type plannedKeys struct {
	next func() (plan.Entry, error, bool)
	stop func()
	key  string // that the walk has come to; "" before it began
	end  bool
}

func (r *sweeper) plannedKeys(stage string) *plannedKeys {
	next, stop := iter.Pull2(r.Plan.Entries(stage))
	return &plannedKeys{next: next, stop: stop}
}

// has reports whether a key is planned. It is asked for ascending keys.
func (p *plannedKeys) has(key string) (bool, error) {
	for !p.end && p.key < key {
		entry, err, ok := p.next()
		if err != nil {
			return false, err
		}
		p.key, p.end = entry.Key, !ok
	}
	return !p.end && p.key == key, nil
}
