package pace

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	freeBytes = 32 << 20 // that are read for nothing: many clusters hold less
	readBurst = 4 << 20  // the most that is taken from a bucket of bytes at once
)

// Hooks is who is told of what the pace decides. They are called by one goroutine, and may be nil.
type Hooks struct {
	Observe func(Status)          // with each decision, and whenever somebody has said something
	Told    func(word, by string) // each word that somebody has given
	Paused  func(reason string)
	Resumed func(reasons string, lasted time.Duration)
}

// told is a word that somebody has given.
type told struct{ word, by string }

// EndedError is why nothing may be begun any more.
type EndedError struct {
	Reason string
	By     string // whose word it was; "" if it was the cluster's state
}

func (e *EndedError) Error() string {
	if e.By != "" {
		return e.Reason + " by " + e.By
	}
	return e.Reason
}

// Pacer holds up what a run does. It is safe for concurrent use.
//
// It does nothing until Start, and lets everything pass until Measure, which is called once nothing that burdens the cluster
// is under way.
type Pacer struct {
	cfg    Config
	source Source // nil: nothing is measured

	tokens         *bucket      // of writes
	scan, snapshot *bucket      // of bytes
	free           atomic.Int64 // bytes left that are read for nothing
	slots          *slots

	measure sync.Once
	begin   chan struct{} // closed when Measure is called
	looked  chan struct{} // closed after the first look at the members
	began   chan struct{} // closed when the baseline is known
	wake    chan struct{} // somebody has said something

	mu         sync.Mutex
	controller *Controller
	decision   Decision
	open       chan struct{} // closed unless the run is paused
	seen       samples
	pauses     pauses
	words      []told                  // that the hooks were not told of yet
	since      time.Time               // of the state
	decided    time.Time               // when a sample was taken last
	cancel     context.CancelCauseFunc // ends the run
}

// New returns a pacer. Without a source nothing is measured: the rate is the highest, and what an operator says counts.
func New(cfg Config, source Source) *Pacer {
	p := &Pacer{
		cfg:    cfg,
		source: source,

		tokens:   newBucket(1, together),
		scan:     newBucket(readBurst, 0),
		snapshot: newBucket(readBurst, 0),
		slots:    newSlots(max(cfg.Concurrency, 1)),

		begin:  make(chan struct{}),
		looked: make(chan struct{}),
		began:  make(chan struct{}),
		wake:   make(chan struct{}, 1),

		controller: NewController(cfg),
		open:       make(chan struct{}),
		since:      time.Now(),
		decided:    time.Now(),
		cancel:     func(error) {},
	}
	close(p.open)
	if source == nil {
		close(p.looked)
	}
	p.free.Store(freeBytes)
	p.seen.phase = &p.seen.before
	p.decision = p.controller.Decision()
	return p
}

// Start begins the work of the pacer. The context that it returns ends with ctx, and when the run is ended, with an
// *EndedError for its cause. Stop ends the pacer, and returns when its goroutines have ended; it is to be called.
func (p *Pacer) Start(ctx context.Context, hooks Hooks) (running context.Context, stop func()) {
	running, cancel := context.WithCancelCause(ctx)
	p.mu.Lock()
	p.cancel = cancel
	p.mu.Unlock()
	var workers sync.WaitGroup
	workers.Go(func() { p.work(running, hooks) })
	if p.source != nil {
		workers.Go(func() { p.read(running) })
		workers.Go(func() { p.look(running) })
	}
	return running, func() {
		cancel(context.Canceled)
		workers.Wait()
	}
}

// Measure takes the baseline, and begins. When it is called again it waits for that only.
func (p *Pacer) Measure(ctx context.Context) error {
	p.measure.Do(func() { close(p.begin) })
	return wait(ctx, p.began)
}

// Wait holds up one write until it may be made. Done is to be called when it was answered, or given up. The error is the
// cause of ctx's end, or an *EndedError.
func (p *Pacer) Wait(ctx context.Context) (done func(answered bool), err error) {
	if !p.slots.try() {
		p.tokens.busy.Store(true)
		if err := p.slots.take(ctx); err != nil {
			return nil, err
		}
	}
	if err := p.admit(ctx, p.tokens, 1); err != nil {
		p.slots.give()
		return nil, err
	}
	began := time.Now()
	return func(answered bool) {
		p.slots.give()
		if answered {
			p.wrote(time.Since(began))
		}
	}, nil
}

// Reads holds up the next bytes of a scan until they may be read. The first ones are for nothing: a run that only reads measures
// its baseline behind them.
func (p *Pacer) Reads(ctx context.Context, bytes int) error {
	if p.free.Add(-int64(bytes)) >= 0 {
		return p.gate(ctx)
	}
	return p.readMore(ctx, p.scan, bytes)
}

// Snapshot holds up the next bytes of a snapshot until they may be read. For a run that only reads the first ones are for
// nothing, too.
func (p *Pacer) Snapshot(ctx context.Context, bytes int) error {
	if p.cfg.ReadsOnly && p.free.Add(-int64(bytes)) >= 0 {
		return nil
	}
	return p.readMore(ctx, p.snapshot, bytes)
}

func (p *Pacer) readMore(ctx context.Context, bucket *bucket, bytes int) error {
	if p.cfg.ReadsOnly {
		if err := p.Measure(ctx); err != nil {
			return err
		}
	}
	return p.admit(ctx, bucket, bytes)
}

// admit waits until the run does not stand still, and for n tokens. A pause overtakes them.
func (p *Pacer) admit(ctx context.Context, bucket *bucket, n int) error {
	for {
		if err := p.gate(ctx); err != nil {
			return err
		}
		if err := bucket.take(ctx, n); err != nil {
			return err
		}
		if !p.stands() {
			return nil
		}
	}
}

// gate waits until the run does not stand still.
func (p *Pacer) gate(ctx context.Context) error {
	p.mu.Lock()
	open := p.open
	p.mu.Unlock()
	if err := wait(ctx, open); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if d := &p.decision; d.State == Ended {
		return &EndedError{Reason: d.Reason, By: d.By}
	}
	return nil
}

func (p *Pacer) stands() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.decision.State == Paused || p.decision.State == Ended
}

// Pause lets the run stand still until Resume, by the word of somebody.
func (p *Pacer) Pause(by string) {
	_ = p.command("pause", by, func(c *Controller) (Decision, error) { return c.Pause(by), nil })
}

// Resume ends a pause by hand, and the wait for a member that was lost.
func (p *Pacer) Resume(by string) {
	_ = p.command("resume", by, func(c *Controller) (Decision, error) {
		p.pauses.also("resumed by " + by)
		return c.Resume(), nil
	})
}

// SetRate changes the most writes a second. It is refused unless it is more than 0.
func (p *Pacer) SetRate(by string, perSecond float64) error {
	return p.command(fmt.Sprintf("rate %g", perSecond), by, func(c *Controller) (Decision, error) { return c.SetRate(by, perSecond) })
}

// Abort ends the run: nothing is begun any more. It can be gone on with by another.
func (p *Pacer) Abort(by string) {
	_ = p.command("abort", by, func(c *Controller) (Decision, error) { return c.End(by, "aborted"), nil })
}

func (p *Pacer) command(word, by string, say func(*Controller) (Decision, error)) error {
	p.mu.Lock()
	d, err := say(p.controller)
	p.adopt(d)
	if err == nil {
		p.words = append(p.words, told{word, by})
	}
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
	return err
}

// wait waits for a channel to be closed.
func wait(ctx context.Context, closed <-chan struct{}) error {
	select {
	case <-closed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Within returns how many writes go in so many seconds by the rate that is allowed now, within bounds.
func (p *Pacer) Within(seconds float64, least, most int) int {
	return int(min(max(seconds*float64(p.tokens.limiter.Limit()), float64(least)), float64(most)))
}
