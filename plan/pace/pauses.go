package pace

import (
	"slices"
	"strings"
	"time"
)

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
