package journal_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"etcdsweep/durable"
	"etcdsweep/plan/journal"
)

// frames has one frame of each kind.
func frames() []journal.Frame {
	return []journal.Frame{
		{Opened: &journal.Opened{Command: "apply", Plan: "p", User: "root", Host: "h", PID: 1, CommandLine: []string{"etcdsweep", "apply"}}},
		{Controllers: &journal.Controllers{Key: "/registry/leases/kube-system/kube-controller-manager", Holder: "a", Moving: true}},
		{Proved: &journal.Proof{Path: "snapshot.db", Revision: 100, Bytes: 7, SHA256: "00"}},
		{Page: &journal.Page{Stage: "pods", Keys: []string{"a", "b", "c", "d"}}},
		{Paused: &journal.Pause{Reason: "births"}},
		{Told: &journal.Told{Word: "rate 50", By: "root, process 1"}},
		{Resumed: &journal.Pause{Reason: "births", Seconds: 1.5}},
		{Judged: &journal.Judged{Stage: "pods", Keys: []journal.Verdict{
			{Key: "a", Outcome: journal.Deleted, Revision: 201, CreateRevision: 9, ModRevision: 9},
			{Key: "b", Outcome: journal.DriftedDeleted, Revision: 200, CreateRevision: 9, ModRevision: 150},
			{Key: "c", Outcome: journal.Skipped, Reason: "drifted"},
		}}},
		{Lease: &journal.Lease{Old: 1, New: 2, Seconds: 60}},
		{Closed: &journal.Closed{State: journal.StateInterrupted, Error: "interrupted"}},
	}
}

func write(t testing.TB, path string, frames ...journal.Frame) {
	t.Helper()
	w, err := journal.Create(durable.OS(), path, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for _, frame := range frames {
		if err := w.Append(frame); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func read(path string) (got []journal.Frame, err error) {
	for frame, err := range journal.ReadFile(path) {
		if err != nil {
			return got, err
		}
		got = append(got, *frame)
	}
	return got, nil
}

func TestRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	write(t, path, frames()...)
	got, err := read(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		if got[i].At.IsZero() {
			t.Errorf("frame %d has no time", i)
		}
		got[i].At = time.Time{}
	}
	if diff := cmp.Diff(frames(), got); diff != "" {
		t.Error(diff)
	}
	if _, err := journal.Create(durable.OS(), path, time.Now); !errors.Is(err, os.ErrExist) {
		t.Errorf("made over another: %v", err)
	}
}

// A journal tells what is done, what is in doubt, and what an attempt that was killed did not say.
func TestHistory(t *testing.T) {
	var h journal.History
	all := frames()
	for i := range all {
		if h.Began() != (i > 3) {
			t.Errorf("before frame %d: began %t", i, h.Began())
		}
		if h.State() != journal.StateKilled {
			t.Errorf("before frame %d: %s", i, h.State())
		}
		h.Add(&all[i])
	}
	if h.State() != journal.StateInterrupted || h.State().Finished() {
		t.Errorf("state %s", h.State())
	}
	if diff := cmp.Diff(map[string]map[string]bool{"pods": {"d": true}}, h.Doubt); diff != "" {
		t.Errorf("in doubt: %s", diff)
	}
	tally := h.Tally("pods")
	if tally.Words() != "1 deleted, 1 drifted and deleted, 1 skipped" || tally.Remaining() != 1 || tally.Total() != 3 {
		t.Errorf("%s", tally.Words())
	}
	if h.FirstRevision != 200 || h.LastRevision != 201 || h.Paused != 1500*time.Millisecond || h.Leases[1].New != 2 || h.Last["pods"] != "d" {
		t.Errorf("%+v", h)
	}
	if h.Archived != 2 || h.Newer != 1 || h.Missing != 0 {
		t.Errorf("archived %d, newer %d, missing %d", h.Archived, h.Newer, h.Missing)
	}

	// What was unresolved stays in doubt, and is counted again by the attempt that goes on.
	h.Add(&journal.Frame{Judged: &journal.Judged{Stage: "pods", Keys: []journal.Verdict{{Key: "d", Outcome: journal.Unresolved, Reason: "unresolved: x"}}}})
	if tally := h.Tally("pods"); !h.Doubt["pods"]["d"] || tally.Outcomes[journal.Unresolved] != 1 {
		t.Errorf("%v, %+v", h.Doubt, tally)
	}
	h.Add(&journal.Frame{Opened: &journal.Opened{}})
	h.Add(&journal.Frame{Judged: &journal.Judged{Stage: "pods", Keys: []journal.Verdict{{Key: "d", Outcome: journal.GoneUnknown}}}})
	if tally := h.Tally("pods"); h.Doubt["pods"]["d"] || tally.Remaining() != 1 || tally.Total() != 4 || len(h.Attempts) != 2 || h.State() != journal.StateKilled {
		t.Errorf("%v, %+v", h.Doubt, tally)
	}
}

// A run that stands still for two reasons at the same time does not stand still for twice as long.
func TestPausesThatOverlap(t *testing.T) {
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var h journal.History
	for _, pause := range []struct{ from, to, inAll int }{
		{2, 4, 2},
		{6, 7, 3},
		{1, 8, 7},
		{5, 10, 9},
		{12, 13, 10},
		{13, 14, 11},
	} {
		h.Add(&journal.Frame{
			At:      began.Add(time.Duration(pause.to) * time.Second),
			Resumed: &journal.Pause{Seconds: float64(pause.to - pause.from)},
		})
		if want := time.Duration(pause.inAll) * time.Second; h.Paused != want {
			t.Errorf("after %+v: %s, want %s", pause, h.Paused, want)
		}
	}
	if len(h.Pauses) != 6 {
		t.Errorf("%+v", h.Pauses)
	}
}

// A frame of another version, or one that says nothing or two things, is damage.
func TestStrangeFrames(t *testing.T) {
	for _, payload := range []string{
		`{"at":"2026-01-01T00:00:00Z"}`,
		`{"at":"2026-01-01T00:00:00Z","closed":{"state":"done"},"paused":{"reason":"x"}}`,
		`{"at":"2026-01-01T00:00:00Z","closed":{"state":"done","newer":1}}`,
		`{"at":"2026-01-01T00:00:00Z","closed":{"state":"done"}} {}`,
		`nonsense`,
	} {
		path := filepath.Join(t.TempDir(), "journal")
		l, err := durable.CreateLog(durable.OS(), path, journal.Format)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(l.Append([]byte(payload)), l.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := read(path); err == nil || errors.Is(err, durable.ErrTorn) {
			t.Errorf("%s: %v", payload, err)
		}
		_, _, err = journal.Open(durable.OS(), path, time.Now, func(*journal.Frame) { t.Errorf("%s was taken", payload) })
		if _, ok := errors.AsType[*durable.DamagedError](err); !ok {
			t.Errorf("%s: opened with %v", payload, err)
		}
	}
}

// What is read of any bytes can be written, and read again.
func FuzzReadFile(f *testing.F) {
	path := filepath.Join(f.TempDir(), "journal")
	write(f, path, frames()...)
	data, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(data[:len(data)-1])
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "journal")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		var h journal.History
		got, _ := read(path)
		for i := range got {
			h.Add(&got[i])
		}
		again := filepath.Join(t.TempDir(), "again")
		write(t, again, got...)
		if back, err := read(again); err != nil || len(back) != len(got) {
			t.Fatalf("%d frames, written again %d: %v", len(got), len(back), err)
		}
	})
}

// A frame is read strictly, whatever its bytes: fuzzed without the checksum before it, which hides it.
func FuzzFrame(f *testing.F) {
	f.Add([]byte(`{"at":"2026-01-01T00:00:00Z","closed":{"state":"done"}}`))
	f.Add([]byte(`{"judged":{"stage":"pods","keys":[{"key":"a","outcome":"skipped","reason":"x"}]}}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		path := filepath.Join(t.TempDir(), "journal")
		l, err := durable.CreateLog(durable.OS(), path, journal.Format)
		if err != nil {
			t.Fatal(err)
		}
		appendErr := l.Append(payload)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if appendErr != nil {
			return // empty
		}
		var h journal.History
		frames, err := read(path)
		if err == nil && len(frames) != 1 {
			t.Fatalf("%d frames", len(frames))
		}
		for i := range frames {
			h.Add(&frames[i])
		}
		_ = h.State()
	})
}
