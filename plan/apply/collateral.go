package apply

import (
	"context"
	"fmt"
	"iter"

	"etcdsweep/decode"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/run"
)

// archiveCollateral keeps what the garbage collector will delete once the roots are gone, before they go. Nothing of it is
// deleted by the run.
func (r *sweeper) archiveCollateral(ctx context.Context) error {
	total := r.Plan.Trailer.Collateral
	done := r.tally(run.StepCollateral)
	if total == 0 || done.Total() == total {
		return nil
	}
	r.emit(run.StepBegan{Step: run.StepCollateral, Total: total})
	for candidates, err := range r.pages(r.collateral(done.Total())) {
		if err != nil {
			return err
		}
		if err := r.archivePage(ctx, candidates); err != nil {
			return err
		}
	}
	tally := r.tally(run.StepCollateral)
	r.emit(run.StepEnded{Step: run.StepCollateral, Words: fmt.Sprintf("%d archived before the roots go, %d are gone already", tally.Outcomes[journal.Archived], tally.Outcomes[journal.AlreadyGone])})
	return nil
}

// collateral yields the plan's collateral behind what earlier attempts have archived: they went along its lines, too.
func (r *sweeper) collateral(done int64) iter.Seq2[candidate, error] {
	return func(yield func(candidate, error) bool) {
		for line, err := range r.Plan.Collateral() {
			if done > 0 && err == nil {
				done--
				continue
			}
			if !yield(planned(&line, false), err) {
				return
			}
		}
	}
}

func (r *sweeper) archivePage(ctx context.Context, candidates []candidate) error {
	if err := r.intend(run.StepCollateral, candidates); err != nil {
		return err
	}
	if err := r.read(ctx, candidates); err != nil {
		return err
	}
	var keep []decode.Record
	judged := &journal.Judged{Stage: string(run.StepCollateral)}
	for _, c := range candidates {
		v := journal.Verdict{Key: c.key, Outcome: journal.AlreadyGone}
		if c.record != nil {
			v = journal.Verdict{Key: c.key, Outcome: journal.Archived, CreateRevision: c.record.CreateRevision, ModRevision: c.record.ModRevision}
			if r.archived[c.key].mod != c.record.ModRevision {
				keep = append(keep, *c.record)
			}
		}
		judged.Keys = append(judged.Keys, v)
		r.emit(judgedEvent(run.StepCollateral, &v))
	}
	if err := r.archive.Append(keep...); err != nil {
		return err
	}
	return r.note(journal.Frame{Judged: judged})
}
