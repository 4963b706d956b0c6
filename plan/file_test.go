package plan_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"etcdsweep/plan"
)

func header() plan.Header {
	return plan.Header{
		Tool: "test", Created: noon, Prefix: "/registry", Revision: 90,
		Cluster:   plan.Identity{ClusterID: "cafe", SystemUID: "system-uid"},
		Selection: plan.Selection{Namespaces: []string{"batch"}, Terminating: true},
	}
}

func entries(pods int) []plan.Entry {
	all := []plan.Entry{{
		Stage: plan.StageRoots, Key: "/registry/jobs/batch/import", Kind: "Job", Group: "batch", Namespace: "batch", Name: "import",
		UID: "job-uid", CreateRevision: 5, ModRevision: 80, Bytes: 900, Why: "planned owner",
	}}
	for i := range pods {
		name := fmt.Sprintf("import-%05d", i)
		all = append(all, plan.Entry{
			Stage: plan.StagePods, Key: "/registry/pods/batch/" + name, Kind: "Pod", Namespace: "batch", Name: name,
			UID: "uid-" + name, CreateRevision: int64(10 + i), ModRevision: int64(20 + i), Bytes: 1700, Why: "controlled by Job batch/import",
		})
	}
	return all
}

// write returns the bytes of a plan.
func write(t testing.TB, entries []plan.Entry) (data []byte, id string, trailer plan.Trailer) {
	t.Helper()
	var out bytes.Buffer
	w, err := plan.NewWriter(&out, header())
	if err != nil {
		t.Fatal(err)
	}
	for i := range entries {
		if err := w.Write(&entries[i]); err != nil {
			t.Fatal(err)
		}
		if entries[i].Stage == plan.StageCollateral {
			trailer.Collateral++
			continue
		}
		trailer.Entries++
		trailer.Bytes += int64(entries[i].Bytes)
	}
	if id, err = w.Finish(trailer); err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), id, trailer
}

// open writes the bytes to a file and opens it.
func open(t testing.TB, data []byte) (*plan.File, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "p.plan")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return plan.Open(path)
}

func TestRoundTrip(t *testing.T) {
	want := entries(3)
	data, id, trailer := write(t, want)
	p, err := open(t, data)
	if err != nil {
		t.Fatal(err)
	}
	if p.ID != id || len(id) != plan.IDLength {
		t.Errorf("ID %q, the writer said %q", p.ID, id)
	}
	wantHeader := header()
	wantHeader.Format = plan.Format
	if diff := cmp.Diff(wantHeader, p.Header); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(trailer, p.Trailer); diff != "" {
		t.Error(diff)
	}
	for _, stage := range []struct {
		name string
		want []plan.Entry
	}{{"", want}, {plan.StageRoots, want[:1]}, {plan.StagePods, want[1:]}} {
		var got []plan.Entry
		for e, err := range p.Entries(stage.name) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, e)
		}
		if diff := cmp.Diff(stage.want, got); diff != "" {
			t.Errorf("stage %q: %s", stage.name, diff)
		}
	}
}

// Roots stand in the order in which they go. What goes with them may stand anywhere below, and is no entry.
func TestRootsAndCollateral(t *testing.T) {
	lines := entries(3)
	cronJob := plan.Entry{
		Stage: plan.StageRoots, Key: "/registry/zz/batch/tick", Kind: "CronJob", Group: "batch", Namespace: "batch", Name: "tick",
		UID: "cron-uid", CreateRevision: 4, ModRevision: 70, Bytes: 500, Why: "controls a planned owner",
	}
	claim := plan.Entry{
		Stage: plan.StageCollateral, Key: "/registry/persistentvolumeclaims/batch/data", Kind: "PersistentVolumeClaim", Namespace: "batch", Name: "data",
		UID: "claim-uid", CreateRevision: 6, ModRevision: 6, Bytes: 300, Why: "owned by Job batch/import",
	}
	lease := claim
	lease.Key, lease.Kind, lease.Namespace, lease.Name = "/registry/leases/kube-system/a", "Lease", "kube-system", "a"
	want := []plan.Entry{cronJob, lines[0], lines[1], lines[2], lines[3]}
	data, _, trailer := write(t, []plan.Entry{cronJob, lines[0], claim, lines[1], lease, lines[2], lines[3], claim})
	p, err := open(t, data)
	if err != nil {
		t.Fatal(err)
	}
	if p.Trailer.Entries != 5 || p.Trailer.Collateral != 3 || p.Trailer.Bytes != trailer.Bytes {
		t.Errorf("%+v, want 5 entries and 3 lines of collateral", p.Trailer)
	}
	for _, test := range []struct {
		name string
		got  iter.Seq2[plan.Entry, error]
		want []plan.Entry
	}{
		{"entries", p.Entries(""), want},
		{"roots", p.Entries(plan.StageRoots), want[:2]},
		{"pods", p.Entries(plan.StagePods), want[2:]},
		{"collateral", p.Collateral(), []plan.Entry{claim, lease, claim}},
	} {
		var got []plan.Entry
		for e, err := range test.got {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, e)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}

	for _, test := range []struct {
		name  string
		lines []plan.Entry
		want  string
	}{
		{"a root twice", []plan.Entry{lines[0], cronJob, lines[0]}, "twice"},
		{"a root below a pod", []plan.Entry{lines[0], lines[1], cronJob}, "a root stands below"},
		{"a root below collateral", []plan.Entry{lines[0], claim, cronJob}, "a root stands below"},
		{"pods out of order around collateral", []plan.Entry{lines[0], lines[2], claim, lines[1]}, "does not follow"},
		{"collateral under another name", []plan.Entry{lines[0], func() plan.Entry { c := claim; c.Name = "other"; return c }()}, "is not one of"},
		{"a Node", []plan.Entry{{
			Stage: plan.StageRoots, Key: "/registry/minions/node7", Kind: "Node", Name: "node7", UID: "node-uid", CreateRevision: 1, ModRevision: 1,
		}}, "is never deleted"},
	} {
		data, _, _ := write(t, test.lines)
		if _, err := open(t, data); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
	var out bytes.Buffer
	w, err := plan.NewWriter(&out, header())
	if err == nil {
		_, err = w.Finish(plan.Trailer{Collateral: 1})
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, out.Bytes()); err == nil || !strings.Contains(err.Error(), "collateral") {
		t.Errorf("a line of collateral is missing: %v", err)
	}
}

// The lines that the writer makes by hand are those of encoding/json.
func TestEntriesAreJSON(t *testing.T) {
	strange := entries(1)
	strange[1].Why = "quote \" backslash \\ tag <b> & newline \n tab \t del \x7f é   \xff"
	strange[0].Namespace, strange[0].Group, strange[0].Name = "", "", "import"
	strange[0].Key = "/registry/jobs/import"
	data, _, _ := write(t, strange)
	lines := bytes.Split(data, []byte("\n"))
	for i := range strange {
		want, err := json.Marshal(strange[i])
		if err != nil {
			t.Fatal(err)
		}
		if got := lines[i+1]; !bytes.Equal(got, want) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestRefused(t *testing.T) {
	whole, _, _ := write(t, entries(20))
	edit := func(old, new string) []byte {
		edited := bytes.Replace(whole, []byte(old), []byte(new), 1)
		if bytes.Equal(edited, whole) {
			t.Fatalf("%q is not in the plan", old)
		}
		return edited
	}
	lines := bytes.SplitAfter(whole, []byte("\n"))
	without := func(i int) []byte { return bytes.Join(append(append([][]byte{}, lines[:i]...), lines[i+1:]...), nil) }
	for _, test := range []struct {
		name string
		data []byte
		line int
		want string
	}{
		{"empty", nil, 1, "not a plan"},
		{"no plan at all", []byte("apiVersion: v1\nkind: Pod\n"), 1, "not a plan"},
		{"a later version", edit("etcdsweep.plan/v1", "etcdsweep.plan/v2"), 1, `"etcdsweep.plan/v2"`},
		{"cut off behind the header", lines[0], 2, "cut off"},
		{"cut off between two lines", bytes.Join(lines[:10], nil), 11, "cut off"},
		{"cut off within a line", whole[:len(whole)/2], 0, "cut off"},
		{"cut off before the last newline", whole[:len(whole)-1], 23, "cut off"},
		{"an entry taken out", without(7), 22, "edited"},
		{"an entry put in", bytes.Join([][]byte{bytes.Join(lines[:4], nil), bytes.Replace(lines[4], []byte("00002"), []byte("000020"), -1), bytes.Join(lines[4:], nil)}, nil), 6, "does not follow"},
		{"two entries swapped", bytes.Join([][]byte{lines[0], lines[1], lines[3], lines[2], bytes.Join(lines[4:], nil)}, nil), 4, "does not follow"},
		{"a revision changed", edit(`"mod_revision":25`, `"mod_revision":26`), 23, "edited"},
		{"another key than its name", edit(`/registry/pods/batch/import-00003"`, `/registry/pods/batch/import-000031"`), 6, "is not one of Pod batch/import-00003"},
		{"a field that nobody knows", edit(`"why":`, `"force":true,"why":`), 2, "unknown field"},
		{"a stage that nobody knows", edit(`"stage":"roots"`, `"stage":"rooms"`), 2, "unknown stage"},
		{"the trailer changed", edit(`"entries":21`, `"entries":20`), 23, "edited"},
		{"the header changed", edit(`"revision":90`, `"revision":10`), 23, "edited"},
		{"something behind the trailer", append(bytes.Clone(whole), "{}\n"...), 24, "follows the trailer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := open(t, test.data)
			refusal, ok := errors.AsType[*plan.FileError](err)
			if !ok || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("%v, want a FileError with %q", err, test.want)
			}
			if test.line > 0 && refusal.Line != test.line {
				t.Errorf("line %d, want %d: %v", refusal.Line, test.line, err)
			}
			if refusal.Hint() == "" {
				t.Error("no hint")
			}
		})
	}
}

// No byte of a plan can be changed without being noticed.
func TestEveryByteCounts(t *testing.T) {
	whole, id, _ := write(t, entries(3))
	for at := range whole {
		edited := bytes.Clone(whole)
		edited[at] ^= 1
		if p, err := open(t, edited); err == nil && p.ID == id {
			t.Fatalf("byte %d (%q) was changed, and the plan has the same ID", at, whole[at])
		}
	}
}

// A plan that changes after it was opened does not pass for the one that was.
func TestChangedSinceItWasOpened(t *testing.T) {
	data, _, _ := write(t, entries(3))
	p, err := open(t, data)
	if err != nil {
		t.Fatal(err)
	}
	other, _, _ := write(t, entries(4))
	if err := os.WriteFile(p.Path(), other, 0o600); err != nil {
		t.Fatal(err)
	}
	var last error
	for _, err := range p.Entries("") {
		last = err
	}
	if last == nil || !strings.Contains(last.Error(), p.ID) {
		t.Errorf("%v, want an error that names the ID", last)
	}
}

func FuzzRead(f *testing.F) {
	whole, _, _ := write(f, entries(2))
	f.Add(whole)
	f.Add(whole[:len(whole)-80])
	f.Add([]byte(`{"format":"etcdsweep.plan/v1"}` + "\n" + `{"entries":0,"bytes":0,"summary":{},"sha256":""}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var seen, collateral int64
		_, trailer, id, err := plan.Read(bytes.NewReader(data), func(e *plan.Entry) bool {
			if e.Stage == plan.StageCollateral {
				collateral++
			} else {
				seen++
			}
			return true
		})
		if err == nil && (trailer.Entries != seen || trailer.Collateral != collateral || len(id) != plan.IDLength) {
			t.Errorf("%d entries, %d lines of collateral; the trailer says %d, %d; ID %q", seen, collateral, trailer.Entries, trailer.Collateral, id)
		}
	})
}
