package apply

import (
	"context"
	"fmt"
	"iter"

	"etcdsweep/decode"
	"etcdsweep/plan"
)

const newcomersPage = 256 // newcomers archived with one sync

// chase deletes the newcomers: pods of the planned owners that were made after the plan, under names that are not in
// it. (A planned pod that was made again under its name was judged already, and stays.) They meet the same selection
// and guards, and what the snapshot does not hold of them is archived first. It scans until a scan finds none.
func (r *run) chase(ctx context.Context) error {
	limited := r.selection.Limit > 0 // then the owner's other pods are meant to stay
	if r.NoChase || limited || len(r.selection.Owners) == 0 {
		return nil
	}
	r.emit(StepBegan{Step: StepNewcomers})
	for !r.report.Newcomers.Capped {
		before := r.report.Newcomers.Total() - r.report.Newcomers.Remaining()
		if err := r.chaseOnce(ctx); err != nil {
			return err
		}
		if r.report.Newcomers.Total()-r.report.Newcomers.Remaining() == before {
			break
		}
	}
	r.emit(StepEnded{StepNewcomers, r.words(StepNewcomers)})
	if r.report.Newcomers.Capped {
		r.emit(Warning{fmt.Sprintf("%d newcomers were deleted, the most that --chase-max allows; there are more", r.ChaseMax)})
	}
	return nil
}

// chaseOnce makes one scan and deletes the newcomers that it finds, page by page.
func (r *run) chaseOnce(ctx context.Context) error {
	var page []decode.Record
	var uids []string
	flush := func() error {
		defer func() { page, uids = page[:0], uids[:0] }()
		return r.removeNewcomers(ctx, page, uids)
	}
	chased := r.report.Newcomers.Total()
	pods := decode.Pods()
	planned := r.plannedKeys(plan.StagePods)
	defer planned.stop()
	for _, namespace := range r.selection.Namespaces {
		for record, err := range r.Cluster.Scan(ctx, pods.NamespacePrefix(r.Plan.Header.Prefix, namespace)) {
			if err != nil {
				return unhealthy(err)
			}
			uid, newcomer := r.newcomer(pods, &record)
			if !newcomer {
				continue
			}
			if inPlan, err := planned.has(record.Key); err != nil {
				return err
			} else if inPlan {
				continue
			}
			if chased >= r.ChaseMax {
				r.report.Newcomers.Capped = true
				return flush()
			}
			chased++
			page, uids = append(page, record), append(uids, uid)
			if len(page) == newcomersPage {
				if err := flush(); err != nil {
					return err
				}
			}
		}
	}
	return flush()
}

// newcomer reports whether a record is a pod of a planned owner that was made after the plan, and may go.
func (r *run) newcomer(resource decode.Resource, record *decode.Record) (uid string, ok bool) {
	if record.CreateRevision <= r.Plan.Header.Revision {
		return "", false
	}
	object, err := decode.Decode(record.Value)
	if err != nil || resource.Check(r.Plan.Header.Prefix, record.Key, &object) != nil {
		return "", false
	}
	if _, selected := r.matches(&object); !selected {
		return "", false
	}
	guard, _ := r.guards.Objection(&object)
	return object.UID, guard == ""
}

func (r *run) removeNewcomers(ctx context.Context, page []decode.Record, uids []string) error {
	var unsaved []decode.Record
	for i := range page {
		held, err := r.snapshot.Holds(page[i].Key, page[i].CreateRevision, page[i].ModRevision)
		if err != nil {
			return err
		}
		if !held {
			unsaved = append(unsaved, page[i])
		}
	}
	if len(unsaved) > 0 {
		if err := r.keep(unsaved...); err != nil {
			return err
		}
	}
	return r.removeAll(ctx, func(yield func(target, error) bool) {
		for i := range page {
			t := target{step: StepNewcomers, key: page[i].Key, uid: uids[i], createRevision: page[i].CreateRevision, modRevision: page[i].ModRevision, saved: true, judge: r.judgePod}
			if !yield(t, nil) {
				return
			}
		}
	})
}

// plannedKeys walks along the keys of a stage while a scan walks along those of the cluster: both ascend.
type plannedKeys struct {
	next func() (plan.Entry, error, bool)
	stop func()
	key  string // that the walk has come to; "" before it began
	end  bool
}

func (r *run) plannedKeys(stage string) *plannedKeys {
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
