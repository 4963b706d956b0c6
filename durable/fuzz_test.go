package durable_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"etcdsweep/durable"
)

// Any bytes are a log, a torn one, or an error: a length that no bytes stand for takes no memory. What was whole is read again
// behind the next frame, and nothing else.
func FuzzOpenLog(f *testing.F) {
	const format = "fuzz/v1\n"
	path := filepath.Join(f.TempDir(), "log")
	log, err := durable.CreateLog(durable.OS(), path, format)
	must(f, err)
	must(f, log.Append([]byte("one")))
	must(f, log.Append(bytes.Repeat([]byte("two"), 1000)))
	must(f, log.Close())
	whole, err := os.ReadFile(path)
	must(f, err)
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add([]byte(format))
	f.Add([]byte(format + "\x0f\xff\xff\xff long, and not there"))
	f.Add(append(bytes.Clone(whole), make([]byte, 4096)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "log")
		must(t, os.WriteFile(path, data, 0o600))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		var held [][]byte
		log, cut, err := durable.OpenLog(durable.OS(), path, format, func(payload []byte) error {
			held = append(held, bytes.Clone(payload))
			return nil
		})
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 16<<20+8*uint64(len(data)) {
			t.Errorf("%d bytes took %d", len(data), took)
		}
		if err != nil {
			left, readErr := os.ReadFile(path)
			if readErr != nil || !bytes.Equal(left, data) {
				t.Fatalf("the damaged log was changed: %q, %v", left, readErr)
			}
			return
		}
		must(t, log.Append([]byte("the new one")))
		must(t, log.Close())
		left, err := os.ReadFile(path)
		must(t, err)
		if kept := len(data) - int(cut); !bytes.Equal(left[:kept], data[:kept]) {
			t.Fatalf("of %q %q is left", data, left)
		}
		held = append(held, []byte("the new one"))
		var n int
		for payload, err := range durable.ReadLog(bytes.NewReader(left), format) {
			if err != nil || n >= len(held) || !bytes.Equal(payload, held[n]) {
				t.Fatalf("frame %d is %q, %v", n+1, payload, err)
			}
			n++
		}
		if n != len(held) {
			t.Fatalf("%d frames, want %d", n, len(held))
		}
		if _, _, err := durable.OpenLog(durable.OS(), path, "other/v1\n", nil); err == nil || errors.Is(err, durable.ErrTorn) {
			t.Fatalf("of another format, and opened: %v", err)
		}
	})
}
