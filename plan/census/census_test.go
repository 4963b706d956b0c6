package census_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"etcdsweep/etcdops"
	"etcdsweep/etcdops/snapshot"
	"etcdsweep/plan/census"
	"etcdsweep/test/fixtures"
	"etcdsweep/test/lab"
	"etcdsweep/test/lab/labtest"
)

func TestMain(m *testing.M) { os.Exit(labtest.Run(m)) }

// cluster is an etcd that is filled object by object.
type cluster struct {
	t    *testing.T
	etcd *clientv3.Client
	*etcdops.Client
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	server, err := lab.Start(t.Context(), lab.Config{Dir: t.TempDir(), NoFsync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	etcd, err := server.Client()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { etcd.Close() })
	client, _, err := etcdops.Connect(t.Context(), etcdops.Config{Endpoints: server.Endpoints(), CACert: server.CA.Path(), Cert: server.Cert, Key: server.Key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return &cluster{t, etcd, client}
}

// put stores an object as JSON. Its controller, if it has one, is given as apiVersion, kind, name and UID.
func (c *cluster) put(key, apiVersion, kind, uid string, spec map[string]any, controller ...string) {
	c.t.Helper()
	parts := strings.Split(key, "/")
	metadata := map[string]any{"name": parts[len(parts)-1], "uid": uid, "creationTimestamp": "2026-05-01T10:00:00Z"}
	if custom := strings.Contains(parts[0], "."); len(parts) == 3 && !custom || len(parts) == 4 {
		metadata["namespace"] = parts[len(parts)-2]
	}
	if len(controller) > 0 {
		metadata["ownerReferences"] = []map[string]any{{
			"apiVersion": controller[0], "kind": controller[1], "name": controller[2], "uid": controller[3], "controller": true,
		}}
	}
	value, err := json.Marshal(map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": metadata, "spec": spec})
	if err != nil {
		c.t.Fatal(err)
	}
	c.raw(key, string(value))
}

func (c *cluster) raw(key, value string) {
	c.t.Helper()
	if _, err := c.etcd.Put(c.t.Context(), "/registry/"+key, value); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) define(plural, group, kind, scope string) {
	c.t.Helper()
	c.put("apiextensions.k8s.io/customresourcedefinitions/"+plural+"."+group, "apiextensions.k8s.io/v1", "CustomResourceDefinition", "crd", map[string]any{
		"group": group, "scope": scope, "names": map[string]any{"plural": plural, "kind": kind},
	})
}

// pods makes so many pods of one controller.
func (c *cluster) pods(n int, prefix string, controller ...string) {
	c.t.Helper()
	for i := range n {
		c.put(fmt.Sprintf("pods/a/%s-%d", prefix, i), "v1", "Pod", fmt.Sprintf("%s-%d", prefix, i), nil, controller...)
	}
}

// Owners are followed up to the highest one that stands, wherever that is stored, and no further.
func TestOwners(t *testing.T) {
	c := newCluster(t)
	c.define("workflows", "argoproj.io", "Workflow", "Namespaced")
	c.define("teams", "example.com", "Team", "Cluster")
	workflow := func(name string, uid ...string) []string {
		return []string{"argoproj.io/v1", "Workflow", name, append(uid, name)[0]}
	}
	job := func(name string) []string { return []string{"batch/v1", "Job", name, name} }

	c.put("example.com/teams/t", "example.com/v1", "Team", "t", nil)
	c.put("argoproj.io/workflows/a/one", "argoproj.io/v1", "Workflow", "one", nil, "example.com/v1", "Team", "t", "t")
	c.put("argoproj.io/workflows/a/two", "argoproj.io/v1", "Workflow", "two", nil, "example.com/v1", "Team", "t", "t")
	c.pods(3, "one", workflow("one")...)
	c.pods(2, "two", workflow("two")...)

	c.put("argoproj.io/workflows/a/ring-a", "argoproj.io/v1", "Workflow", "ring-a", nil, workflow("ring-b")...)
	c.put("argoproj.io/workflows/a/ring-b", "argoproj.io/v1", "Workflow", "ring-b", nil, workflow("ring-a")...)
	c.pods(1, "ring", workflow("ring-a")...)

	c.pods(4, "absent", job("absent")...)
	c.put("jobs/a/other", "batch/v1", "Job", "another-uid", nil)
	c.pods(5, "other", job("other")...)
	c.raw("jobs/a/sealed", "k8s:enc:aescbc:v1:key1:xxxx")
	c.pods(6, "sealed", job("sealed")...)
	c.put("jobs/a/below", "batch/v1", "Job", "below", nil, "batch/v1", "CronJob", "night", "night")
	c.raw("cronjobs/a/night", "k8s:enc:aescbc:v1:key1:xxxx")
	c.pods(7, "below", job("below")...)
	c.put("jobs/a/orphan", "batch/v1", "Job", "orphan", nil, "batch/v1", "CronJob", "gone", "gone")
	c.pods(8, "orphan", job("orphan")...)
	c.pods(9, "mystery", "example.org/v9", "Mystery", "m", "m")
	c.pods(10, "nobody")
	c.raw("pods/a/unreadable", "k8s:enc:secretbox:v1:key2:xxxx")
	c.raw("pods/a/misplaced", `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"another","namespace":"a","uid":"x"}}`)

	report, err := census.Take(t.Context(), c, census.Options{Prefix: "/registry"})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, g := range report.Groups {
		words := fmt.Sprint(g.Count)
		if g.Owner != nil {
			words += " " + string(g.Owner.State)
			for kind, n := range g.Owner.Through {
				words += fmt.Sprintf(", through %d %s", n, kind)
			}
			if g.Owner.Above != nil {
				words += ", below " + g.Owner.Above.String()
			}
		}
		name := g.Name
		if strings.Contains(name, "ring") { // either of them
			name = "ring"
			words, _, _ = strings.Cut(words, ",")
		}
		got[name] = words
	}
	want := map[string]string{
		"Team t":       "5 standing, through 2 Workflow",
		"ring":         "1 standing",
		"Job a/absent": "4 gone",
		"Job a/other":  "5 gone",
		"Job a/sealed": "6 unreadable",
		"Job a/below":  "7 standing, below CronJob a/night",
		"Job a/orphan": "8 standing",
		"Mystery a/m":  "9 unknown",
		"":             "10",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	unreadable := map[string]int64{}
	for _, u := range report.Unreadable {
		unreadable[u.Class] = u.Count
	}
	if diff := cmp.Diff(map[string]int64{"encrypted (secretbox, key key2)": 1, "key and object disagree": 1}, unreadable); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if report.Total.Count != 57 {
		t.Errorf("%d objects, want 57", report.Total.Count)
	}
}

// view opens a real snapshot.
func view(t *testing.T, name fixtures.Name) *snapshot.View {
	t.Helper()
	path, err := fixtures.Unpack(name, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	v, err := snapshot.OpenView(t.Context(), path, snapshot.ViewOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

// With fewer groups in memory than there are, nothing is lost, and what is large is told apart all the same.
func TestFewGroups(t *testing.T) {
	v := view(t, fixtures.Zoo)
	take := func(most int) *census.Report {
		report, err := census.Take(t.Context(), v, census.Options{Prefix: "/registry", All: true, By: census.ByResource, MostGroups: most})
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
	all, few := take(0), take(8)
	if len(all.Groups) <= 8 || all.Folded.Groups != 0 {
		t.Fatalf("%d groups, %d folded", len(all.Groups), all.Folded.Groups)
	}
	if len(few.Groups) > 8 || few.Folded.Groups == 0 {
		t.Errorf("%d groups, %d folded", len(few.Groups), few.Folded.Groups)
	}
	for i := range 2 {
		if all.Groups[i].Name != few.Groups[i].Name || all.Groups[i].Count != few.Groups[i].Count || all.Groups[i].Bytes != few.Groups[i].Bytes {
			t.Errorf("%s: %d, want %s: %d", few.Groups[i].Name, few.Groups[i].Count, all.Groups[i].Name, all.Groups[i].Count)
		}
	}
	count, bytes, oldest := few.Folded.Count, few.Folded.Bytes, few.Folded.Oldest
	for _, g := range few.Groups {
		count, bytes = count+g.Count, bytes+g.Bytes
		if oldest.IsZero() || !g.Oldest.IsZero() && g.Oldest.Before(oldest) {
			oldest = g.Oldest
		}
	}
	if count != all.Total.Count || bytes != all.Total.Bytes || !oldest.Equal(all.Total.Oldest) {
		t.Errorf("%d objects, %d bytes, oldest %s; want %d, %d, %s", count, bytes, oldest, all.Total.Count, all.Total.Bytes, all.Total.Oldest)
	}
}

// Every dimension counts every object once.
func TestDimensionsAgree(t *testing.T) {
	v := view(t, fixtures.Incident)
	for _, name := range append(census.Dimensions(), "label=job-name") {
		by, err := census.ParseDimension(string(name))
		if err != nil {
			t.Fatal(err)
		}
		report, err := census.Take(t.Context(), v, census.Options{Prefix: "/registry", By: by})
		if err != nil {
			t.Fatal(err)
		}
		var count, terminating, born int64
		for _, g := range report.Groups {
			count, terminating, born = count+g.Count, terminating+g.Terminating, born+g.LastHour()
		}
		if count != 20129 || terminating != 20127 || born != 20129 || report.Total.Count != 20129 || len(report.Unreadable) > 0 {
			t.Errorf("%s: %d pods, %d terminating, %d born in the last hour, %d in all", by, count, terminating, born, report.Total.Count)
		}
		if newest := report.Total.Newest; !newest.Equal(time.Date(2026, 11, 23, 16, 14, 22, 0, time.UTC)) {
			t.Errorf("%s: newest %s", by, newest)
		}
	}
	for _, none := range []string{"colour", "", "label=", "Owner"} {
		if _, err := census.ParseDimension(none); err == nil {
			t.Errorf("%q is a dimension", none)
		}
	}
}
