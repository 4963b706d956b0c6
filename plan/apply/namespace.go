package apply

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"etcdsweep/decode"
	"etcdsweep/plan"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/run"
)

// sameNamespace makes sure that a namespace which is planned whole has not been made again: another one of that name must never be
// emptied. It is asked behind each read of what is to go. What stood then, and is deleted only as it was, was never in a namespace
// that is made later.
func (r *sweeper) sameNamespace(ctx context.Context) error {
	whole := r.selection.Whole
	if whole == nil {
		return nil
	}
	record, err := r.get(ctx, whole.Key(r.Plan.Header.Prefix))
	if err != nil || record == nil {
		return err
	}
	object, err := record.Decode()
	if err == nil && object.UID == whole.UID {
		return nil
	}
	reason := fmt.Sprintf("the namespace %s was made again: its UID is %s", whole.Name, object.UID)
	if err != nil {
		reason = fmt.Sprintf("the record of the namespace %s cannot be read, so it may be another one: %v", whole.Name, err)
	}
	return &plan.RefusedError{
		Reason: reason + "; nothing that is in it now is touched",
		Advice: "what has gone of the old one is in the archive; plan again if this one is to go as well",
	}
}

// contents returns where the namespace has anything, owners first.
func (r *sweeper) contents(ctx context.Context) ([]plan.Place, error) {
	places, err := run.Retry(ctx, r.Pace, func(ctx context.Context) ([]plan.Place, error) {
		contents, err := plan.ReadContents(ctx, r.Cluster, r.Plan.Header.Prefix, r.selection.Whole)
		if err != nil {
			return nil, err
		}
		return contents.Places(ctx, r.Cluster)
	})
	return places, err
}

// chaseNamespace deletes what was made in the namespace after the plan, round by round until it is empty, or until nothing more
// goes: what its guards keep stays.
func (r *sweeper) chaseNamespace(ctx context.Context) error {
	if r.NoChase {
		return nil
	}
	r.emit(run.StepBegan{Step: run.StepNewcomers})
	if err := r.chaseRounds(ctx, r.newcomersIn); err != nil {
		return err
	}
	tally := r.tally(run.StepNewcomers)
	r.emit(run.StepEnded{Step: run.StepNewcomers, Words: tally.Words()})
	if r.report.Newcomers.Capped {
		r.emit(run.Warning{Text: fmt.Sprintf("%d newcomers were deleted, and the namespace goes on being filled: stop kube-controller-manager, or whoever makes them", tally.Total())})
	}
	return nil
}

// chaseRoundsMax is how often a namespace is emptied that somebody fills again: a controller that makes the default ServiceAccount
// anew does not tire.
const chaseRoundsMax = 20

// newcomersIn scans the namespace once for what was made after the plan. It stops at the most that may be deleted.
func (r *sweeper) newcomersIn(ctx context.Context, chased int64) iter.Seq2[candidate, error] {
	return func(yield func(candidate, error) bool) {
		if r.rounds++; r.rounds > chaseRoundsMax {
			r.report.Newcomers.Capped = true
			return
		}
		places, err := r.contents(ctx)
		if err != nil {
			yield(candidate{}, run.Unhealthy(err))
			return
		}
		for _, p := range places {
			for record, err := range r.Cluster.Scan(ctx, p.Prefix) {
				if err != nil {
					yield(candidate{}, run.Unhealthy(err))
					return
				}
				uid, newcomer, err := r.newcomer(ctx, p.Resource, &record)
				if err != nil {
					yield(candidate{}, err)
					return
				}
				if !newcomer {
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

// unnamed reports whether a newcomer is a claim: the plan has named the claims that go with what is on their volumes, and this one
// is not among them.
func (r *sweeper) unnamed(o *decode.Object) bool {
	return r.selection.Whole != nil && o.GroupKind() == schema.GroupKind{Kind: "PersistentVolumeClaim"}
}

// removeNamespace deletes the Namespace itself, if nothing is left in it. What was made between the last look and its end is deleted
// behind it.
func (r *sweeper) removeNamespace(ctx context.Context) error {
	if r.selection.Whole == nil {
		return nil
	}
	left, example, err := r.leftInNamespace(ctx)
	if err != nil {
		return err
	}
	if left > 0 {
		r.stays = true
		r.emit(run.Warning{Text: fmt.Sprintf("the namespace %s stays: still in it are %d keys, such as %s", r.selection.Whole.Name, left, example)})
		return nil
	}
	if r.planned(plan.StageNamespace) == 0 {
		return nil
	}
	r.emit(run.StepBegan{Step: run.StepNamespace, Total: 1})
	if err := r.sweep(ctx, run.StepNamespace, r.judgeRest, r.entriesLeft(plan.StageNamespace, run.StepNamespace)); err != nil {
		return err
	}
	tally := r.tally(run.StepNamespace)
	r.emit(run.StepEnded{Step: run.StepNamespace, Words: tally.Words()})
	if tally.Outcomes[journal.Skipped] > 0 || r.NoChase {
		return nil
	}
	return r.chaseRounds(ctx, r.newcomersIn)
}

// leftInNamespace passes over all keys of the registry once more, and counts those in the namespace, or those that may be. What the
// plan leaves behind because it cannot be judged does not count. But where the plan takes the Namespace there was nothing of the kind in
// it: what is there now does.
func (r *sweeper) leftInNamespace(ctx context.Context) (left int64, example string, err error) {
	contents, err := plan.ReadContents(ctx, r.Cluster, r.Plan.Header.Prefix, r.selection.Whole)
	if err != nil {
		return 0, "", run.Unhealthy(err)
	}
	places, doubt, err := contents.Survey(ctx, r.Cluster)
	if err != nil {
		return 0, "", run.Unhealthy(err)
	}
	leaves, takes := slices.Contains(r.Plan.Header.Allow, plan.AllowLeftBehind), r.planned(plan.StageNamespace) > 0
	count := func(key string) {
		left++
		if example == "" {
			example = key
		}
	}
	for _, d := range doubt {
		if !leaves {
			count(d.Examples[0])
		}
	}
	for _, p := range places {
		for record, err := range r.Cluster.Scan(ctx, p.Prefix) {
			if err != nil {
				return 0, "", run.Unhealthy(err)
			}
			object, err := record.Decode()
			judged := err == nil && p.Resource.Check(r.Plan.Header.Prefix, record.Key, &object) == nil
			if judged || !leaves || takes {
				count(record.Key)
			}
		}
	}
	return left, example, nil
}
