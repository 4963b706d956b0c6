package main

import (
	"time"

	"etcdsweep/plan/control"
)

const (
	rateWindow = 5 * time.Second // that the rate is taken over
	markEvery  = 250 * time.Millisecond
)

// progress tells how fast a step goes, from what was done over the last seconds.
type progress struct {
	unit        control.Unit
	total, done int64 // total is 0 if it is not known
	marks       []mark
}

type mark struct {
	at   time.Time
	done int64
}

func newProgress(now time.Time, total int64, unit control.Unit) *progress {
	return &progress{unit: unit, total: total, marks: []mark{{at: now}}}
}

func (p *progress) at(now time.Time, done int64) {
	p.done = done
	if now.Sub(p.marks[len(p.marks)-1].at) >= markEvery {
		p.marks = append(p.marks, mark{now, done})
	}
	for len(p.marks) > 1 && now.Sub(p.marks[1].at) > rateWindow {
		p.marks = p.marks[1:]
	}
}

// fill tells a status how far the step is, and how fast it goes.
func (p *progress) fill(s *control.Status, now time.Time) {
	s.Unit, s.Done, s.Total = p.unit, p.done, p.total
	first := p.marks[0]
	if elapsed := now.Sub(first.at).Seconds(); elapsed > 0 {
		s.PerSecond = float64(p.done-first.done) / elapsed
	}
	if p.total > p.done && s.PerSecond > 0 {
		s.ETASeconds = float64(p.total-p.done) / s.PerSecond
	}
}
