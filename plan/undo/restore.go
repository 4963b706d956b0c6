package undo

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"maps"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"etcdsweep/decode"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/run"
)

// Why a key was left alone.
const (
	existsSame    = "it is as it was archived"
	existsStayed  = "it has never gone, and has changed since it was archived"
	existsChanged = "the same object, and it has changed"
	existsOther   = "another object of that name"
	expired       = "its lease has expired: it would be gone by now"

	unresolved = "unresolved: its write got no answer, and it could not be read again"
)

// minPageKeys and pageSeconds bound a page of a slow undo: its keys are in doubt when it is killed.
const (
	minPageKeys = 64
	pageSeconds = 2
)

func (u *undoer) pageKeys() int {
	return u.Pace.Within(pageSeconds, minPageKeys, pageKeys)
}

// fullPages is for those who only read.
func fullPages() int { return pageKeys }

// pages puts records together into pages, each of as many as maxKeys says then. Those of a page are of one rank, because they go at the same time.
func pages(items iter.Seq2[item, error], maxKeys func() int) iter.Seq2[[]item, error] {
	return func(yield func([]item, error) bool) {
		var page []item
		bytes := 0
		for it, err := range items {
			if err != nil {
				yield(nil, err)
				return
			}
			full := len(page) >= maxKeys() || bytes+len(it.Value) > pageBytes
			if len(page) > 0 && (full || it.rank != page[0].rank) {
				if !yield(page, nil) {
					return
				}
				page, bytes = nil, 0
			}
			page, bytes = append(page, it), bytes+len(it.Value)
		}
		if len(page) > 0 {
			yield(page, nil)
		}
	}
}

func keysOf(page []item) []string {
	keys := make([]string, len(page))
	for i := range page {
		keys[i] = page[i].Key
	}
	return keys
}

// restore puts back what no earlier attempt has judged: what it has left in doubt, and what comes behind.
func (u *undoer) restore(ctx context.Context) error {
	doubt := maps.Clone(u.history.Doubt[u.stage]) // a copy: the history changes meanwhile
	u.emit(run.StepBegan{Step: run.StepRestore, Total: u.survey.total})
	u.emit(run.Advanced{Step: run.StepRestore, Done: u.handled() - int64(len(doubt))})
	for page, err := range pages(u.left(ctx, u.handled(), doubt), u.pageKeys) {
		if err != nil {
			return err
		}
		if err := u.checkStill(); err != nil {
			return err
		}
		if err := u.putBack(ctx, page, doubt); err != nil {
			return err
		}
	}
	tally := u.tally()
	u.emit(run.StepEnded{Step: run.StepRestore, Words: tally.Words()})
	return nil
}

// left yields what is selected behind the first records, and of these what is in doubt.
func (u *undoer) left(ctx context.Context, first int64, doubt map[string]bool) iter.Seq2[item, error] {
	return func(yield func(item, error) bool) {
		number := int64(0)
		for it, err := range u.selected(ctx) {
			number++
			if err == nil && number <= first && !doubt[it.Key] {
				continue
			}
			if !yield(it, err) {
				return
			}
		}
	}
}

// putBack makes a page of keys, several at a time, and writes down what became of each. It feeds no more once ctx has ended or
// something has failed, and returns when what was in flight has finished.
func (u *undoer) putBack(ctx context.Context, page []item, doubt map[string]bool) error {
	if ctx.Err() != nil {
		return run.ErrInterrupted
	}
	if err := u.note(journal.Frame{Page: &journal.Page{Stage: u.stage, Keys: keysOf(page)}}); err != nil {
		return err
	}
	var mu sync.Mutex // guards judged
	judged := &journal.Judged{Stage: u.stage}
	judge := func(v *journal.Verdict) {
		mu.Lock()
		judged.Keys = append(judged.Keys, *v)
		mu.Unlock()
		u.emit(run.Judged{Step: run.StepRestore, Key: v.Key, Outcome: v.Outcome, Reason: v.Reason})
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(u.Concurrency)
	err := func() error {
		for i := range page {
			it := &page[i]
			if groupCtx.Err() != nil {
				return nil
			}
			lease, err := u.lease(groupCtx, it.Lease)
			if err != nil {
				return err
			}
			group.Go(func() error {
				v, err := u.putBackOne(groupCtx, it, lease, doubt[it.Key])
				if v != nil {
					judge(v)
				}
				return err
			})
		}
		return nil
	}()
	if groupErr := group.Wait(); groupErr != nil {
		err = groupErr // the cause of the other, if there are both
	}
	if len(judged.Keys) > 0 {
		err = errors.Join(err, u.note(journal.Frame{Judged: judged}))
	}
	if err == nil && ctx.Err() != nil {
		return run.ErrInterrupted
	}
	return err
}

// putBackOne makes one key, and says what became of it; nil if that was not tried. An error stops the undo.
func (u *undoer) putBackOne(ctx context.Context, it *item, lease *lease, doubt bool) (*journal.Verdict, error) {
	if ctx.Err() != nil {
		return nil, run.ErrInterrupted
	}
	v := &journal.Verdict{Key: it.Key, Outcome: journal.Restored, CreateRevision: it.CreateRevision, ModRevision: it.ModRevision}
	if lease.expired() {
		v.Outcome, v.Reason = journal.LeaseExpired, expired
		return v, nil
	}
	a, err := u.writes.Write(ctx, it.Key,
		func(ctx context.Context) (int64, *decode.Record, error) {
			return u.Cluster.CreateIf(ctx, it.Key, it.Value, lease.id())
		},
		func(current *decode.Record) bool { return current == nil })
	switch {
	case err != nil && a.Unresolved:
		v.Outcome, v.Reason = journal.Unresolved, unresolved
		return v, err
	case err != nil && lease.id() != 0:
		return u.withoutLease(ctx, v, lease, err)
	case err != nil:
		return nil, err
	case a.Revision > 0:
		v.Revision = a.Revision
	case (a.Lost || doubt) && bytes.Equal(a.Current.Value, it.Value):
		v.Outcome = journal.RestoredUnknown
	default:
		v.Outcome, v.Reason = journal.Exists, compare(it, a.Current)
	}
	return v, nil
}

// withoutLease tells a write that failed because its lease has expired meanwhile from one that failed otherwise.
func (u *undoer) withoutLease(ctx context.Context, v *journal.Verdict, lease *lease, cause error) (*journal.Verdict, error) {
	if errors.Is(cause, run.ErrInterrupted) {
		return nil, cause
	}
	if _, found, err := u.Cluster.LeaseLeft(context.WithoutCancel(ctx), lease.id()); err != nil || found {
		return nil, cause
	}
	v.Outcome, v.Reason = journal.LeaseExpired, expired
	return v, nil
}

// compare says what a key holds that exists. One that still has the create revision with which it was archived has not been
// deleted since, by nobody: collateral that no garbage collector has taken, or what the run has left.
func compare(it *item, current *decode.Record) string {
	switch {
	case bytes.Equal(current.Value, it.Value):
		return existsSame
	case current.CreateRevision == it.CreateRevision:
		return existsStayed
	}
	object, err := current.Decode()
	if err == nil && it.object != nil && object.UID == it.object.UID {
		return existsChanged
	}
	return existsOther
}

// lease stands for one that archived keys had. A nil one stands for none.
type lease struct{ now int64 } // 0: it has expired

func (l *lease) expired() bool { return l != nil && l.now == 0 }

func (l *lease) id() int64 {
	if l == nil {
		return 0
	}
	return l.now
}

// lease returns the lease for keys that had an old one: a new one with the time that was left, written down before it is used,
// so that an undo that goes on uses the same one.
func (u *undoer) lease(ctx context.Context, old int64) (*lease, error) {
	if old == 0 {
		return nil, nil
	}
	if l, ok := u.leases[old]; ok {
		return l, nil
	}
	id, granted := old, false
	if before, ok := u.history.Leases[old]; ok {
		id, granted = before.New, true
	}
	left, err := u.leaseLeft(ctx, id)
	if err != nil {
		return nil, err
	}
	l := &lease{}
	switch {
	case left == 0:
	case granted || u.DryRun:
		l.now = id
	default:
		if l.now, err = run.Retry(ctx, u.Pace, func(ctx context.Context) (int64, error) { return u.Cluster.GrantLease(ctx, left) }); err != nil {
			return nil, err
		}
		if err := u.note(journal.Frame{Lease: &journal.Lease{Old: old, New: l.now, Seconds: left.Seconds()}}); err != nil {
			return nil, err
		}
	}
	u.leases[old] = l
	return l, nil
}

// leaseLeft returns how long a lease has to go, 0 if it has expired.
func (u *undoer) leaseLeft(ctx context.Context, id int64) (time.Duration, error) {
	return run.Retry(ctx, u.Pace, func(ctx context.Context) (time.Duration, error) {
		left, found, err := u.Cluster.LeaseLeft(ctx, id)
		if !found {
			left = 0
		}
		return left, err
	})
}

// rehearse says what would be put back, and writes nothing.
func (u *undoer) rehearse(ctx context.Context) error {
	doubt := u.history.Doubt[u.stage]
	for page, err := range pages(u.left(ctx, u.handled(), doubt), fullPages) {
		if err != nil {
			return err
		}
		records, err := u.getAll(ctx, keysOf(page))
		if err != nil {
			return err
		}
		for i := range page {
			v := journal.Verdict{Key: page[i].Key, Outcome: journal.Restored}
			if records[i] != nil {
				v.Outcome, v.Reason = journal.Exists, compare(&page[i], records[i])
			} else if lease, err := u.lease(ctx, page[i].Lease); err != nil {
				return err
			} else if lease.expired() {
				v.Outcome, v.Reason = journal.LeaseExpired, expired
			}
			u.report.Objects.Add(&v)
		}
	}
	return nil
}

// tally counts the outcomes in all attempts.
func (u *undoer) tally() journal.Tally {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.history.Tally(u.stage)
}
