package sweep_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"etcdsweep/plan/apply"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/pace"
	"etcdsweep/plan/run"
	"etcdsweep/plan/undo"
)

// paced gives a run a pacer that measures nothing.
func paced(cfg *apply.Config) *pace.Pacer {
	cfg.Pace = pace.New(pace.Config{Concurrency: cfg.Concurrency}, nil)
	return cfg.Pace
}

// A run that is paused deletes nothing until it is resumed, and its report says why it stood still, and for how long.
func TestPaused(t *testing.T) {
	w, _, p := incident(t, 200)
	before := w.state()
	cfg := w.config(p)
	pacer := paced(&cfg)
	judged, atResume, looks := 0, 0, 0
	cfg.Observe = func(event run.Event) {
		switch e := event.(type) {
		case run.Judged:
			if judged++; judged == 50 {
				pacer.Pause("alice")
			}
		case run.Paced:
			if e.State != pace.Paused {
				break
			}
			if looks++; looks == 4 { // a second and a half later: unpaced, all would be gone
				atResume = judged
				pacer.Resume("bob")
			}
		}
	}
	report, err := apply.Run(t.Context(), cfg)
	must(t, err)
	if atResume < 50 || atResume > 50+cfg.Concurrency { // what was in flight is finished
		t.Errorf("%d keys were judged when the run was resumed, of which 50 were when it was paused", atResume)
	}
	if len(report.Pauses) != 1 || report.Pauses[0].Reason != "paused by alice, then resumed by bob" || report.Pauses[0].Seconds < 1 || report.PausedSeconds < 1 {
		t.Errorf("pauses %+v, %g s", report.Pauses, report.PausedSeconds)
	}
	onlyGone(t, before, w.state(), keys(t, p))
}

// slowToStart is a cluster that does something before it says how it is.
type slowToStart struct {
	live
	first func()
}

func (s slowToStart) Facts(ctx context.Context) (run.Facts, error) {
	s.first()
	return s.live.Facts(ctx)
}

// What was said to a run before it had a journal is in its report, as everything that is said later.
func TestToldEarly(t *testing.T) {
	w, _, p := incident(t, 20)
	cfg := w.config(p)
	pacer := paced(&cfg)
	heard := make(chan struct{})
	var once sync.Once
	cfg.Observe = func(event run.Event) {
		if e, ok := event.(run.Paced); ok && e.Ceiling == 100 {
			once.Do(func() { close(heard) })
		}
	}
	cfg.Cluster = slowToStart{w.live(p), func() {
		must(t, pacer.SetRate("alice", 100))
		<-heard
	}}
	report, err := apply.Run(t.Context(), cfg)
	must(t, err)
	if len(report.Told) != 1 || report.Told[0].Word != "rate 100" || report.Told[0].By != "alice" || report.Told[0].At.IsZero() {
		t.Errorf("told %+v", report.Told)
	}
}

// A run that is ended at any step stops, as one does for the cluster's health, and goes on by the same command.
func TestAborted(t *testing.T) {
	for _, step := range []run.Step{run.StepSnapshot, run.StepSettle, run.StepPods, run.StepVerify} {
		t.Run(string(step), func(t *testing.T) {
			w, _, p := incident(t, 50)
			before := w.state()
			cfg := w.config(p)
			pacer := paced(&cfg)
			w.client.HoldReads(pacer.Reads)
			defer w.client.HoldReads(nil)
			cfg.Observe = func(event run.Event) {
				if e, ok := event.(run.StepBegan); ok && e.Step == step {
					pacer.Abort("alice")
				}
			}
			report, err := apply.Run(t.Context(), cfg)
			health, ok := errors.AsType[*run.HealthError](err)
			if !ok || errors.Is(err, run.ErrInterrupted) || !strings.Contains(health.Error(), "aborted by alice") {
				t.Fatalf("ended with %v", err)
			}
			if report.State != journal.StateStopped {
				t.Errorf("state %s", report.State)
			}
			w.client.HoldReads(nil)
			report, err = apply.Run(t.Context(), w.config(p))
			must(t, err)
			if report.State != journal.StateDone || report.Attempts != 2 {
				t.Errorf("state %s after %d attempts", report.State, report.Attempts)
			}
			onlyGone(t, before, w.state(), keys(t, p))
		})
	}
}

// So does an undo.
func TestAbortedUndo(t *testing.T) {
	w, _, p := incident(t, 200)
	cfg := w.config(p)
	_, err := apply.Run(t.Context(), cfg)
	must(t, err)
	back := undo.Config{
		Plan: cfg.Plan, Cluster: w.live(p), Dir: cfg.Dir, Opened: journal.Opened{Command: "undo", Plan: p.ID},
		Concurrency: 4, LeaseDuration: cfg.LeaseDuration, Now: cfg.Now,
	}
	pacer := pace.New(pace.Config{Concurrency: 4}, nil)
	back.Pace = pacer
	judged := 0
	back.Observe = func(event run.Event) {
		if _, ok := event.(run.Judged); ok {
			if judged++; judged == 50 {
				pacer.Abort("alice")
			}
		}
	}
	report, err := undo.Run(t.Context(), back)
	if _, ok := errors.AsType[*run.HealthError](err); !ok || report.State != journal.StateStopped {
		t.Fatalf("ended with %v, state %s", err, report.State)
	}
	if n := report.Objects.Outcomes[journal.Restored]; n < 50 || n > 60 {
		t.Errorf("%d were put back, of which 50 were before", n)
	}
	back.Pace, back.Observe = nil, nil
	report, err = undo.Run(t.Context(), back)
	must(t, err)
	if n := report.Objects.Outcomes[journal.Restored]; n != 201 {
		t.Errorf("%d of 201 were put back", n)
	}
}
