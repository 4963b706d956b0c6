package durable_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"etcdsweep/durable"
	"etcdsweep/test/faultfs"
)

const format = "test.log/v1\n"

func payloads() []string { return []string{"one", "two, a longer one", "\xff", "four"} }

// writeLog writes a log, and returns its bytes and where its frames end.
func writeLog(t testing.TB, path string) (data []byte, ends []int) {
	t.Helper()
	l, err := durable.CreateLog(durable.OS(), path, format)
	must(t, err)
	ends = []int{len(format)}
	for _, p := range payloads() {
		must(t, l.Append([]byte(p)))
		ends = append(ends, ends[len(ends)-1]+12+len(p))
	}
	must(t, l.Close())
	data, err = os.ReadFile(path)
	must(t, err)
	return data, ends
}

func readLog(data []byte) (got []string, err error) {
	for payload, err := range durable.ReadLog(bytes.NewReader(data), format) {
		if err != nil {
			return got, err
		}
		got = append(got, string(payload))
	}
	return got, nil
}

// openLog opens the log at path and closes it again.
func openLog(path string, more ...string) (got []string, cut int64, err error) {
	l, cut, err := durable.OpenLog(durable.OS(), path, format, func(payload []byte) error {
		got = append(got, string(payload))
		return nil
	})
	if err != nil {
		return got, cut, err
	}
	for _, p := range more {
		err = errors.Join(err, l.Append([]byte(p)))
	}
	return got, cut, errors.Join(err, l.Close())
}

// Wherever a log is cut off, or blank from some byte on, as after a crash, the frames before are read, and the rest is cut off
// when it is opened, so that it can be appended to.
func TestLogCutAnywhere(t *testing.T) {
	whole, ends := writeLog(t, filepath.Join(t.TempDir(), "log"))
	for cut := len(format); cut <= len(whole); cut++ {
		for _, blank := range []int{0, 20} {
			data := append(bytes.Clone(whole[:cut]), make([]byte, blank)...)
			frames := 0
			for frames+1 < len(ends) && ends[frames+1] <= cut {
				frames++
			}
			want := payloads()[:frames]
			torn := ends[frames] < len(data)

			got, err := readLog(data)
			if !slices.Equal(got, want) || errors.Is(err, durable.ErrTorn) != torn || !torn && err != nil {
				t.Fatalf("cut at %d and %d blank: read %q, %v; want %q, torn %t", cut, blank, got, err, want, torn)
			}
			path := filepath.Join(t.TempDir(), "log")
			must(t, os.WriteFile(path, data, 0o600))
			got, off, err := openLog(path, "more")
			if err != nil || !slices.Equal(got, want) || off != int64(len(data)-ends[frames]) {
				t.Fatalf("cut at %d and %d blank: opened with %q, %d bytes cut off, %v", cut, blank, got, off, err)
			}
			data, err = os.ReadFile(path)
			must(t, err)
			if got, err = readLog(data); err != nil || !slices.Equal(got, append(slices.Clone(want), "more")) {
				t.Fatalf("cut at %d and %d blank, appended: %q, %v", cut, blank, got, err)
			}
		}
	}
}

// A flipped bit is found, wherever it is: what is read is what was written, up to there. In the middle it is damage, and the file
// is left as it is.
func TestLogDamage(t *testing.T) {
	whole, ends := writeLog(t, filepath.Join(t.TempDir(), "log"))
	path := filepath.Join(t.TempDir(), "log")
	for at := range whole {
		for bit := range 8 {
			data := bytes.Clone(whole)
			data[at] ^= 1 << bit
			got, err := readLog(data)
			if err == nil || len(got) > len(payloads()) || !slices.Equal(got, payloads()[:len(got)]) {
				t.Fatalf("byte %d, bit %d: read %q, %v", at, bit, got, err)
			}
			if inTheMiddle := at >= ends[0] && at < ends[1]; !inTheMiddle {
				continue
			}
			must(t, os.WriteFile(path, data, 0o600))
			_, _, err = openLog(path)
			if damaged, ok := errors.AsType[*durable.DamagedError](err); !ok || damaged.Frame != 1 || damaged.Offset != int64(len(format)) {
				t.Fatalf("byte %d, bit %d: opened with %v", at, bit, err)
			}
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, data) {
				t.Fatalf("byte %d, bit %d: the file has changed, %v", at, bit, err)
			}
		}
	}
}

// A payload that its reader refuses is damage.
func TestLogRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	writeLog(t, path)
	nonsense := errors.New("nonsense")
	_, _, err := durable.OpenLog(durable.OS(), path, format, func(payload []byte) error {
		if string(payload) == payloads()[1] {
			return nonsense
		}
		return nil
	})
	if damaged, ok := errors.AsType[*durable.DamagedError](err); !ok || damaged.Frame != 2 || !errors.Is(err, nonsense) {
		t.Errorf("%v", err)
	}
	if _, err := durable.CreateLog(durable.OS(), path, format); !errors.Is(err, fs.ErrExist) {
		t.Errorf("made over another: %v", err)
	}
}

// Wherever a process is killed that writes a log, what it has synced is there, and nothing that it has not written.
func TestLogKilledAnywhere(t *testing.T) {
	for call := 1; ; call++ {
		path := filepath.Join(t.TempDir(), "log")
		disk := faultfs.New()
		disk.Break(faultfs.Fault{At: call, Dead: true})
		var synced int
		err := func() error {
			l, err := durable.CreateLog(disk, path, format)
			if err != nil {
				return err
			}
			defer l.Close()
			for _, p := range payloads() {
				if err := l.Append([]byte(p)); err != nil {
					if again := l.Append([]byte(p)); again == nil {
						t.Errorf("call %d: a broken log takes more", call)
					}
					return err
				}
				synced++
			}
			return nil
		}()
		struck, dead := disk.Struck()
		if !dead {
			must(t, err)
			return
		}
		if _, statErr := os.Stat(path); errors.Is(statErr, fs.ErrNotExist) && synced == 0 {
			continue
		}
		got, _, openErr := openLog(path, "more")
		if openErr != nil || len(got) < synced || !slices.Equal(got, payloads()[:len(got)]) {
			t.Fatalf("killed at call %d (%s), %v: %d were synced, and there are %q, %v", call, struck, err, synced, got, openErr)
		}
	}
}

// Wherever a process is killed that replaces a file, the old one is there or the new one, whole.
func TestReplaceKilledAnywhere(t *testing.T) {
	for call := 1; ; call++ {
		path := filepath.Join(t.TempDir(), "report.json")
		must(t, durable.Replace(durable.OS(), path, []byte("old")))
		disk := faultfs.New()
		disk.Break(faultfs.Fault{At: call, Dead: true})
		err := durable.Replace(disk, path, []byte("new"))
		got, readErr := os.ReadFile(path)
		must(t, readErr)
		if _, dead := disk.Struck(); !dead {
			if err != nil || string(got) != "new" {
				t.Errorf("%q, %v", got, err)
			}
			return
		}
		if string(got) != "old" && string(got) != "new" {
			t.Errorf("killed at call %d: %q, %v", call, got, err)
		}
	}
}

func FuzzReadLog(f *testing.F) {
	data, _ := writeLog(f, filepath.Join(f.TempDir(), "log"))
	f.Add(data)
	f.Add(data[:len(data)-1])
	f.Fuzz(func(t *testing.T, data []byte) {
		got, readErr := readLog(data)
		path := filepath.Join(t.TempDir(), "log")
		must(t, os.WriteFile(path, data, 0o600))
		opened, cut, err := openLog(path)
		if !slices.Equal(got, opened) || (err != nil) != (readErr != nil && !errors.Is(readErr, durable.ErrTorn)) || cut > 0 != errors.Is(readErr, durable.ErrTorn) {
			t.Fatalf("read %q, %v; opened %q, %d bytes cut off, %v", got, readErr, opened, cut, err)
		}
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
