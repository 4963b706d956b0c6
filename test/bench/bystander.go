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
	gap           time.Duration // the longest that it saw no event
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
func (s *server) beside(ctx context.Context, something func(context.Context) error) (f felt, err error) {
	etcd, err := s.bare(ctx)
	if err != nil {
		return felt{}, err
	}
	defer etcd.Close()
	b := &bystander{etcd: etcd}
	living, end := context.WithCancel(ctx)
	var life sync.WaitGroup
	life.Go(func() { b.watch(living) })
	life.Go(func() { b.write(living, ctx) })
	err = something(ctx)
	end()
	life.Wait()
	return b.felt(), errors.Join(append(b.errs, err)...)
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

func (b *bystander) watch(living context.Context) {
	for response := range b.etcd.Watch(living, bystanderPrefix, clientv3.WithPrefix()) {
		if len(response.Events) > 0 {
			b.note(func() { b.events = append(b.events, time.Now()) })
		}
	}
}

func (b *bystander) note(do func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	do()
}

func (b *bystander) felt() felt {
	var f felt
	slices.Sort(b.writes)
	if n := len(b.writes); n > 0 {
		f.p50, f.p99, f.max = b.writes[n/2], b.writes[n*99/100], b.writes[n-1]
	}
	for i := 1; i < len(b.events); i++ {
		f.gap = max(f.gap, b.events[i].Sub(b.events[i-1]))
	}
	return f
}
