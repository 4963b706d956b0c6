package pace

import (
	"context"
	"sync"
)

// slots bounds how many writes are in flight. How many there may be can be changed at any time.
type slots struct {
	free chan struct{}

	mu   sync.Mutex
	want int // that there should be
	have int // that there are, taken or free
}

func newSlots(most int) *slots {
	s := &slots{free: make(chan struct{}, most)}
	s.resize(most)
	return s
}

// resize changes the number of slots. Those that are taken go when they are given back.
func (s *slots) resize(want int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.want = min(max(want, 1), cap(s.free))
	for ; s.have < s.want; s.have++ {
		s.free <- struct{}{} // has room: there are never more than its capacity
	}
	for s.have > s.want && s.try() {
		s.have--
	}
}

// try takes a slot if one is free.
func (s *slots) try() bool {
	select {
	case <-s.free:
		return true
	default:
		return false
	}
}

// take takes a slot, and waits for one if it has to.
func (s *slots) take(ctx context.Context) error {
	select {
	case <-s.free:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// give gives a slot back.
func (s *slots) give() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.have > s.want {
		s.have--
		return
	}
	s.free <- struct{}{}
}
