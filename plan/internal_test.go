package plan

import (
	"fmt"
	"testing"
	"time"
)

func TestTalliesAreBounded(t *testing.T) {
	all := tallies{}
	for i := range maxTallies + 500 {
		all.add(fmt.Sprintf("node%d", i), 10)
	}
	sorted := all.sorted()
	if len(sorted) != maxTallies+1 || sorted[0].Name != Others || sorted[0].Entries != 500 || sorted[0].Bytes != 5000 {
		t.Errorf("%d tallies, first %+v; want %d and 500 others", len(sorted), sorted[0], maxTallies+1)
	}
}

func TestMedianInterval(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	every := func(n int, interval time.Duration) births {
		var b births
		for i := range n {
			b.add(start.Add(time.Duration((i*7919)%n) * interval)) // in a shuffled order: n is no multiple of 7919
		}
		return b
	}
	old := every(100, time.Hour) // long before a burst
	for i := range 2 * maxBirths {
		old.add(start.Add(1000*time.Hour + time.Duration(i)*3*time.Second))
	}
	for _, test := range []struct {
		name   string
		births births
		want   time.Duration
	}{
		{"none", births{}, 0},
		{"one", every(1, time.Second), 0},
		{"a steady producer", every(100, 20*time.Second), 20 * time.Second},
		{"more than are kept", every(5000, 2*time.Second), 2 * time.Second},
		{"many in a second", every(5000, 10*time.Millisecond), 0},
		{"only the newest count", old, 3 * time.Second},
	} {
		if got := test.births.medianInterval(); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

// A line is read by hand as encoding/json would read it, or by encoding/json itself.
func FuzzEntry(f *testing.F) {
	entry := Entry{Stage: StagePods, Key: "/registry/pods/a/b", Kind: "Pod", Group: "g", Namespace: "a", Name: "b", UID: "u", CreateRevision: 1, ModRevision: 20, Bytes: 300, Why: "because"}
	f.Add(append(entry.appendJSON(nil), '\n'))
	entry.Why, entry.Group = "é <b>\"", ""
	f.Add(append(entry.appendJSON(nil), '\n'))
	f.Add([]byte(`{"stage":"pods","key":"","kind":"","name":"","uid":"","create_revision":999999999999999999,"mod_revision":-1,"bytes":01,"why":""}` + "\n"))
	f.Add([]byte(`{"stage":"a","key":"b","kind":"c","name":"d","uid":"e","create_revision":9999999999999999999,"mod_revision":0,"bytes":0,"why":"f"} ` + "\n"))
	f.Fuzz(func(t *testing.T, line []byte) {
		var byHand, byJSON Entry
		errHand, errJSON := byHand.parse(line), decodeLine(line, &byJSON)
		if (errHand == nil) != (errJSON == nil) || errJSON == nil && byHand != byJSON {
			t.Errorf("%q: by hand %+v, %v; encoding/json %+v, %v", line, byHand, errHand, byJSON, errJSON)
		}
	})
}

// UIDs of the usual form and others are told apart, whatever they look like.
func TestUIDs(t *testing.T) {
	s := newUIDs()
	in := []string{"662a5f3d-3f0d-42d9-9bc7-403a8017c8cf", "uid-of-job", "", "662A5F3D-3F0D-42D9-9BC7-403A8017C8CE"}
	for _, uid := range in {
		s.add(uid)
	}
	if len(s.usual) != 1 || len(s.others) != 3 {
		t.Errorf("%d of the usual form, %d others; want 1, 3", len(s.usual), len(s.others))
	}
	for _, uid := range in {
		if !s.has(uid) {
			t.Errorf("%q is not in it", uid)
		}
	}
	for _, uid := range []string{"662a5f3d-3f0d-42d9-9bc7-403a8017c8ce", "662A5F3D-3F0D-42D9-9BC7-403A8017C8CF", "662a5f3d03f0d-42d9-9bc7-403a8017c8cf", "uid"} {
		if s.has(uid) {
			t.Errorf("%q is in it", uid)
		}
	}
}
