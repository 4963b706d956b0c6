package etcdops

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
)

// FuzzWindow checks that a window always leads on, and never behind the end: whatever it guesses, a scan reads each key once, and ends.
func FuzzWindow(f *testing.F) {
	f.Add([]byte("/a/runaway-22222"), []byte("/a/runaway-9zzzz"), "/a/runaway-9zzzz\x00", "/a0", 3000, int64(3000))
	f.Add([]byte("/a/x"), []byte("/a/x"), "/a/x\x00", "/a0", 1, int64(1))
	f.Add([]byte("/a/x"), []byte("/a/x\x00\x00"), "/a/x\x00\x00\x00", "/a0", 2, int64(7))
	f.Add([]byte("\xff\xff"), []byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), "\xff\xff\xff", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 50, int64(20_000))
	f.Fuzz(func(t *testing.T, first, last []byte, next, end string, keys int, limit int64) {
		if bytes.Compare(first, last) > 0 || next >= end || keys < 1 || limit < 1 || limit > 1<<32 || len(next) == 0 {
			t.Skip()
		}
		for w, at, step := newWindow(first, last, keys, limit), next, 0; ; w, step = w.scaled(0, limit), step+1 {
			bound := w.from(at, end)
			if bound <= at || bound > end {
				t.Fatalf("from %q to %q, want it before %q", at, bound, end)
			}
			if bound == end {
				break
			}
			if at = bound; step > 4*(len(first)+len(last)+len(end)+windowFine) {
				t.Fatalf("%d empty windows, and not at the end", step)
			}
		}
	})
}

// Of keys that are spread as names are, windows have about as many as they are made for: a few have more, where no key begins with
// what lies between digits and letters.
func TestWindowHolds(t *testing.T) {
	const letters = "bcdfghjklmnpqrstvwxz2456789" // k8s.io/apimachinery pkg/util/rand
	var keys [][]byte
	for i := range len(letters) * len(letters) * len(letters) {
		keys = append(keys, fmt.Appendf(nil, "/registry/pods/a/runaway-%c%c%cxx", letters[i%27], letters[i/27%27], letters[i/729]))
	}
	slices.SortFunc(keys, bytes.Compare)
	const limit = 500
	windows, held := 0, 0
	for from := 0; from+2*limit < len(keys); from += limit {
		page := keys[from : from+limit]
		next := string(page[limit-1]) + "\x00"
		bound := newWindow(page[0], page[limit-1], limit, limit).from(next, "/registry/pods/a0")
		windows++
		for _, key := range keys[from+limit:] {
			if string(key) < bound {
				held++
			}
		}
	}
	if mean := held / windows; mean < limit/2 || mean > 2*windowPages*limit {
		t.Errorf("%d keys in a window, want about %d", mean, windowPages*limit)
	}
}
