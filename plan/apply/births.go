package apply

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"etcdsweep/decode"
	"etcdsweep/plan"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/run"
)

// Settle times: how long no planned owner may have made a pod before the sweep begins.
const (
	shortestSettle  = 5 * time.Second
	longestSettle   = 60 * time.Second
	settleIntervals = 3 // of the median time between two births

	DefaultSettleMax = 5 * time.Minute
)

// births watches for new pods of the planned owners, and for roots that are made again, from the deletion of the roots
// to the end of the run. It tells creations only: what the controllers write to orphaned pods is drift.
type births struct {
	changed chan struct{} // signalled after each birth; one pending signal is enough
	done    sync.WaitGroup
	roots   []string // keys

	mu       sync.Mutex
	seen     map[string]int64 // by prefix, the revision up to which a watch or a look has told
	count    int64
	last     time.Time // by this machine's clock
	owners   map[string]int64
	returned []string // keys of roots
	recent   []time.Time
}

const recentBirths = 256

// watchBirths opens the watches, from the revision behind the roots. They end with ctx; wait returns when they have.
func (r *sweeper) watchBirths(ctx context.Context) (*births, error) {
	b := &births{changed: make(chan struct{}, 1), seen: map[string]int64{}, owners: map[string]int64{}}
	var gone int64
	for _, revision := range r.rootsWent() {
		gone = max(gone, revision)
	}
	if gone == 0 { // no root went, as far as is known
		newest, err := run.Retry(ctx, r.Pace, func(ctx context.Context) (int64, error) { return r.Cluster.Revision(ctx, r.Plan.Header.Prefix+"/") })
		if err != nil {
			return b, err
		}
		gone = newest
	}
	for root, err := range r.Plan.Entries(plan.StageRoots) {
		if err != nil {
			return b, err
		}
		b.roots = append(b.roots, root.Key)
	}
	watched := byResource(b.roots) // an owner may be made below another one, such as the next Job of a CronJob
	for _, prefix := range r.selection.Prefixes(r.Plan.Header.Prefix) {
		if watched[prefix] == nil {
			watched[prefix] = map[string]bool{}
		}
	}
	for prefix := range watched {
		b.seen[prefix] = gone
	}
	for prefix, roots := range watched {
		b.done.Go(func() {
			r.watch(ctx, b, prefix, gone+1, func(record *decode.Record) {
				switch news := b.see(prefix, record.ModRevision); {
				case roots[record.Key]:
					r.noteReturn(b, record.Key)
				case news && record.Born():
					r.noteBirth(b, record)
				}
			})
		})
	}
	return b, nil
}

// byResource puts keys together by what they begin with up to their names.
func byResource(keys []string) map[string]map[string]bool {
	all := map[string]map[string]bool{}
	for _, key := range keys {
		prefix := key[:strings.LastIndex(key, "/")+1]
		if all[prefix] == nil {
			all[prefix] = map[string]bool{}
		}
		all[prefix][key] = true
	}
	return all
}

func (b *births) wait() { b.done.Wait() }

// see notes that everything up to a revision was told, and reports whether the revision is news.
func (b *births) see(prefix string, revision int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	news := revision > b.seen[prefix]
	b.seen[prefix] = max(b.seen[prefix], revision)
	return news
}

// watch follows the puts under a prefix until ctx ends, and opens the watch again where it broke. Where that has been
// compacted away, it waits until a look has told what the watch cannot.
func (r *sweeper) watch(ctx context.Context, b *births, prefix string, from int64, each func(*decode.Record)) {
	for failures := 0; ctx.Err() == nil; failures++ {
		for record, err := range r.Cluster.WatchPuts(ctx, prefix, max(from, b.told(prefix)+1)) {
			if err != nil {
				if failures == 0 {
					r.emit(run.Warning{Text: fmt.Sprintf("%v; opening it again", err)})
				}
				break
			}
			failures = 0
			from = record.ModRevision + 1
			each(&record)
		}
		run.Wait(ctx, run.Patience(failures))
	}
}

// noteBirth counts a new object, if a planned owner has made it.
func (r *sweeper) noteBirth(b *births, record *decode.Record) {
	object, err := record.Decode()
	if err != nil {
		return
	}
	owner := r.ownerOf(&object)
	if owner == nil {
		return
	}
	b.mu.Lock()
	b.count++
	b.last = r.Now()
	b.owners[owner.String()]++
	b.recent = append(b.recent, b.last)
	if len(b.recent) > recentBirths {
		b.recent = slices.Delete(b.recent, 0, len(b.recent)-recentBirths)
	}
	b.mu.Unlock()
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

func (r *sweeper) noteReturn(b *births, key string) {
	b.mu.Lock()
	known := slices.Contains(b.returned, key)
	if !known {
		b.returned = append(b.returned, key)
	}
	b.mu.Unlock()
	if !known {
		r.emit(run.Warning{Text: "the root " + key + " was made again: something above it, or somebody, still wants it"})
	}
}

// told returns the revision up to which everything under a prefix was told.
func (b *births) told(prefix string) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen[prefix]
}

// get reads a key.
func (r *sweeper) get(ctx context.Context, key string) (*decode.Record, error) {
	return run.Retry(ctx, r.Pace, func(ctx context.Context) (*decode.Record, error) { return r.Cluster.Get(ctx, key) })
}

// lookForRoots reads the roots' keys: a watch may have missed one that was made again.
func (r *sweeper) lookForRoots(ctx context.Context) error {
	keys := r.births.roots
	if len(keys) == 0 {
		return nil
	}
	records, err := run.Retry(ctx, r.Pace, func(ctx context.Context) ([]*decode.Record, error) { return r.Cluster.GetAll(ctx, keys) })
	if err != nil {
		return err
	}
	for i, record := range records {
		if record != nil {
			r.noteReturn(r.births, keys[i])
		}
	}
	return nil
}

// lookForBirths scans for pods that were made since the watches, or the last look, told anything. The watches are quick; this is what
// the decision to sweep rests on, for a watch that is silent may be one that nobody serves.
func (r *sweeper) lookForBirths(ctx context.Context) error {
	r.births.mu.Lock()
	seen := maps.Clone(r.births.seen)
	r.births.mu.Unlock()
	for prefix, revision := range seen {
		newest := revision
		for key, err := range r.Cluster.ScanKeys(ctx, prefix) {
			if err != nil {
				return run.Unhealthy(err)
			}
			if key.CreateRevision <= revision {
				continue
			}
			record, err := r.get(ctx, key.Key)
			if err != nil {
				return err
			}
			if record != nil {
				r.noteBirth(r.births, record)
			}
			newest = max(newest, key.CreateRevision)
		}
		r.births.see(prefix, newest)
	}
	return r.lookForRoots(ctx)
}

// ownerOf returns the planned owner whose UID the object's controller has, or nil.
func (r *sweeper) ownerOf(o *decode.Object) *plan.Owner {
	ref := o.Controller()
	if ref == nil {
		return nil
	}
	return r.owners[ref.UID]
}

// sight is what was seen of births up to a moment.
type sight struct {
	count    int64
	last     time.Time
	perSec   float64 // over the last seconds
	owners   []string
	returned []string
}

func (b *births) sight(now time.Time) sight {
	const window = 10 * time.Second
	b.mu.Lock()
	defer b.mu.Unlock()
	s := sight{count: b.count, last: b.last, owners: slices.Sorted(maps.Keys(b.owners)), returned: slices.Clone(b.returned)}
	recent := b.recent
	for len(recent) > 0 && now.Sub(recent[0]) > window {
		recent = recent[1:]
	}
	if len(recent) > 0 {
		s.perSec = float64(len(recent)) / max(now.Sub(recent[0]), time.Second).Seconds()
	}
	return s
}

// settleTime returns how long to wait for a birth: three times what lay between two of them, within bounds.
func (r *sweeper) settleTime() time.Duration {
	if r.Settle > 0 {
		return r.Settle
	}
	interval := time.Duration(r.Plan.Trailer.Summary.BirthInterval * float64(time.Second))
	return min(max(settleIntervals*interval, shortestSettle), longestSettle)
}

// settle waits until no planned owner has made a pod for long enough. A root that was made again stops the run at once,
// and so does, in the end, a producer that does not end: the sweep would not get ahead of it.
func (r *sweeper) settle(ctx context.Context) (err error) {
	if r.Plan.Header.KeepRoots || len(r.selection.Owners) == 0 {
		return nil // births are expected, or nobody is known to make any
	}
	need := r.settleTime()
	r.emit(run.StepBegan{Step: run.StepSettle})
	began, stoodStill := r.Now(), r.Pace.Status().PausedSeconds
	quietSince := began
	var trouble error // why the last look was none
	tick := time.NewTicker(settleTick)
	defer tick.Stop()
	var paused time.Time // since when a producer holds the run up
	defer func() {
		if !paused.IsZero() {
			err = errors.Join(err, r.note(journal.Frame{Resumed: &journal.Pause{Reason: producing, Seconds: r.Now().Sub(paused).Seconds()}}))
		}
	}()
	for {
		now := r.Now()
		seen := r.births.sight(now)
		if seen.last.After(quietSince) {
			quietSince = seen.last
		}
		quiet := now.Sub(quietSince)
		// Who pauses the run wants it to be there when it goes on.
		late := now.Sub(began).Seconds()-(r.Pace.Status().PausedSeconds-stoodStill) > r.SettleMax.Seconds()
		switch {
		case len(seen.returned) > 0:
			return &run.HealthError{
				Err:    fmt.Errorf("the root %s was made again; %s", seen.returned[0], r.podsSoFar()),
				Advice: "something above it, such as a CronJob, an operator or GitOps, wants it: stop that first, then plan and apply again",
			}
		case quiet >= need:
			if trouble = r.lookForBirths(ctx); ctx.Err() != nil {
				return ctx.Err()
			} else if trouble != nil {
				quietSince = now
				r.emit(run.Warning{Text: fmt.Sprintf("etcd does not say whether there were births: %v; waiting on", trouble)})
			} else if after := r.births.sight(now); after.count == seen.count && len(after.returned) == 0 {
				r.emit(run.StepEnded{Step: run.StepSettle, Words: fmt.Sprintf("%d births since the roots went, none for %s", seen.count, need)})
				return nil
			}
		case late && trouble != nil:
			return run.Unhealthy(trouble)
		case late && seen.count > 0:
			return &run.HealthError{
				Err:    fmt.Errorf("%d pods were made since the roots went, %.1f a second, by %s; %s", seen.count, seen.perSec, strings.Join(seen.owners, ", "), r.podsSoFar()),
				Advice: "a controller still works from its memory, or somebody makes the owner again: stop kube-controller-manager on every control-plane node, then plan and apply again",
			}
		}
		if seen.count > 0 && paused.IsZero() {
			paused = now
			if err := r.note(journal.Frame{Paused: &journal.Pause{Reason: producing}}); err != nil {
				return err
			}
		}
		r.emit(run.Settling{Quiet: quiet, Need: need, Births: seen.count, PerSec: seen.perSec, Owners: seen.owners, Waiting: seen.count > 0})
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		case <-r.births.changed:
		}
	}
}

const settleTick = 250 * time.Millisecond

const producing = "planned owners still make pods"
