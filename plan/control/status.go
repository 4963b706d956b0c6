package control

import (
	"slices"
	"time"

	"etcdsweep/plan/pace"
)

// Status is what the screen of a run shows.
type Status struct {
	Command string `json:"command"` // apply, undo
	Plan    string `json:"plan"`    // ID
	PID     int    `json:"pid"`

	Step       string  `json:"step,omitempty"` // "" between two steps
	Unit       Unit    `json:"unit,omitempty"` // of Done, Total and PerSecond
	Done       int64   `json:"done"`
	Total      int64   `json:"total,omitempty"` // 0 if it is not known
	PerSecond  float64 `json:"per_second"`      // over the last few seconds
	ETASeconds float64 `json:"eta_seconds,omitempty"`
	Waiting    string  `json:"waiting,omitempty"` // for what, in words

	Pace   *pace.Status `json:"pace,omitempty"` // nil before there is one
	Minute Minute       `json:"minute"`
}

// ETA returns the time that the step still needs; 0 if that is not known.
func (s *Status) ETA() time.Duration { return time.Duration(s.ETASeconds * float64(time.Second)) }

// Unit is what a step counts.
type Unit string

// The units.
const (
	Keys  Unit = "keys"
	Bytes Unit = "bytes"
)

// Minute is what was seen in each second of the last minute, the latest last. It is shorter at the beginning.
type Minute struct {
	Rate []float64      `json:"rate"`   // writes a second
	P95  []pace.Latency `json:"p95_ms"` // of linearizable reads; 0 where none was answered
}

// Seconds is the length of a minute.
const Seconds = 60

// Add adds a second.
func (m *Minute) Add(s *pace.Status) {
	m.Rate = append(m.Rate, s.Rate)
	m.P95 = append(m.P95, s.P95)
	if n := len(m.Rate) - Seconds; n > 0 {
		m.Rate, m.P95 = slices.Delete(m.Rate, 0, n), slices.Delete(m.P95, 0, n)
	}
}

// Clone returns a copy, which later seconds do not change.
func (m *Minute) Clone() Minute { return Minute{Rate: slices.Clone(m.Rate), P95: slices.Clone(m.P95)} }
