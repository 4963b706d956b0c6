package run

import (
	"fmt"
	"strings"
	"time"

	"etcdsweep/plan/journal"
	"etcdsweep/plan/pace"
)

// PaceHooks makes a run tell of its pace: how fast it may go as events, and in its journal why it stood still, and who said what to it.
func PaceHooks(emit func(Event), note func(journal.Frame)) pace.Hooks {
	return pace.Hooks{
		Observe: func(s pace.Status) { emit(Paced{s}) },
		Told:    func(word, by string) { note(journal.Frame{Told: &journal.Told{Word: word, By: by}}) },
		Paused: func(reason string) {
			note(journal.Frame{Paused: &journal.Pause{Reason: reason}})
			emit(Warning{Text: "paused: " + strings.TrimPrefix(reason, "paused ")}) // by hand: paused by somebody
		},
		Resumed: func(reasons string, lasted time.Duration) {
			note(journal.Frame{Resumed: &journal.Pause{Reason: reasons, Seconds: lasted.Seconds()}})
			emit(Warning{Text: fmt.Sprintf("stood still for %.1f s: %s", lasted.Seconds(), reasons)})
		},
	}
}

// PaceWords says behind other words how etcd does before a run, and how fast that may go.
func PaceWords(s pace.Status) (words string) {
	if s.P95 > 0 {
		words = fmt.Sprintf(", p95 %s", s.P95)
	}
	if s.Unpaced {
		return words
	}
	return words + fmt.Sprintf("; at most %g/s", s.Ceiling)
}

// PaceWarning says what of the pace an operator should know before a run; "" if there is nothing.
func PaceWarning(s pace.Status) string {
	if s.P95 <= pace.Latency(pace.SickAbove) {
		return ""
	}
	return fmt.Sprintf("etcd is slow already: p95 of reads %s; beginning with %g writes a second", s.P95, s.Allowed)
}
