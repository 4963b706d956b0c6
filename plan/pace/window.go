package pace

import (
	"slices"
	"time"
)

const (
	windowLong = 5 * time.Second // what is older says nothing of now
	enough     = 8               // latencies that a judgement rests on
	most       = 100             // of one sample that are kept: a busy run has thousands a second
)

// window has the latencies of the last few seconds.
type window struct {
	at        []time.Time // of the sample that brought each
	latencies []time.Duration
}

func (w *window) add(at time.Time, latencies []time.Duration) {
	for i := 0; i < len(latencies); i += (len(latencies)-1)/most + 1 {
		w.at, w.latencies = append(w.at, at), append(w.latencies, latencies[i])
	}
	old := 0
	for old < len(w.at) && at.Sub(w.at[old]) > windowLong {
		old++
	}
	w.at, w.latencies = slices.Delete(w.at, 0, old), slices.Delete(w.latencies, 0, old)
}

func (w *window) clear() { w.at, w.latencies = w.at[:0], w.latencies[:0] }

// p95 returns the 95th percentile, and whether there is enough to tell. One latency may always be above it: a single slow
// answer is chance.
func (w *window) p95() (time.Duration, bool) { return p95(w.latencies), len(w.latencies) >= enough }

func p95(latencies []time.Duration) time.Duration {
	n := len(latencies)
	if n == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(latencies))
	return sorted[max(min((n*95+99)/100, n-1)-1, 0)]
}

// gauge compares a latency with what it was before.
type gauge struct {
	window window
	first  time.Duration // the baseline; 0 until it is known
	now    time.Duration // the baseline that counts: first, or what was not the run's doing
}

func (g *gauge) base(first time.Duration) { g.first, g.now = first, first }

// settle takes a latency that is not the run's doing for the baseline, up to SickAbove.
func (g *gauge) settle() {
	if p95, known := g.window.p95(); known {
		g.now = max(g.now, min(p95, SickAbove))
	}
}

// relax lets such a baseline fall with the latency, within some seconds: one calm moment of a cluster that is not calm says
// little.
func (g *gauge) relax() {
	const part = 8
	if p95, known := g.window.p95(); known && g.now > g.first {
		g.now -= max(g.now-max(g.first, p95), 0) / part
	}
}
