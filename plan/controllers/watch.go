package controllers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"etcdsweep/decode"
)

// DefaultInterval is how often the records are read: twice as often as a living leader writes. It is two reads of a key.
const DefaultInterval = time.Second

// Source reads one key, linearizably: a stale read could show a record standing still that moves. It returns nil for a key
// that is absent. *etcdops.Client is one.
type Source interface {
	Get(ctx context.Context, key string) (*decode.Record, error)
}

// Keys returns where kube-controller-manager's records are below a registry prefix such as /registry: the Lease, and the
// Endpoints with the annotation.
func Keys(prefix string) (lease, endpoints string) {
	return prefix + "/leases/kube-system/kube-controller-manager", prefix + "/services/endpoints/kube-system/kube-controller-manager"
}

// Watch watches kube-controller-manager until its context ends. It is safe for concurrent use.
type Watch struct {
	source Source
	keys   [2]string
	now    func() time.Time
	ended  chan struct{} // closed when the goroutine ends

	mu    sync.Mutex
	state state
	round chan struct{} // closed and replaced after each round
}

// Start reads kube-controller-manager's records below prefix at once, and then every interval, until ctx ends. It returns before
// the first read. Who ends ctx calls Wait.
func Start(ctx context.Context, source Source, prefix string, interval time.Duration, now func() time.Time) *Watch {
	w := &Watch{source: source, now: now, ended: make(chan struct{}), round: make(chan struct{})}
	w.keys[0], w.keys[1] = Keys(prefix)
	go w.run(ctx, interval)
	return w
}

// Wait returns when the watch has ended, after its context has.
func (w *Watch) Wait() { <-w.ended }

// Sight returns what was seen so far.
func (w *Watch) Sight() Sight {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state.seen(DefaultStill)
}

// Await returns as soon as it is known whether kube-controller-manager is alive: as soon as a record has moved since Await
// began (Moving), or it has stood still or been absent for the lease duration, which counts from before Await began. The first
// takes about two renewals, four seconds. A record that was seen to move must stand still for longer: see Sight.Needs.
//
// Reads that fail prolong it, but those that are refused for good (NotDone, and not Temporary) end it with their error. When
// ctx or the watch ends first, the error says so, and what the last read said.
func (w *Watch) Await(ctx context.Context, lease time.Duration) (Sight, error) {
	return w.await(ctx, lease, nil, func(s *state, begun int64) bool { return s.movedSince(begun) || s.stopped(lease) })
}

// AwaitStill returns once no record has moved for what the lease duration needs (Sight.Needs): while the operator stops the
// manager, on one node after the other. What it sees meanwhile it tells to observe, which may be nil, after each round. Errors
// are those of Await.
func (w *Watch) AwaitStill(ctx context.Context, lease time.Duration, observe func(Sight)) (Sight, error) {
	return w.await(ctx, lease, observe, func(s *state, _ int64) bool { return s.stopped(lease) })
}

// AwaitMove returns once a record has moved since AwaitMove began: after the operator has started the manager again. Errors
// are those of Await.
func (w *Watch) AwaitMove(ctx context.Context, observe func(Sight)) (Sight, error) {
	return w.await(ctx, DefaultStill, observe, (*state).movedSince)
}

// movedSince reports whether a record has moved between two rounds that both began after that many.
func (s *state) movedSince(begun int64) bool { return s.sight.Moves > 0 && s.baseline > begun }

func (s *state) stopped(lease time.Duration) bool {
	return s.sight.Reads > 0 && s.sight.Err == nil && s.sight.Still >= s.sight.Needs(lease)
}

// await waits until the state satisfies, looking at it after each round.
func (w *Watch) await(ctx context.Context, lease time.Duration, observe func(Sight), satisfied func(s *state, begun int64) bool) (Sight, error) {
	w.mu.Lock()
	begun := w.state.begun
	w.mu.Unlock()
	for {
		w.mu.Lock()
		sight, done, round := w.state.seen(lease), satisfied(&w.state, begun), w.round
		w.mu.Unlock()
		switch {
		case done:
			return sight, nil
		case forGood(sight.Err):
			return sight, fmt.Errorf("watch kube-controller-manager: %w", sight.Err)
		case observe != nil && sight.Reads > 0:
			observe(sight)
		}
		select {
		case <-round:
		case <-ctx.Done():
			return sight, notKnown(context.Cause(ctx), sight.Err)
		case <-w.ended:
			return sight, notKnown(errors.New("the watch has ended"), sight.Err)
		}
	}
}

func notKnown(why, read error) error {
	if read != nil {
		return fmt.Errorf("watch kube-controller-manager: %w; the last read: %w", why, read)
	}
	return fmt.Errorf("watch kube-controller-manager: %w", why)
}

// forGood reports whether etcd refuses to answer, now and later: a permission is missing.
func forGood(err error) bool {
	var refused interface {
		NotDone() bool
		Temporary() bool
	}
	return errors.As(err, &refused) && refused.NotDone() && !refused.Temporary()
}

// run is the watch's goroutine.
func (w *Watch) run(ctx context.Context, interval time.Duration) {
	defer close(w.ended)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		w.look(ctx)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// look is one round.
func (w *Watch) look(ctx context.Context) {
	w.mu.Lock()
	w.state.begun++
	number := w.state.begun
	w.mu.Unlock()
	began := w.now()
	records, err := w.read(ctx)
	ended := w.now()
	if ctx.Err() != nil {
		return // a read that was broken off says nothing
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.state.failed(err)
	} else {
		w.state.note(number, w.keys, records, began, ended)
	}
	close(w.round)
	w.round = make(chan struct{})
}

func (w *Watch) read(ctx context.Context) (records [2]seen, err error) {
	for i, key := range w.keys {
		record, err := w.source.Get(ctx, key)
		if err != nil {
			return records, err
		}
		records[i] = look(record)
	}
	return records, nil
}
