package pace

import (
	"context"
	"sync"
	"time"
)

const (
	lookEvery = 500 * time.Millisecond

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

// giveUp counts the time for which no read was answered when the run ends.
func (s *samples) giveUp() {
	if !s.unanswered.IsZero() && s.phase == &s.during && time.Since(s.unanswered) >= readTimeout {
		s.during.addEvery(time.Since(s.unanswered), readEvery)
	}
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
