package apply

import (
	"context"
	"fmt"
	"iter"

	"etcdsweep/decode"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/run"
)

// archiveCollateral keeps what the garbage collector will delete once the roots are gone, before they go: as long as one
// stands, whatever earlier attempts have kept. Nothing of it is deleted by the run.
func (r *sweeper) archiveCollateral(ctx context.Context) error {
	if r.Plan.Trailer.Collateral == 0 {
		return nil
	}
	r.emit(run.StepBegan{Step: run.StepCollateral, Total: r.Plan.Trailer.Collateral})
	var archived, gone int64
	for candidates, err := range r.pages(r.collateral()) {
		if err != nil {
			return err
		}
		judged, err := r.archivePage(ctx, candidates)
		if err != nil {
			return err
		}
		for _, v := range judged {
			if v.Outcome == journal.AlreadyGone {
				gone++
			} else {
				archived++
			}
			r.emit(judgedEvent(run.StepCollateral, &v))
		}
	}
	r.emit(run.StepEnded{Step: run.StepCollateral, Words: fmt.Sprintf("%d archived before the roots go, %d are gone already", archived, gone)})
	return nil
}

func (r *sweeper) collateral() iter.Seq2[candidate, error] {
	return func(yield func(candidate, error) bool) {
		for line, err := range r.Plan.Collateral() {
			if !yield(planned(&line, false), err) {
				return
			}
		}
	}
}

// archivePage reads a page of collateral, and archives what is not in the archive as it is now. It writes down what became
// of these, and returns what became of all.
func (r *sweeper) archivePage(ctx context.Context, candidates []candidate) ([]journal.Verdict, error) {
	if ctx.Err() != nil {
		return nil, run.ErrInterrupted
	}
	if err := r.read(ctx, candidates); err != nil {
		return nil, err
	}
	var all []journal.Verdict
	var news []candidate
	var keep []decode.Record
	judged := &journal.Judged{Stage: string(run.StepCollateral)}
	for _, c := range candidates {
		v := journal.Verdict{Key: c.key, Outcome: journal.AlreadyGone}
		kept := r.archived[c.key]
		if c.record != nil {
			v = journal.Verdict{Key: c.key, Outcome: journal.Archived, CreateRevision: c.record.CreateRevision, ModRevision: c.record.ModRevision}
		}
		all = append(all, v)
		if v.ModRevision == kept.mod && kept.mod > 0 && !r.inDoubt(c.key) {
			continue
		}
		if c.record != nil && kept.mod != c.record.ModRevision {
			keep = append(keep, *c.record)
		}
		news, judged.Keys = append(news, c), append(judged.Keys, v)
	}
	if len(news) == 0 {
		return all, nil
	}
	if err := r.intend(run.StepCollateral, news); err != nil {
		return nil, err
	}
	if err := r.archive.Append(keep...); err != nil {
		return nil, err
	}
	return all, r.note(journal.Frame{Judged: judged})
}
