package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	bystanderPrefix = "/bystander/"
	bystanderKeys   = 100
	writeEvery      = 10 * time.Millisecond
)

// felt is what a bystander has felt.
type felt struct {
	p50, p99, max time.Duration // of its writes, each from when it was due
	gap           time.Duration // the longest that it saw no event, from the beginning to the end
}

// bystander writes a hundred small keys a second, each when it is due whatever became of those before it, and watches them.
type bystander struct {
	etcd *clientv3.Client

	mu     sync.Mutex
	writes []time.Duration
	events []time.Time
	errs   []error
}

// beside lets a bystander live beside something, until that has ended, and returns what it felt.
func (s *server) beside(ctx context.Context, something func(context.Context) error) (felt, error) {
	etcd, err := s.bare(ctx)
	if err != nil {
		return felt{}, err
	}
	defer etcd.Close()
	return (&bystander{etcd: etcd}).beside(ctx, func() error { return something(ctx) })
}

// beside lives beside something.
func (b *bystander) beside(ctx context.Context, something func() error) (felt, error) {
	living, end := context.WithCancel(ctx)
	defer end()
	events, err := b.open(living)
	if err != nil {
		return felt{}, err
	}
	var life sync.WaitGroup
	began := time.Now()
	life.Go(func() { b.watch(living, events) })
	life.Go(func() { b.write(living, ctx) })
	err = something()
	ended := time.Now()
	end()
	life.Wait()
	return b.felt(began, ended), errors.Join(append(b.errs, err)...)
}

// write writes until living ends; what it has begun it finishes, or ctx ends that.
func (b *bystander) write(living, ctx context.Context) {
	var puts sync.WaitGroup
	defer puts.Wait()
	tick := time.NewTicker(writeEvery)
	defer tick.Stop()
	for due, n := time.Now(), 0; ; n++ {
		key := fmt.Sprintf("%s%02d", bystanderPrefix, n%bystanderKeys)
		at := due
		puts.Go(func() {
			_, err := b.etcd.Put(ctx, key, "small")
			b.note(func() {
				b.writes = append(b.writes, time.Since(at))
				if err != nil {
					b.errs = append(b.errs, fmt.Errorf("bystander: %w", err))
				}
			})
		})
		due = due.Add(writeEvery)
		select {
		case <-time.After(time.Until(due)):
		case <-living.Done():
			return
		}
	}
}

var errWatch = errors.New("bystander: the watch ended")

// open opens the watch: how long that takes is not measured.
func (b *bystander) open(living context.Context) (clientv3.WatchChan, error) {
	events := b.etcd.Watch(living, bystanderPrefix, clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	if created, ok := <-events; !ok || created.Err() != nil {
		return nil, errors.Join(errWatch, created.Err())
	}
	return events, nil
}

// watch notes when events come, until living ends. A watch that ends before has seen nothing from then on: no figure tells that.
func (b *bystander) watch(living context.Context, events clientv3.WatchChan) {
	var err error
	for response := range events {
		err = response.Err()
		if len(response.Events) > 0 {
			b.note(func() { b.events = append(b.events, time.Now()) })
		}
	}
	if living.Err() == nil {
		b.note(func() { b.errs = append(b.errs, errors.Join(errWatch, err)) })
	}
}

func (b *bystander) note(do func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	do()
}

// felt sums up what was felt from the beginning to the end, which are as good as events: what came late, or not any more, is a gap.
func (b *bystander) felt(began, ended time.Time) felt {
	var f felt
	slices.Sort(b.writes)
	if n := len(b.writes); n > 0 {
		f.p50, f.p99, f.max = b.writes[n/2], b.writes[n*99/100], b.writes[n-1]
	}
	before := began
	for _, at := range append(b.events, ended) {
		f.gap = max(f.gap, at.Sub(before))
		before = at
	}
	return f
}
