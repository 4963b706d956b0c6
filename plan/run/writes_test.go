package run_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"etcdsweep/plan/pace"
	"etcdsweep/plan/run"
)

// A read that fails at once is tried until the pace knows of the outage, is not tried while the run stands still for it, and is
// tried again behind it, as often as at first.
func TestRetryOutlivesAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const noticed, back = 2500 * time.Millisecond, time.Minute
		pacer := pace.New(pace.Defaults(), nil)
		ctx, stop := pacer.Start(t.Context(), pace.Hooks{})
		defer stop()
		if err := pacer.Measure(ctx); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		time.AfterFunc(noticed, func() { pacer.Pause("alice") })
		time.AfterFunc(back, func() { pacer.Resume("alice") })
		var before, behind int
		answer, err := run.Retry(ctx, pacer, func(context.Context) (string, error) {
			switch since := time.Since(began); {
			case since < noticed:
				before++
			case since < back:
				t.Errorf("tried %s after the beginning, while the run stood still", since)
			default:
				if behind++; behind == 6 {
					return "back", nil
				}
			}
			return "", errors.New("connection refused")
		})
		if answer != "back" || err != nil || before == 0 {
			t.Errorf("%q, %v after %d and %d tries", answer, err, before, behind)
		}
	})
}

// One that nobody answers, and for which the run does not stand still, ends it.
func TestRetryEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pacer := pace.New(pace.Defaults(), nil)
		ctx, stop := pacer.Start(t.Context(), pace.Hooks{})
		defer stop()
		began, dead := time.Now(), errors.New("connection refused")
		_, err := run.Retry(ctx, pacer, func(context.Context) (string, error) { return "", dead })
		if _, ok := errors.AsType[*run.HealthError](err); !ok || !errors.Is(err, dead) {
			t.Errorf("%v", err)
		}
		if took := time.Since(began); took < 5*time.Second || took > 15*time.Second {
			t.Errorf("ended after %s", took)
		}
	})
}
