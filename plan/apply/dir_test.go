package apply_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"etcdsweep/plan"
	"etcdsweep/plan/apply"
)

func openDir(t *testing.T, state string, p *plan.File) *apply.Dir {
	t.Helper()
	d, err := apply.OpenDir(state, p)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func touch(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// One process carries out a plan at a time.
func TestDirIsLocked(t *testing.T) {
	state, p := t.TempDir(), planFile(t)
	first := openDir(t, state, p)
	if _, err := apply.OpenDir(state, p); err == nil {
		t.Fatal("opened twice")
	} else if _, ok := errors.AsType[*plan.RefusedError](err); !ok {
		t.Errorf("%v, want a refusal", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := openDir(t, state, p)
	if err := second.Close(); err != nil {
		t.Error(err)
	}
}

// An attempt never takes the files of an earlier one, and a plan whose run came to deleting is not new any more.
func TestAttempts(t *testing.T) {
	state, p := t.TempDir(), planFile(t)
	next := func() *apply.Dir {
		t.Helper()
		d := openDir(t, state, p)
		t.Cleanup(func() { d.Close() })
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := next()
	if !d.First || filepath.Base(d.Snapshot()) != "snapshot.db" || filepath.Base(d.Archive()) != "archive.zst" || filepath.Base(d.Report()) != "report.json" {
		t.Errorf("first attempt: %+v, %s", d, d.Snapshot())
	}
	if info, err := os.Stat(d.Path); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}

	touch(t, d.Snapshot()) // killed while it took the snapshot
	touch(t, filepath.Join(d.Path, ".snapshot.db.123.tmp"))
	d = next()
	if !d.First || filepath.Base(d.Snapshot()) != "snapshot-2.db" {
		t.Errorf("after one that was killed before it deleted anything: first %v, %s", d.First, d.Snapshot())
	}
	if left, _ := filepath.Glob(filepath.Join(d.Path, ".*.tmp")); len(left) > 0 {
		t.Errorf("half-written files stay: %v", left)
	}

	touch(t, d.Snapshot()) // killed when it may have deleted something
	touch(t, d.Archive())
	if d = next(); d.First || filepath.Base(d.Report()) != "report-3.json" {
		t.Errorf("after one that may have deleted something: first %v, %s", d.First, d.Report())
	}

	if err := d.WriteReport(&apply.Report{Plan: p.ID, State: apply.StateDone}); err != nil {
		t.Fatal(err)
	}
	if _, err := apply.OpenDir(state, p); err == nil {
		t.Error("a plan whose run was done was taken again")
	} else if _, ok := errors.AsType[*plan.RefusedError](err); !ok {
		t.Errorf("%v, want a refusal", err)
	}
}

// The plan that is carried out is a copy that nobody else writes.
func TestKeepPlan(t *testing.T) {
	state, p := t.TempDir(), planFile(t)
	d := openDir(t, state, p)
	defer d.Close()
	kept, err := d.KeepPlan(p)
	if err != nil || kept.ID != p.ID || filepath.Dir(kept.Path()) != d.Path {
		t.Fatalf("%+v, %v", kept, err)
	}
	if again, err := d.KeepPlan(p); err != nil || again.Path() != kept.Path() {
		t.Errorf("kept again: %+v, %v", again, err)
	}
	d.Discard()
	if _, err := os.Stat(d.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a run that was refused has left its directory: %v", err)
	}
}
