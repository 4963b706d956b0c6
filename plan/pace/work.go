package pace

import (
	"context"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	decideEvery = 500 * time.Millisecond
	lookEvery   = 500 * time.Millisecond

	readEvery         = 100 * time.Millisecond
	readOftenEvery    = 50 * time.Millisecond // while the baseline is taken, and at the end
	readTimeout       = 2 * time.Second
	rateSamples       = 6 // that the rate is taken over
	measureAfterwards = time.Second
)

// samples gathers what is measured between two decisions, and what is told at the end. It is guarded by the pacer's mutex.
type samples struct {
	reads, writes []time.Duration
	unanswered    time.Time // when the first read was begun that has no answer yet; zero if there is none
	vitals        *Vitals

	written []int // by sample, the oldest first; the last is under way

	before, during, after, own record
	phase                      *record // that reads belong to
}

// pauses keeps what is to be told of pauses. It is guarded by the pacer's mutex.
type pauses struct {
	began   time.Time // zero if the run does not stand still
	reasons []string
	total   time.Duration // of those that have ended
	news    []transition
}

// transition is a pause that has begun or ended.
type transition struct {
	reason string
	ended  bool
	lasted time.Duration
}

// work decides until ctx ends, and tells what was decided.
func (p *Pacer) work(ctx context.Context, hooks Hooks) {
	ticker := time.NewTicker(decideEvery)
	defer ticker.Stop()
	begin := p.begin
	var measured <-chan time.Time
	var looked <-chan struct{}
	for {
		select {
		case <-ctx.Done():
			p.mu.Lock()
			p.pauses.end()
			p.mu.Unlock()
			p.tell(hooks)
			return
		case <-begin:
			begin = nil
			measured = time.After(p.measuringTime())
		case <-measured:
			looked = p.looked // without one nobody knows who is there
		case <-looked:
			looked = nil
			p.decide()
			p.start()
		case <-ticker.C:
			p.decide()
		case <-p.wake:
		}
		p.tell(hooks)
	}
}

func (p *Pacer) measuringTime() time.Duration {
	if p.source == nil || p.cfg.Rate == 0 {
		return 0
	}
	return p.cfg.Baseline
}

// start ends the measuring of the baseline.
func (p *Pacer) start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.controller.Begin(time.Now())
	if p.source == nil {
		d = p.controller.blind()
	}
	p.settle(d)
	p.seen.phase = &p.seen.during
	close(p.began)
}

// decide takes what was measured, and lets the controller decide.
func (p *Pacer) decide() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	seen := &p.seen
	if now.Sub(p.decided) > jumpAbove && !seen.unanswered.IsZero() {
		seen.unanswered = now // this process stood still, not etcd
	}
	p.decided = now
	s := Sample{At: now, Reads: seen.reads, Writes: seen.writes, Busy: p.busy.Swap(false), Vitals: seen.vitals}
	if !seen.unanswered.IsZero() {
		s.Silent = now.Sub(seen.unanswered)
	}
	seen.reads, seen.writes, seen.vitals = nil, nil, nil
	if seen.written = append(seen.written, 0); len(seen.written) > rateSamples {
		seen.written = slices.Delete(seen.written, 0, 1)
	}
	if p.source == nil {
		p.settle(p.controller.blind())
		return
	}
	p.settle(p.controller.Decide(s))
}

// settle makes a decision count. The mutex is held.
func (p *Pacer) settle(d Decision) {
	now := time.Now()
	before := p.decision
	p.decision = d
	if d.State != before.State {
		p.since = now
	}
	switch d.State {
	case Measuring:
		return
	case Paused:
		if before.State != Paused {
			p.open = make(chan struct{})
		}
		p.pauses.begin(now, d.Reason)
		return
	case Ended:
		if before.State == Paused {
			close(p.open)
		}
		p.cancel(&EndedError{Reason: d.Reason, By: d.By})
		return
	}
	p.tokens.SetLimit(rate.Limit(d.Rate))
	part := 1.0
	if p.cfg.Rate > 0 {
		part = min(d.Rate/p.cfg.Rate, 1)
	}
	p.slots.resize(int(math.Ceil(part * float64(p.cfg.Concurrency))))
	for _, b := range []struct {
		bucket *rate.Limiter
		full   float64
	}{{p.scan, p.cfg.ScanRate}, {p.snapshot, p.cfg.SnapshotRate}} {
		limit := rate.Limit(b.full * max(part, 1.0/leastPart))
		if b.full == 0 || p.cfg.Rate == 0 {
			limit = rate.Inf
		}
		b.bucket.SetLimit(limit)
	}
	if before.State == Paused {
		p.pauses.end()
		close(p.open)
	}
}

func (s *pauses) begin(now time.Time, reason string) {
	if s.began.IsZero() {
		s.began, s.reasons = now, nil
		s.news = append(s.news, transition{reason: reason})
	}
	s.also(reason)
}

// also adds a reason to the pause that is under way.
func (s *pauses) also(reason string) {
	if !s.began.IsZero() && !slices.Contains(s.reasons, reason) {
		s.reasons = append(s.reasons, reason)
	}
}

func (s *pauses) end() {
	if s.began.IsZero() {
		return
	}
	lasted := time.Since(s.began)
	s.began, s.total = time.Time{}, s.total+lasted
	s.news = append(s.news, transition{reason: strings.Join(s.reasons, ", then "), ended: true, lasted: lasted})
}

// tell tells the hooks what is new.
func (p *Pacer) tell(hooks Hooks) {
	p.mu.Lock()
	news, words := p.pauses.news, p.words
	p.pauses.news, p.words = nil, nil
	p.mu.Unlock()
	for _, t := range words {
		if hooks.Told != nil {
			hooks.Told(t.word, t.by)
		}
	}
	for _, t := range news {
		switch {
		case t.ended && hooks.Resumed != nil:
			hooks.Resumed(t.reason, t.lasted)
		case !t.ended && hooks.Paused != nil:
			hooks.Paused(t.reason)
		}
	}
	if hooks.Observe != nil {
		hooks.Observe(p.Status())
	}
}

// read measures how long a linearizable read takes, again and again.
func (p *Pacer) read(ctx context.Context) {
	if wait(ctx, p.begin) != nil {
		return
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		began := time.Now()
		p.mu.Lock()
		if p.seen.unanswered.IsZero() {
			p.seen.unanswered = began
		}
		p.mu.Unlock()
		reading, cancel := context.WithTimeout(ctx, readTimeout)
		err := p.source.Read(reading)
		cancel()
		if ctx.Err() != nil {
			return
		}
		timer.Reset(max(p.hasRead(began, err)-time.Since(began), 0))
	}
}

// hasRead takes note of a read, and returns how long after its beginning the next one begins.
func (p *Pacer) hasRead(began time.Time, err error) (next time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next = readEvery
	if p.seen.phase != &p.seen.during {
		next = readOftenEvery
	}
	if took := time.Since(began); err == nil {
		p.seen.reads = append(p.seen.reads, took)
		p.seen.phase.addEvery(time.Since(p.seen.unanswered), next)
		p.seen.unanswered = time.Time{}
	} else if took >= readTimeout {
		p.seen.reads = append(p.seen.reads, took) // given up; one that was refused at once tells nothing
	}
	return next
}

// look looks at the members, again and again.
func (p *Pacer) look(ctx context.Context) {
	if wait(ctx, p.begin) != nil {
		return
	}
	var once sync.Once
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		vitals := p.source.Vitals(ctx)
		if ctx.Err() != nil {
			return
		}
		p.mu.Lock()
		p.seen.vitals = &vitals
		p.mu.Unlock()
		once.Do(func() { close(p.looked) })
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// wrote takes note of a write that was answered.
func (p *Pacer) wrote(took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen.own.add(took)
	p.seen.writes = append(p.seen.writes, took)
	if n := len(p.seen.written); n > 0 {
		p.seen.written[n-1]++
	}
}

// After measures for a moment what the cluster is like when the run does nothing any more.
func (p *Pacer) After(ctx context.Context) {
	p.mu.Lock()
	measuring := p.measuringTime() > 0 && p.seen.phase == &p.seen.during
	if measuring {
		p.seen.phase = &p.seen.after
	}
	p.mu.Unlock()
	if !measuring {
		return
	}
	timer := time.NewTimer(min(measureAfterwards, p.cfg.Baseline))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Latencies returns what etcd has shown up to now.
func (p *Pacer) Latencies() Latencies {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.seen
	return Latencies{Before: s.before.quantiles(), During: s.during.quantiles(), After: s.after.quantiles(), Writes: s.own.quantiles()}
}

// Status returns the pace as it is now.
func (p *Pacer) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := &p.decision
	now, baseline := p.controller.Latency()
	s := Status{
		State: d.State, Reason: d.Reason, By: d.By, Since: p.since.UTC(),
		Ceiling: p.controller.Ceiling(), P95: Latency(now), Baseline: Latency(baseline),
		Rate: p.seen.rate(),
	}
	s.Unpaced = s.Ceiling == 0
	if !math.IsInf(d.Rate, 0) {
		s.Allowed = d.Rate
	}
	paused := p.pauses.total
	if !p.pauses.began.IsZero() {
		paused += time.Since(p.pauses.began)
	}
	s.PausedSeconds = paused.Seconds()
	return s
}

// rate returns how many writes a second were made in the last few samples.
func (s *samples) rate() float64 {
	if len(s.written) < 2 {
		return 0
	}
	sum := 0
	whole := s.written[:len(s.written)-1]
	for _, n := range whole {
		sum += n
	}
	return float64(sum) / (float64(len(whole)) * decideEvery.Seconds())
}

// Within returns how many writes go in so many seconds by the rate that is allowed now, within bounds.
func (p *Pacer) Within(seconds float64, least, most int) int {
	return int(min(max(seconds*float64(p.tokens.Limit()), float64(least)), float64(most)))
}
