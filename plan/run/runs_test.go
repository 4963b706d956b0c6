package run_test

import (
	"errors"
	"os"
	"testing"
	"time"

	"etcdsweep/durable"
	"etcdsweep/plan"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/run"
)

// attempt writes an attempt to a journal: its command, and its state; "" for one that was killed.
type attempt struct {
	command string
	state   journal.State
}

func write(t *testing.T, d *run.Dir, path string, attempts ...attempt) {
	t.Helper()
	w, _, _, err := d.OpenJournal(path, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range attempts {
		err = errors.Join(err, w.Append(journal.Frame{Opened: &journal.Opened{Command: a.command}}))
		if a.state != "" {
			err = errors.Join(err, w.Append(journal.Frame{Closed: &journal.Closed{State: a.state}}))
		}
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
}

// ended makes a run whose last attempt to apply it has ended like this, with an archive, and undone like this.
func ended(t *testing.T, state journal.State, undone ...attempt) (d *run.Dir, stateDir string) {
	t.Helper()
	stateDir = t.TempDir()
	p := planFile(t)
	d = makeDir(t, stateDir, p)
	if _, err := d.KeepPlan(p); err != nil {
		t.Fatal(err)
	}
	write(t, d, d.Journal(), attempt{"apply", state})
	if len(undone) > 0 {
		write(t, d, d.UndoJournal(), undone...)
	}
	if err := os.WriteFile(d.Archive(), []byte("Secrets"), 0o600); err != nil {
		t.Fatal(err)
	}
	return d, stateDir
}

func list(t *testing.T, stateDir string) *run.Summary {
	t.Helper()
	all, err := run.List(durable.OS(), stateDir)
	if err != nil || len(all) != 1 {
		t.Fatalf("%+v, %v, want one run", all, err)
	}
	return &all[0]
}

// Only an undo that was not limited makes a run undone, and finished if it was not. A part of it changes nothing.
func TestUndone(t *testing.T) {
	const part = "undo --only a=b"
	for _, test := range []struct {
		state    journal.State
		undone   []attempt
		want     journal.State
		finished bool
	}{
		{journal.StateInterrupted, nil, "", false},
		{journal.StateInterrupted, []attempt{{part, journal.StateDone}}, run.StatePartly, false},
		{journal.StateInterrupted, []attempt{{part, journal.StateLeft}}, run.StatePartly, false},
		{journal.StateDone, []attempt{{part, journal.StateDone}}, run.StatePartly, true},
		{journal.StateDone, []attempt{{part, journal.StateInterrupted}}, journal.StateInterrupted, false},
		{journal.StateDone, []attempt{{part, ""}}, journal.StateKilled, false},
		{journal.StateInterrupted, []attempt{{"undo", journal.StateDone}}, journal.StateDone, true},
		{journal.StateInterrupted, []attempt{{"undo", journal.StateLeft}, {part, journal.StateDone}}, journal.StateLeft, true},
		{journal.StateDone, []attempt{{"undo", journal.StateInterrupted}, {part, journal.StateDone}}, journal.StateInterrupted, false},
		{journal.StateDone, []attempt{{"undo", ""}, {part, journal.StateDone}}, journal.StateKilled, false},
		{journal.StateDone, []attempt{{"undo", journal.StateDone}, {"undo", ""}}, journal.StateKilled, false},
	} {
		d, stateDir := ended(t, test.state, test.undone...)
		s := list(t, stateDir)
		if s.Undo != test.want || s.Finished() != test.finished {
			t.Errorf("%s, then %v: undo %q, finished %t; want %q, %t", test.state, test.undone, s.Undo, s.Finished(), test.want, test.finished)
		}
		_, err := s.Prune(run.Pruning{}, journal.Opened{}, time.Now())
		if _, refused := errors.AsType[*plan.RefusedError](err); refused == test.finished || !refused && err != nil {
			t.Errorf("%s, then %v: prune: %v", test.state, test.undone, err)
		}
		if _, err := os.Stat(d.Archive()); errors.Is(err, os.ErrNotExist) != test.finished {
			t.Errorf("%s, then %v: archive: %v", test.state, test.undone, err)
		}
	}
}

// A run that has gone on since it was listed is judged as it is now.
func TestPruneLooksAgain(t *testing.T) {
	d, stateDir := ended(t, journal.StateDone)
	listed := list(t, stateDir)
	prune := func(which run.Pruning, now time.Time) {
		t.Helper()
		_, err := listed.Prune(which, journal.Opened{}, now)
		if _, refused := errors.AsType[*plan.RefusedError](err); !refused {
			t.Errorf("%v, want a refusal", err)
		}
		if _, err := os.Stat(d.Archive()); err != nil {
			t.Error(err)
		}
	}
	write(t, d, d.UndoJournal(), attempt{"undo", ""})
	prune(run.Pruning{}, time.Now())
	write(t, d, d.UndoJournal(), attempt{"undo", journal.StateDone})
	age := list(t, stateDir).Ended.Sub(listed.Ended)
	prune(run.Pruning{OlderThan: age}, listed.Ended.Add(age+age/2))
	if _, err := listed.Prune(run.Pruning{OlderThan: age}, journal.Opened{}, listed.Ended.Add(3*age)); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(d.Archive()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("archive: %v", err)
	}
}
