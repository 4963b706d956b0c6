package apply_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"etcdsweep/plan"
	"etcdsweep/plan/apply"
	"etcdsweep/plan/run"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// planFile is a plan made at noon at revision 100, without entries.
func planFile(t *testing.T) *plan.File {
	t.Helper()
	var out bytes.Buffer
	w, err := plan.NewWriter(&out, plan.Header{
		Created: noon, Prefix: "/registry", Revision: 100,
		Cluster: plan.Identity{ClusterID: "cafe", SystemUID: "uid-1"},
	})
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

func TestCheck(t *testing.T) {
	p := planFile(t)
	down := errors.New("connection refused")
	member := func(change func(*run.Member)) func(*run.Facts) {
		return func(f *run.Facts) { change(&f.Members[1]) }
	}
	for _, test := range []struct {
		name   string
		change func(*run.Facts)
		allow  []string
		again  bool // the plan was applied before
		age    time.Duration
		want   []string // a piece of each refusal
	}{
		{name: "a healthy cluster", change: func(*run.Facts) {}},
		{name: "another cluster", change: func(f *run.Facts) { f.Identity.SystemUID = "uid-2" }, want: []string{"for another cluster"}},
		{name: "the same members, built anew", change: func(f *run.Facts) { f.Identity.ClusterID = "beef" }, want: []string{"for another cluster"}},
		{name: "restored from a backup", change: func(f *run.Facts) { f.Revision = 99 }, want: []string{"restored from a backup"}},
		{name: "at the plan's own revision", change: func(f *run.Facts) { f.Revision = 100 }},
		{name: "almost too old", change: func(*run.Facts) {}, age: time.Hour},
		{name: "too old", change: func(*run.Facts) {}, age: time.Hour + time.Minute, want: []string{"1h1m0s old"}},
		{name: "too old, but begun in time", change: func(*run.Facts) {}, age: 5 * time.Hour, again: true},
		{name: "from the future", change: func(*run.Facts) {}, age: -time.Hour, want: []string{"in the future"}},
		{name: "no quorum", change: func(f *run.Facts) { f.Quorum = down }, want: []string{"no quorum: connection refused"}},
		{name: "a member down", change: member(func(m *run.Member) { m.Err = down }), want: []string{"member m2 does not answer"}},
		{name: "a member down, accepted", change: member(func(m *run.Member) { m.Err = down }), allow: []string{run.AllowDegraded}},
		{name: "a learner down", change: member(func(m *run.Member) { m.Err, m.Learner = down, true })},
		{name: "CORRUPT", change: func(f *run.Facts) { f.Alarms = []run.Alarm{{Member: "m1", Kind: "CORRUPT"}} }, want: []string{"alarm CORRUPT"}},
		{name: "an alarm of tomorrow", change: func(f *run.Facts) { f.Alarms = []run.Alarm{{Member: "m1", Kind: "8"}} }, want: []string{"alarm 8"}},
		{name: "NOSPACE on a server that lets deletes pass", change: func(f *run.Facts) { f.Alarms = []run.Alarm{{Member: "m1", Kind: "NOSPACE"}} }},
		{
			name: "NOSPACE on one that does not",
			change: func(f *run.Facts) {
				f.Alarms = []run.Alarm{{Member: "m1", Kind: "NOSPACE"}}
				f.Members[1].Version = "3.5.4"
			},
			want: []string{"etcd 3.5.4 of member m2 then refuses every transaction"},
		},
		{
			name: "all at once",
			change: func(f *run.Facts) {
				f.Identity.SystemUID = "uid-2"
				f.Members[1].Err = down
				f.Alarms = []run.Alarm{{Member: "m1", Kind: "CORRUPT"}}
			},
			age:  2 * time.Hour,
			want: []string{"for another cluster", "member m2", "CORRUPT", "2h0m0s old"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			facts := run.Facts{
				Identity: p.Header.Cluster,
				Revision: 120,
				Members:  []run.Member{{Name: "m1", Version: "3.5.21"}, {Name: "m2", Version: "3.5.21"}, {Name: "m3", Version: "3.5.21"}},
			}
			test.change(&facts)
			refusals := apply.Check(p, facts, test.allow, !test.again, noon.Add(test.age))
			if len(refusals) != len(test.want) {
				t.Fatalf("%d refusals, want %d: %v", len(refusals), len(test.want), refusals)
			}
			for i, want := range test.want {
				if !strings.Contains(refusals[i].Error(), want) || refusals[i].Hint() == "" {
					t.Errorf("refusal %q (hint %q), want one with %q", refusals[i], refusals[i].Hint(), want)
				}
			}
		})
	}
}

// Which servers let deletes pass under the alarm NOSPACE.
func TestNoSpaceVersions(t *testing.T) {
	p := planFile(t)
	for version, passes := range map[string]bool{
		"3.3.27": false, "3.4.19": false, "3.4.20": true, "3.4.42": true, "3.5.0": false, "3.5.6": false, "3.5.7": true,
		"3.5.10": true, "3.6.0": true, "3.6.0-rc.1": false, "3.7.3": true, "4.0.0": true, "": true,
	} {
		facts := run.Facts{
			Identity: p.Header.Cluster, Revision: 120,
			Members: []run.Member{{Name: "m1", Version: version}},
			Alarms:  []run.Alarm{{Member: "m1", Kind: "NOSPACE"}},
		}
		if refusals := apply.Check(p, facts, nil, true, noon); (len(refusals) == 0) != passes {
			t.Errorf("etcd %q: %v, want passes %v", version, refusals, passes)
		}
	}
}

// A rehearsal is refused, even by a cluster that it would fit.
func TestCheckRefusesARehearsal(t *testing.T) {
	p := planFile(t)
	p.Header.Rehearsal = &plan.Rehearsal{File: "etcd.db"}
	facts := run.Facts{Identity: p.Header.Cluster, Revision: p.Header.Revision}
	refusals := apply.Check(p, facts, nil, true, noon)
	if len(refusals) != 1 || !strings.Contains(refusals[0].Reason, "made from etcd.db") {
		t.Errorf("%v", refusals)
	}
}
