package pace

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
)

// State says what the pace is doing.
type State string

// The states of a pace.
const (
	Measuring State = "measuring" // the baseline is taken, before anything is done
	Running   State = "running"   // at the ceiling, or on the way up
	Holding   State = "holding"   // something keeps it from rising, or has slowed it down; the reason says what
	Paused    State = "paused"    // nothing is begun
	Ended     State = "ended"     // nothing will be begun any more
)

// Status is the pace at one moment, for people to see.
type Status struct {
	State  State   `json:"state"`
	Reason string  `json:"reason,omitempty"` // why it is below its ceiling, paused or ended
	By     string  `json:"by,omitempty"`     // who paused, ended or limited it; "" if nobody did
	Rate   float64 `json:"rate"`             // writes a second over the last few seconds

	Unpaced bool    `json:"unpaced,omitempty"` // then Allowed and Ceiling are 0
	Allowed float64 `json:"allowed"`           // writes a second that may be made now; 0 while paused
	Ceiling float64 `json:"ceiling"`           // the most that will be allowed

	P95      Latency `json:"p95_ms"`          // of linearizable reads, over the last few seconds; 0 if none was answered
	Baseline Latency `json:"baseline_p95_ms"` // what P95 is compared with; 0 until it is measured

	Since         time.Time `json:"since"`                    // when this state began
	PausedSeconds float64   `json:"paused_seconds,omitempty"` // in all, this pause included
}

// Latency is a duration that is written in milliseconds: 14 ms, 1.4 ms, and as a number in JSON.
type Latency time.Duration

func (l Latency) milliseconds() float64 { return float64(l) / float64(time.Millisecond) }

// String returns milliseconds as people read them, with two digits at least.
func (l Latency) String() string {
	if ms := l.milliseconds(); ms < 9.95 {
		return strconv.FormatFloat(ms, 'f', 1, 64) + " ms"
	}
	return fmt.Sprintf("%.0f ms", l.milliseconds())
}

// MarshalJSON writes milliseconds.
func (l Latency) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, l.milliseconds(), 'f', -1, 64), nil
}

// UnmarshalJSON reads milliseconds.
func (l *Latency) UnmarshalJSON(data []byte) error {
	var ms float64
	if err := json.Unmarshal(data, &ms); err != nil {
		return err
	}
	*l = Latency(ms * float64(time.Millisecond))
	return nil
}

// Quantiles sums up latencies, each within two percent.
type Quantiles struct {
	Count int64   `json:"count"`
	P50   Latency `json:"p50_ms"`
	P95   Latency `json:"p95_ms"`
	P99   Latency `json:"p99_ms"`
}

// Latencies is what etcd showed: linearizable reads before the run, during it and after it, and the run's own writes.
type Latencies struct {
	Before Quantiles `json:"before,omitzero"`
	During Quantiles `json:"during,omitzero"`
	After  Quantiles `json:"after,omitzero"`
	Writes Quantiles `json:"writes,omitzero"`
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
