package pace

import (
	"context"
	"math"
	"slices"
	"time"

	"golang.org/x/time/rate"
)

const decideEvery = 500 * time.Millisecond

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
			p.seen.giveUp()
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
	p.adopt(d)
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
	s := Sample{At: now, Reads: seen.reads, Writes: seen.writes, Busy: p.tokens.busy.Swap(false), Vitals: seen.vitals}
	scanned, copied := p.scan.busy.Swap(false), p.snapshot.busy.Swap(false)
	s.Bulk = scanned || copied
	if !seen.unanswered.IsZero() {
		s.Silent = now.Sub(seen.unanswered)
	}
	seen.reads, seen.writes, seen.vitals = nil, nil, nil
	if seen.written = append(seen.written, 0); len(seen.written) > rateSamples {
		seen.written = slices.Delete(seen.written, 0, 1)
	}
	if p.source == nil {
		p.adopt(p.controller.blind())
		return
	}
	p.adopt(p.controller.Decide(s))
}

// adopt makes a decision count. The mutex is held.
func (p *Pacer) adopt(d Decision) {
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
	p.tokens.setRate(rate.Limit(d.Rate))
	part := 1.0
	if full := max(p.controller.full(), p.controller.Ceiling()); d.Rate < full {
		part = d.Rate / full
	}
	p.slots.resize(int(math.Ceil(part * float64(p.cfg.Concurrency))))
	p.scan.setRate(bytesPerSecond(p.cfg.ScanRate, &d))
	p.snapshot.setRate(max(bytesPerSecond(p.cfg.SnapshotRate, &d), rate.Limit(min(p.cfg.SnapshotRate, leastSnapshotRate))))
	if before.State == Paused {
		p.pauses.end()
		close(p.open)
	}
}

func bytesPerSecond(full float64, d *Decision) rate.Limit {
	if full == 0 || math.IsInf(d.Rate, 0) {
		return rate.Inf
	}
	return rate.Limit(full * d.Part)
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
