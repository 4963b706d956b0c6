package apply

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"etcdsweep/decode"
	"etcdsweep/plan"
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

	mu       sync.Mutex
	count    int64
	last     time.Time // by this machine's clock
	owners   map[string]int64
	returned []string // keys of roots
	recent   []time.Time
}

const recentBirths = 256

// watchBirths opens the watches. They end with ctx; wait returns when they have.
func (r *run) watchBirths(ctx context.Context) *births {
	b := &births{changed: make(chan struct{}, 1), owners: map[string]int64{}}
	from := r.report.LastRevision + 1 // 1 when no root went: replaced by the newest revision
	pods := decode.Pods()
	for _, namespace := range r.refreshed.Namespaces {
		b.done.Go(func() {
			r.watch(ctx, pods.NamespacePrefix(r.Plan.Header.Prefix, namespace), from, func(record *decode.Record) {
				r.noteBirth(b, record)
			})
		})
	}
	for root, err := range r.Plan.Entries(plan.StageRoots) {
		if err != nil {
			break // read and checked before; the sweep will meet the error again
		}
		b.done.Go(func() {
			r.watch(ctx, root.Key, from, func(record *decode.Record) {
				if record.Key == root.Key && record.Born() {
					b.noteReturn(root.Key)
					r.emit(Warning{"the root " + root.Key + " was made again: something above it, or somebody, still wants it"})
				}
			})
		})
	}
	return b
}

func (b *births) wait() { b.done.Wait() }

// watch follows the puts under a prefix until ctx ends, and opens the watch again when it breaks.
func (r *run) watch(ctx context.Context, prefix string, from int64, each func(*decode.Record)) {
	for try := 0; ctx.Err() == nil; try++ {
		if from <= 1 {
			newest, err := r.Cluster.Revision(ctx, prefix)
			if err != nil {
				pause(ctx, backOff(min(try, maxTries)))
				continue
			}
			from = newest + 1
		}
		for record, err := range r.Cluster.WatchPuts(ctx, prefix, from) {
			if err != nil {
				r.emit(Warning{fmt.Sprintf("%v; births may be missed until it is open again", err)})
				from = 0
				pause(ctx, backOff(min(try, maxTries)))
				break
			}
			from = record.ModRevision + 1
			try = 0
			each(&record)
		}
	}
}

func (r *run) noteBirth(b *births, record *decode.Record) {
	if !record.Born() {
		return
	}
	object, err := decode.Decode(record.Value)
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

// ownerOf returns the planned owner whose UID the object's controller has, or nil.
func (r *run) ownerOf(o *decode.Object) *plan.Owner {
	ref := o.Controller()
	if ref == nil {
		return nil
	}
	for i := range r.refreshed.Owners {
		if slices.Contains(r.refreshed.Owners[i].UIDs, ref.UID) {
			return &r.refreshed.Owners[i]
		}
	}
	return nil
}

func (b *births) noteReturn(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Contains(b.returned, key) {
		b.returned = append(b.returned, key)
	}
}

// seen returns a copy of what was counted, and the rate over the last ten seconds.
func (b *births) seen(now time.Time) (count int64, last time.Time, perSec float64, owners, returned []string) {
	const window = 10 * time.Second
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, at := range b.recent {
		if now.Sub(at) < window {
			perSec += 1 / window.Seconds()
		}
	}
	for owner := range b.owners {
		owners = append(owners, owner)
	}
	slices.Sort(owners)
	return b.count, b.last, perSec, owners, slices.Clone(b.returned)
}

// settleTime returns how long to wait for a birth: three times what lay between two of them, within bounds.
func (r *run) settleTime() time.Duration {
	if r.Settle > 0 {
		return r.Settle
	}
	interval := time.Duration(r.Plan.Trailer.Summary.BirthInterval * float64(time.Second))
	return min(max(settleIntervals*interval, shortestSettle), longestSettle)
}

// settle waits until no planned owner has made a pod for long enough. A producer that does not end stops the run.
func (r *run) settle(ctx context.Context) error {
	if r.Plan.Header.KeepRoots || len(r.refreshed.Owners) == 0 {
		return nil // births are expected, or nobody is known to make any
	}
	need := r.settleTime()
	r.emit(StepBegan{Step: StepSettle})
	began := r.Now()
	tick := time.NewTicker(settleTick)
	defer tick.Stop()
	for {
		now := r.Now()
		count, last, perSec, owners, _ := r.births.seen(now)
		since := began
		if last.After(began) {
			since = last
		}
		quiet := now.Sub(since)
		if quiet >= need {
			r.emit(StepEnded{StepSettle, fmt.Sprintf("%d births since the roots went, none for %s", count, need.Round(time.Millisecond))})
			return nil
		}
		if now.Sub(began) > r.SettleMax {
			return &HealthError{
				Err:    fmt.Errorf("%d pods were made since the roots went, %.1f a second, by %s", count, perSec, strings.Join(owners, ", ")),
				Advice: "a controller still works from its memory, or somebody makes the owner again: stop kube-controller-manager on every control-plane node, then plan and apply again",
			}
		}
		r.emit(Settling{Quiet: quiet, Need: need, Births: count, PerSec: perSec, Owners: owners, Waiting: count > 0})
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		case <-r.births.changed:
		}
	}
}

const settleTick = 250 * time.Millisecond
