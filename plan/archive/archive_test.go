package archive_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"etcdsweep/decode"
	"etcdsweep/durable"
	"etcdsweep/plan/archive"
)

func records() []decode.Record {
	return []decode.Record{
		{Key: "/registry/pods/a/one", Value: []byte("k8s\x00 one"), CreateRevision: 3, ModRevision: 9, Version: 2},
		{Key: "/registry/pods/a/two", Value: []byte{}, CreateRevision: 4, ModRevision: 4, Version: 1, Lease: -7},
		{Key: "/registry/pods/a/three", Value: bytes.Repeat([]byte("x"), 300<<10), CreateRevision: 5, ModRevision: 5, Version: 1},
	}
}

// write makes an archive of one frame with two records and one frame with one.
func write(t testing.TB) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "archive.zst")
	w, err := archive.Create(durable.OS(), path)
	if err != nil {
		t.Fatal(err)
	}
	all := records()
	if err := errors.Join(w.Append(all[:2]...), w.Append(all[2]), w.Close()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func read(data []byte) (got []decode.Record, err error) {
	for record, err := range archive.Read(bytes.NewReader(data)) {
		if err != nil {
			return got, err
		}
		got = append(got, record)
	}
	return got, nil
}

func TestRoundTrip(t *testing.T) {
	got, err := read(write(t))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(records(), got); diff != "" {
		t.Error(diff)
	}
}

func TestCreateRefusesAPathThatIsTaken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "archive.zst")
	w, err := archive.Create(durable.OS(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := archive.Create(durable.OS(), path); !errors.Is(err, os.ErrExist) {
		t.Errorf("%v, want os.ErrExist", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
}

// Wherever an archive is cut, the whole frames before the cut are read, and the cut is named.
func TestCutOff(t *testing.T) {
	whole := write(t)
	for cut := len(archive.Format); cut < len(whole); cut += 97 {
		got, err := read(whole[:cut])
		if err == nil && cut != len(archive.Format) && len(got) != 2 {
			t.Fatalf("cut at %d of %d: %d records and no error", cut, len(whole), len(got))
		}
		if err != nil && !errors.Is(err, durable.ErrTorn) {
			t.Fatalf("cut at %d: %v, want ErrTorn", cut, err)
		}
		if diff := cmp.Diff(records()[:len(got)], got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("cut at %d: %s", cut, diff)
		}
	}
}

// A flipped bit is found, wherever it is.
func TestDamage(t *testing.T) {
	whole := write(t)
	for at := 0; at < len(whole); at++ {
		damaged := bytes.Clone(whole)
		damaged[at] ^= 0x10
		if _, err := read(damaged); err == nil {
			t.Fatalf("byte %d: damage was not found", at)
		}
	}
}

func TestNoArchive(t *testing.T) {
	if _, err := read([]byte("etcdsweep.archive/v9\n")); err == nil || !strings.Contains(err.Error(), "etcdsweep.archive/v1") {
		t.Errorf("%v, want an error that names the format", err)
	}
}

// After a failed write nothing more is taken.
func TestBrokenArchiveTakesNoMore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "archive.zst")
	w, err := archive.Create(durable.OS(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	first := w.Append(records()[0])
	if first == nil {
		t.Fatal("a write to a closed file passed")
	}
	if second := w.Append(records()[0]); second == nil {
		t.Errorf("a write to a closed file passed after %v", first)
	}
}

// A page is read whatever its bytes are: fuzzed without the checksum before it, which hides it.
func FuzzPage(f *testing.F) {
	whole := write(f)
	f.Add(whole[len(archive.Format)+8:])
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd})
	f.Fuzz(func(t *testing.T, page []byte) {
		path := filepath.Join(t.TempDir(), "archive.zst")
		log, err := durable.CreateLog(durable.OS(), path, archive.Format)
		if err != nil {
			t.Fatal(err)
		}
		appendErr := log.Append(page)
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		if appendErr != nil {
			return // empty
		}
		for _, err := range archive.ReadFile(path) {
			if errors.Is(err, durable.ErrTorn) {
				t.Fatal("a whole frame is torn")
			}
		}
	})
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(archive.Format))
	f.Add([]byte(archive.Format + "\x00\x00\x00\x04\x00\x00\x00\x00abcd"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, err := range archive.Read(bytes.NewReader(data)) {
			if err != nil {
				return
			}
		}
	})
}
