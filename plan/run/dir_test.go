package run_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gofrs/flock"

	"etcdsweep/durable"
	"etcdsweep/plan"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/run"
)

// planFile is a plan without entries.
func planFile(t *testing.T) *plan.File {
	t.Helper()
	var out bytes.Buffer
	w, err := plan.NewWriter(&out, plan.Header{Prefix: "/registry", Revision: 100})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Finish(plan.Trailer{}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "p.plan")
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := plan.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func makeDir(t *testing.T, state string, p *plan.File) *run.Dir {
	t.Helper()
	d, err := run.MakeDir(durable.OS(), state, p)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// One process works on a cluster at a time. It is named to the others.
func TestLock(t *testing.T) {
	state := t.TempDir()
	who := journal.Opened{Command: "apply", Plan: "0123456789abcdef", User: "root", Host: "master-1", PID: 4711}
	first, err := run.LockCluster(state, "uid-1", who, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	_, err = run.LockCluster(state, "uid-1", who, time.Now())
	refused, ok := errors.AsType[*plan.RefusedError](err)
	if !ok {
		t.Fatalf("%v, want a refusal", err)
	}
	for _, want := range []string{"apply of plan 0123456789abcdef", "root on master-1", "process 4711"} {
		if !strings.Contains(refused.Reason, want) {
			t.Errorf("%q does not say %q", refused.Reason, want)
		}
	}
	for _, word := range []string{"watch", "abort"} {
		if want := "etcdsweep ctl " + filepath.Join(state, "runs", who.Plan) + " " + word; !strings.Contains(refused.Advice, want) {
			t.Errorf("%q does not say %q", refused.Advice, want)
		}
	}
	other, err := run.LockCluster(state, "../uid-2", who, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(other.Close(), first.Close()); err != nil {
		t.Fatal(err)
	}
	again, err := run.LockCluster(state, "uid-1", who, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if text, err := os.ReadFile(filepath.Join(state, "locks", "cluster-..%2Fuid-2")); err != nil || len(text) > 0 {
		t.Errorf("a lock that was closed still names %q, %v", text, err)
	}
	locks, err := filepath.Glob(filepath.Join(state, "locks", "*"))
	if err != nil || len(locks) != 2 {
		t.Errorf("%v, %v: want two locks", locks, err)
	}
	for _, path := range locks {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v", path, info.Mode(), err)
		}
	}
}

// Who holds the lock for a moment, as one that lists the runs does, stops nobody.
func TestLockWaitsAMoment(t *testing.T) {
	state := t.TempDir()
	who := journal.Opened{Command: "apply", Plan: "0123456789abcdef"}
	dead, err := run.LockCluster(state, "uid-1", who, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	reader := flock.New(filepath.Join(state, "locks", "cluster-uid-1"))
	if locked, err := reader.TryRLock(); err != nil || !locked {
		t.Fatal(locked, err)
	}
	time.AfterFunc(200*time.Millisecond, func() { _ = reader.Close() })
	lock, err := run.LockCluster(state, "uid-1", who, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := lock.Close(); err != nil {
		t.Error(err)
	}
}

// A link to a run's directory leads to the run, and to its lock.
func TestFindDirFollowsLinks(t *testing.T) {
	state, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p := planFile(t)
	d := makeDir(t, state, p)
	if _, err := d.KeepPlan(p); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "latest")
	if err := os.Symlink(d.Path, link); err != nil {
		t.Fatal(err)
	}
	found, _, err := run.FindDir(durable.OS(), link)
	if err != nil {
		t.Fatal(err)
	}
	if found.StateDir() != state {
		t.Errorf("state directory %s, want %s", found.StateDir(), state)
	}
}

// A run's directory is its owner's alone, and holds nothing that a killed process has left half-written.
func TestMakeDir(t *testing.T) {
	state, p := t.TempDir(), planFile(t)
	d := makeDir(t, state, p)
	if info, err := os.Stat(d.Path); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	half := filepath.Join(d.Path, ".snapshot.db.123.tmp")
	if err := os.WriteFile(half, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d = makeDir(t, state, p)
	if _, err := os.Stat(half); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s stays: %v", half, err)
	}
	if d.StateDir() != state {
		t.Errorf("state directory %s, want %s", d.StateDir(), state)
	}
}

// The plan that is carried out is a copy that nobody else writes; with it the directory is found again.
func TestKeepPlan(t *testing.T) {
	state, p := t.TempDir(), planFile(t)
	d := makeDir(t, state, p)
	if _, _, err := run.FindDir(durable.OS(), d.Path); err == nil {
		t.Error("a directory without a plan was taken for a run's")
	}
	kept, err := d.KeepPlan(p)
	if err != nil || kept.ID != p.ID || filepath.Dir(kept.Path()) != d.Path {
		t.Fatalf("%+v, %v", kept, err)
	}
	if again, err := d.KeepPlan(p); err != nil || again.Path() != kept.Path() {
		t.Errorf("kept again: %+v, %v", again, err)
	}
	if found, of, err := run.FindDir(durable.OS(), d.Path); err != nil || of.ID != p.ID || found.Path != d.Path {
		t.Errorf("found %+v of %+v, %v", found, of, err)
	}
}

// What a run has left that was refused is removed; what one has kept that began is not.
func TestDiscard(t *testing.T) {
	state, p := t.TempDir(), planFile(t)
	d := makeDir(t, state, p)
	if _, err := d.KeepPlan(p); err != nil {
		t.Fatal(err)
	}
	if !d.Discard() {
		t.Error("not discarded")
	}
	if _, err := os.Stat(d.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory stays: %v", err)
	}
	d = makeDir(t, state, p)
	w, _, _, err := d.OpenJournal(d.Journal(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if d.Discard() || !d.Began() {
		t.Error("a run that has a journal was discarded")
	}
}
