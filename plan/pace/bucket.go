package pace

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// bucket has tokens, which come at a rate that can be changed at any time.
type bucket struct {
	limiter *rate.Limiter
	turn    chan struct{} // who has it waits for tokens, the others for their turn
	busy    atomic.Bool   // somebody had to wait
}

// newBucket returns a bucket that never runs out of tokens until it gets a rate. Then burst is the most that it holds.
func newBucket(burst int) *bucket {
	return &bucket{limiter: rate.NewLimiter(rate.Inf, burst), turn: make(chan struct{}, 1)}
}

// take waits for n tokens.
func (b *bucket) take(ctx context.Context, n int) error {
	if b.limiter.Limit() == rate.Inf {
		return nil
	}
	select {
	case b.turn <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-b.turn }()
	for n > 0 {
		part := min(n, b.limiter.Burst())
		taken, err := b.part(ctx, part)
		if err != nil {
			return err
		}
		if taken {
			n -= part
		}
	}
	return nil
}

// part waits for no more tokens than a full bucket has. It gives up, for another try, when that would take longer than until the
// next decision: a rate that is raised by it counts for who waits already.
func (b *bucket) part(ctx context.Context, n int) (taken bool, err error) {
	now := time.Now()
	reservation := b.limiter.ReserveN(now, n)
	delay := reservation.DelayFrom(now)
	if delay == 0 {
		return true, nil
	}
	b.busy.Store(true)
	taken = delay <= decideEvery
	if !taken {
		reservation.CancelAt(now) // nobody has reserved anything since: all of it comes back
	}
	timer := time.NewTimer(min(delay, decideEvery))
	defer timer.Stop()
	select {
	case <-timer.C:
		return taken, nil
	case <-ctx.Done():
		return taken, context.Cause(ctx)
	}
}
