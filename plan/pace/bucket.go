package pace

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// together is what writes are gathered for: those of 20 ms go at once. What reaches etcd at once shares a round of raft, with its
// messages and its syncs. At 500 writes a second on three members this costs etcd two thirds of the CPU, and halves what others
// feel of it.
const together = 20 * time.Millisecond

// bucket has tokens, which come at a rate that can be changed at any time.
type bucket struct {
	limiter *rate.Limiter
	turn    chan struct{} // who has it waits for tokens, the others for their turn
	busy    atomic.Bool   // somebody had to wait
	least   int           // that it holds at any rate
	gathers time.Duration // who waits waits for a multiple of it; 0 for no longer than he must
}

// newBucket returns a bucket that never runs out of tokens until it gets a rate. Then it holds so many at least, or what comes
// while they are gathered.
func newBucket(least int, gathers time.Duration) *bucket {
	return &bucket{limiter: rate.NewLimiter(rate.Inf, least), turn: make(chan struct{}, 1), least: least, gathers: gathers}
}

func (b *bucket) setRate(perSecond rate.Limit) {
	b.limiter.SetLimit(perSecond)
	if perSecond != rate.Inf {
		b.limiter.SetBurst(max(b.least, int(math.Ceil(float64(perSecond)*b.gathers.Seconds()))))
	}
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
	timer := time.NewTimer(min(b.gathered(now, delay), decideEvery))
	defer timer.Stop()
	select {
	case <-timer.C:
		return taken, nil
	case <-ctx.Done():
		return taken, context.Cause(ctx)
	}
}

// gathered is a delay, up to when those who wait go together.
func (b *bucket) gathered(now time.Time, delay time.Duration) time.Duration {
	if b.gathers == 0 {
		return delay
	}
	at := now.Add(delay)
	if grid := at.Truncate(b.gathers); grid.Before(at) {
		at = grid.Add(b.gathers)
	}
	return at.Sub(now)
}
