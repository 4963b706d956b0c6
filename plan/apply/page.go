package apply

import (
	"context"
	"iter"
	"sync"

	"golang.org/x/sync/errgroup"

	"etcdsweep/decode"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/run"
)

// The bounds of a page. Its keys are in doubt when the run is killed in the middle of it, and what was read for it drifts
// while it waits: it takes about two seconds to go.
const (
	maxPageKeys  = 1000
	minPageKeys  = 64
	maxPageBytes = 2 << 20
	pageSeconds  = 2
)

// pageKeys returns the most keys of a page.
func (r *sweeper) pageKeys() int {
	if r.PageKeys > 0 {
		return r.PageKeys
	}
	return r.Pace.Within(pageSeconds, minPageKeys, maxPageKeys)
}

// candidate is an object that may go.
type candidate struct {
	key, uid                    string
	createRevision, modRevision int64 // that it was planned with
	bytes                       int
	doubt                       bool           // an earlier attempt may have deleted it
	record                      *decode.Record // as it was read just before; nil if it is still to be read
}

// page is a part of a stage. Its keys are intended, archived, deleted and judged together.
type page struct {
	stage   run.Step
	targets []target // to delete

	flying   sync.WaitGroup // deletes
	mu       sync.Mutex
	verdicts []journal.Verdict
}

func (p *page) judged(v journal.Verdict) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.verdicts = append(p.verdicts, v)
}

// pages puts candidates together into pages.
func (r *sweeper) pages(candidates iter.Seq2[candidate, error]) iter.Seq2[[]candidate, error] {
	return func(yield func([]candidate, error) bool) {
		var page []candidate
		var bytes int
		for c, err := range candidates {
			if err != nil {
				yield(nil, err)
				return
			}
			if len(page) >= r.pageKeys() || len(page) > 0 && bytes+c.bytes > maxPageBytes {
				if !yield(page, nil) {
					return
				}
				page, bytes = nil, 0
			}
			page, bytes = append(page, c), bytes+c.bytes
		}
		if len(page) > 0 {
			yield(page, nil)
		}
	}
}

// sweep deletes a stage's candidates. While a page goes, the next one is prepared, and what became of the one before is
// written down; the deletes of one page follow those of another without a gap. It feeds no more once ctx has ended or
// something has failed, and returns when what was in flight has finished and is written down.
func (r *sweeper) sweep(ctx context.Context, stage run.Step, judge judge, candidates iter.Seq2[candidate, error]) error {
	group, ctx := errgroup.WithContext(ctx)
	prepared, gone := make(chan *page), make(chan *page)
	group.Go(func() error {
		defer close(prepared)
		for candidates, err := range r.pages(candidates) {
			if err != nil {
				return err
			}
			p, err := r.prepare(ctx, stage, judge, candidates)
			if err != nil {
				return err
			}
			select {
			case prepared <- p:
			case <-ctx.Done():
				return run.ErrInterrupted
			}
		}
		return nil
	})
	group.Go(func() error {
		defer close(gone)
		return r.remove(ctx, r.workers(stage), prepared, gone)
	})
	group.Go(func() (err error) {
		for p := range gone { // to the end, whatever fails: the history has what the journal has not
			err = firstError(err, r.note(journal.Frame{Judged: &journal.Judged{Stage: string(p.stage), Keys: p.verdicts}}))
		}
		return err
	})
	return group.Wait()
}

// prepare makes a page ready to be deleted: its keys are intended in the journal, read, judged where they have drifted, and
// archived. When it returns nothing in the page can be lost any more.
func (r *sweeper) prepare(ctx context.Context, stage run.Step, judge judge, candidates []candidate) (*page, error) {
	if ctx.Err() != nil {
		return nil, run.ErrInterrupted
	}
	if err := r.intend(stage, candidates); err != nil {
		return nil, err
	}
	if err := r.read(ctx, candidates); err != nil {
		return nil, err
	}
	if err := r.sameNamespace(ctx); err != nil { // behind the read: what was there then is of the namespace that stands now
		return nil, err
	}
	p := &page{stage: stage}
	var keep []decode.Record
	stays := false // a root does
	for i := range candidates {
		c := &candidates[i]
		if c.record == nil {
			p.judged(r.absent(c))
			continue
		}
		t := target{key: c.key, uid: c.uid, createRevision: c.createRevision, modRevision: c.modRevision, judge: judge}
		reason, err := r.consider(ctx, &t, c.record)
		if err != nil {
			return nil, err
		}
		if reason == anotherUID && r.mayHaveDeleted(c) {
			p.judged(r.absent(c))
			continue
		}
		if reason != "" {
			v := journal.Verdict{Key: c.key, Outcome: journal.Skipped, Reason: reason}
			if r.orphans(stage, reason, c.record) {
				v.CreateRevision, v.ModRevision = c.record.CreateRevision, c.record.ModRevision
				keep = append(keep, *c.record)
			}
			p.judged(v)
			stays = stays || stage == run.StepRoots
			continue
		}
		if r.archived[c.key].mod != t.modRevision {
			keep = append(keep, *c.record)
		}
		p.targets = append(p.targets, t)
	}
	if stays {
		p.targets = nil
	}
	return p, r.archive.Append(keep...)
}

// orphans reports whether an object that stays may go all the same: a garbage collector takes what depends on a root that
// went. So its bytes are kept, too. What was made again under a planned name is somebody else's.
func (r *sweeper) orphans(stage run.Step, reason string, current *decode.Record) bool {
	if stage == run.StepRoots || reason == anotherUID || len(r.rootsWent()) == 0 {
		return false
	}
	object, err := current.Decode()
	return err != nil || r.ownerOf(&object) != nil
}

// intend writes down which keys a page is about.
func (r *sweeper) intend(stage run.Step, candidates []candidate) error {
	page := &journal.Page{Stage: string(stage), Keys: make([]string, len(candidates))}
	for i := range candidates {
		page.Keys[i] = candidates[i].key
	}
	return r.note(journal.Frame{Page: page})
}

// read reads the candidates that were not read just before.
func (r *sweeper) read(ctx context.Context, candidates []candidate) error {
	var keys []string
	for i := range candidates {
		if candidates[i].record == nil {
			keys = append(keys, candidates[i].key)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	records, err := run.Retry(ctx, r.Pace, func(ctx context.Context) ([]*decode.Record, error) { return r.Cluster.GetAll(ctx, keys) })
	if err != nil {
		return err
	}
	for i := range candidates {
		if candidates[i].record == nil {
			candidates[i].record, records = records[0], records[1:]
		}
	}
	return nil
}

// mayHaveDeleted reports whether an earlier attempt has archived the candidate and was killed before it could say what became
// of it.
func (r *sweeper) mayHaveDeleted(c *candidate) bool { return c.doubt && r.archived[c.key].mod > 0 }

// absent judges a candidate that is not there any more.
func (r *sweeper) absent(c *candidate) journal.Verdict {
	if r.mayHaveDeleted(c) {
		kept := r.archived[c.key]
		return journal.Verdict{Key: c.key, Outcome: journal.GoneUnknown, CreateRevision: kept.create, ModRevision: kept.mod}
	}
	return journal.Verdict{Key: c.key, Outcome: journal.AlreadyGone}
}

// remove deletes pages, several keys at a time, and hands on each page whose deletes have finished.
func (r *sweeper) remove(ctx context.Context, workers int, pages <-chan *page, gone chan<- *page) error {
	deletes, deleting := errgroup.WithContext(ctx)
	deletes.SetLimit(workers)
	var finished sync.WaitGroup
	for p := range pages {
		if deleting.Err() != nil {
			break // what is prepared stays in doubt, and is read again by the next attempt
		}
		for i := range p.verdicts {
			r.emit(judgedEvent(p.stage, &p.verdicts[i]))
			if p.stage == run.StepRoots && p.verdicts[i].Outcome == journal.Skipped {
				deletes.Go(func() error { return errRootStays })
			}
		}
		for i := range p.targets {
			if deleting.Err() != nil {
				break
			}
			p.flying.Add(1)
			deletes.Go(func() error {
				defer p.flying.Done()
				v, err := r.removeOne(deleting, p.stage, &p.targets[i])
				if v != nil {
					p.judged(*v)
					r.emit(judgedEvent(p.stage, v))
				}
				if err == nil && p.stage == run.StepRoots && v.Outcome == journal.Skipped {
					err = errRootStays
				}
				return err
			})
		}
		finished.Go(func() {
			p.flying.Wait()
			gone <- p
		})
	}
	err := deletes.Wait()
	finished.Wait()
	if err == nil && ctx.Err() != nil {
		err = run.ErrInterrupted
	}
	return err
}

// workers returns how many keys of a stage go at a time: roots go in their order, owners before what they own.
func (r *sweeper) workers(stage run.Step) int {
	if stage == run.StepRoots {
		return 1
	}
	return r.Concurrency
}

func judgedEvent(stage run.Step, v *journal.Verdict) run.Event {
	return run.Judged{Step: stage, Key: v.Key, Outcome: v.Outcome, Reason: v.Reason}
}
