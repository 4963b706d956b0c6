package undo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"etcdsweep/decode"
	"etcdsweep/durable"
	"etcdsweep/plan"
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
	for page, err := range pages(u.selected(ctx), fullPages) {
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

// judge says whether something is left. What exists as it was archived is not, nor what has never gone, nor what would be gone
// by now because its lease has expired.
func (u *undoer) judge(tally *journal.Tally) error {
	kept := u.report.Different()
	var words []string
	for _, k := range tally.Skipped {
		switch k.Reason {
		case existsSame:
			words = append(words, number(k.Count, "is", "are")+" there as archived")
		case existsStayed:
			words = append(words, number(k.Count, "has", "have")+" never gone, and changed since")
		case expired:
			words = append(words, number(k.Count, "stays", "stay")+" away with an expired lease: "+examples(&k))
		default:
			kept += k.Count
		}
	}
	head := "all of it is back, to the byte"
	switch {
	case kept > 0:
		head = "not all of it is back"
	case u.report.Compared == 0:
		head = "there was nothing to put back"
	case tally.Outcomes[journal.LeaseExpired] > 0:
		head = number(u.report.Compared, "is", "are") + " back, to the byte"
	}
	if sight := u.controllers.Sight(); sight.Moves > u.moves && !u.allowsLive() {
		u.warn("kube-controller-manager was started meanwhile (%s): look at this again in a minute", sight.Holder)
	}
	u.emit(run.StepEnded{Step: run.StepVerify, Words: strings.Join(append([]string{head}, words...), "; ")})
	if kept > 0 {
		return run.ErrLeft
	}
	return nil
}

// number says how many are or do something.
func number(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// examples names some of what has a reason, and says how many more there are.
func examples(k *plan.KeptOut) string {
	words := strings.Join(k.Examples, ", ")
	if more := k.Count - int64(len(k.Examples)); more > 0 {
		words += fmt.Sprintf(" and %d more", more)
	}
	return words
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
