package undo

import (
	"bytes"
	"context"
	"errors"
	"iter"

	"etcdsweep/decode"
	"etcdsweep/durable"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/run"
)

// How what was put back differs when it is read again.
const (
	goneAgain  = "gone again"
	otherBytes = "its value has changed since"
	otherAgain = "another object stands in its place"
)

// verify reads everything back that was put back, in all attempts, and compares every byte.
func (u *undoer) verify(ctx context.Context) error {
	tally := u.tally()
	restored := tally.Outcomes[journal.Restored] + tally.Outcomes[journal.RestoredUnknown]
	u.emit(run.StepBegan{Step: run.StepVerify, Total: restored})
	verdicts := u.verdicts()
	defer verdicts.stop()
	for page, err := range pages(u.selected(ctx), pageKeys) {
		if err != nil {
			return err
		}
		if page, err = verdicts.restored(page); err != nil {
			return err
		}
		records, err := u.getAll(ctx, keysOf(page))
		if err != nil {
			return err
		}
		for i := range page {
			u.compareBack(&page[i], records[i])
		}
		u.emit(run.Advanced{Step: run.StepVerify, Done: u.report.Compared})
	}
	return u.judge(&tally)
}

// compareBack compares what was put back with what stands there now.
func (u *undoer) compareBack(it *item, current *decode.Record) {
	r := &u.report
	r.Compared++
	switch {
	case current == nil:
		r.Differences = journal.AddReason(r.Differences, goneAgain, it.Key)
	case bytes.Equal(current.Value, it.Value):
		r.ComparedBytes += int64(len(it.Value))
	case compare(it, current) == existsChanged:
		r.Differences = journal.AddReason(r.Differences, otherBytes, it.Key)
	default:
		r.Differences = journal.AddReason(r.Differences, otherAgain, it.Key)
	}
}

// judge says whether something is left.
func (u *undoer) judge(tally *journal.Tally) error {
	words := "all of it is back, to the byte"
	differ, kept := u.report.Different(), int64(0)
	for _, k := range tally.Skipped {
		if k.Reason != existsSame {
			kept += k.Count
		}
	}
	if differ > 0 || kept > 0 {
		words = "not all of it is back"
	}
	if sight := u.controllers.Sight(); sight.Moves > u.moves && !u.allowsLive() {
		u.warn("kube-controller-manager was started meanwhile (%s): look at this again in a minute", sight.Holder)
	}
	u.emit(run.StepEnded{Step: run.StepVerify, Words: words})
	if differ > 0 || kept > 0 {
		return run.ErrLeft
	}
	return nil
}

// verdicts reads the verdicts of a stage from the journal, which has them in the order of the records, page by page: within
// a page in any order, and those that were in doubt once before those of the next page.
type verdicts struct {
	stage string
	next  func() (*journal.Frame, error, bool)
	stop  func()
	ahead map[string]journal.Outcome // read, and not asked for yet
}

func (u *undoer) verdicts() *verdicts {
	next, stop := iter.Pull2(journal.ReadFile(u.Dir.UndoJournal()))
	return &verdicts{stage: u.stage, next: next, stop: stop, ahead: map[string]journal.Outcome{}}
}

// restored returns those of the records that were put back. It is asked for all records, in their order.
func (v *verdicts) restored(page []item) ([]item, error) {
	var restored []item
	for i := range page {
		outcome, err := v.of(page[i].Key)
		if err != nil {
			return nil, err
		}
		if outcome == journal.Restored || outcome == journal.RestoredUnknown {
			restored = append(restored, page[i])
		}
	}
	return restored, nil
}

func (v *verdicts) of(key string) (journal.Outcome, error) {
	for {
		if outcome, ok := v.ahead[key]; ok {
			delete(v.ahead, key)
			return outcome, nil
		}
		frame, err, ok := v.next()
		switch {
		case !ok, errors.Is(err, durable.ErrTorn):
			return "", errors.New("the journal of the undo says nothing of " + key)
		case err != nil:
			return "", err
		case frame.Judged == nil || frame.Judged.Stage != v.stage:
			continue
		}
		for i := range frame.Judged.Keys {
			if judged := &frame.Judged.Keys[i]; judged.Outcome != journal.Unresolved {
				v.ahead[judged.Key] = judged.Outcome
			}
		}
	}
}
