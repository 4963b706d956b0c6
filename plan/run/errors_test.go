package run_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"etcdsweep/plan/journal"
	"etcdsweep/plan/pace"
	"etcdsweep/plan/run"
)

// How a run ended is told in the same way by its error and by its journal, whatever ended its context, and when.
func TestInterrupted(t *testing.T) {
	byHand, byCluster := &pace.EndedError{Reason: "aborted", By: "root"}, &pace.EndedError{Reason: "no quorum"}
	for name, c := range map[string]struct {
		cause, err error
		want       journal.State
	}{
		"going on":              {nil, errors.New("any"), journal.StateFailed},
		"interrupted":           {context.Canceled, context.Canceled, journal.StateInterrupted},
		"in a read":             {context.Canceled, run.Unhealthy(context.Canceled), journal.StateInterrupted},
		"aborted":               {byHand, run.ErrInterrupted, journal.StateStopped},
		"aborted in a read":     {byHand, run.Unhealthy(fmt.Errorf("scan: %w", byHand)), journal.StateStopped},
		"stopped":               {byCluster, run.ErrInterrupted, journal.StateStopped},
		"interrupted when done": {context.Canceled, nil, journal.StateDone},
		"interrupted when left": {context.Canceled, run.ErrLeft, journal.StateLeft},
		"aborted when left":     {byHand, run.ErrLeft, journal.StateLeft},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			if c.cause != nil {
				cancel(c.cause)
			}
			err := run.Interrupted(ctx, c.err)
			var health *run.HealthError
			if got := run.StateOf(err, true); got != c.want {
				t.Errorf("%v: %s, want %s", err, got, c.want)
			}
			if interrupted := errors.Is(err, run.ErrInterrupted); interrupted != (c.want == journal.StateInterrupted) {
				t.Errorf("%v: interrupted %v", err, interrupted)
			}
			if stopped := errors.As(err, &health); stopped != (c.want == journal.StateStopped) {
				t.Errorf("%v: stopped %v", err, stopped)
			}
		})
	}
}
