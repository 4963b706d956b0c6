package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"etcdsweep/durable"
)

func TestCommitMakesTheFileAppear(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.plan")
	f, err := durable.Create(durable.OS(), path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("content")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("before the commit: %v, want the file absent", err)
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	f.Abort() // as a deferred call would
	got, err := os.ReadFile(path)
	if err != nil || string(got) != "content" {
		t.Fatalf("got %q, %v", got, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v, want 0600", info.Mode(), err)
	}
	onlyFile(t, path)
}

func TestAbortLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	f, err := durable.Create(durable.OS(), filepath.Join(dir, "p.plan"))
	if err != nil {
		t.Fatal(err)
	}
	f.Abort()
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Fatalf("left behind: %v", entries)
	}
}

func TestNothingIsOverwritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.plan")
	late, err := durable.Create(durable.OS(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := durable.Replace(durable.OS(), path, []byte("first")); err != nil {
		t.Fatal(err)
	}
	if _, err := durable.Create(durable.OS(), path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("create: %v, want fs.ErrExist", err)
	}
	if err := late.Commit(); !errors.Is(err, fs.ErrExist) {
		t.Errorf("commit: %v, want fs.ErrExist", err)
	}
	if got, _ := os.ReadFile(path); string(got) != "first" {
		t.Errorf("content %q, want what stood there first", got)
	}
	onlyFile(t, path)
}

func onlyFile(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 || entries[0].Name() != filepath.Base(path) {
		t.Fatalf("directory holds %v, %v, want %s alone", entries, err, path)
	}
}
