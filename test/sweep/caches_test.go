package sweep_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"etcdsweep/decode"
	"etcdsweep/plan"
	"etcdsweep/plan/caches"
	"etcdsweep/test/lab"
)

// apiserver is a watch cache that holds what etcd held at a revision, and what a test makes of that. Real ones are in test/e2e.
type apiserver struct {
	w         *world
	systemUID string
	// look is called for each look, counted from 1. It returns the revision that the cache has come to, 0 for the newest.
	look  func(n int) (revision int64, err error)
	wrong func(objects map[string]int64)

	looks map[string]int // by kind
}

func (a *apiserver) URL() string { return "https://127.0.0.1:6443" }

func (a *apiserver) NamespaceUID(context.Context, string) (string, error) { return a.systemUID, nil }

func (a *apiserver) Cached(ctx context.Context, kind schema.GroupKind, namespace string) (map[string]int64, int64, error) {
	resource, _ := decode.Lookup(kind)
	prefix := resource.NamespacePrefix("/registry", namespace)
	if a.looks == nil {
		a.looks = map[string]int{}
	}
	a.looks[kind.Kind]++
	revision, err := a.look(a.looks[kind.Kind])
	if err != nil {
		return nil, 0, err
	}
	response, err := a.w.etcd.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(revision), clientv3.WithKeysOnly())
	if err != nil {
		return nil, 0, err
	}
	if revision == 0 {
		revision = response.Header.Revision
	}
	objects := map[string]int64{}
	for _, kv := range response.Kvs {
		objects[strings.TrimPrefix(string(kv.Key), resource.NamespacePrefix("/registry", ""))] = kv.ModRevision
	}
	if a.wrong != nil && kind.Kind == "Pod" {
		a.wrong(objects)
	}
	return objects, revision, nil
}

// What watch caches can show, compared with a real etcd.
func TestCaches(t *testing.T) {
	w := start(t, lab.Config{})
	job := w.fill(20, 1)[0]
	p := w.plan(jobs(job.Namespace, job.Name))
	old, err := w.client.Revision(t.Context(), "/registry/")
	must(t, err)
	pod := w.anyKey("/registry/pods/" + job.Namespace + "/")
	_, err = w.etcd.Delete(t.Context(), pod)
	must(t, err)
	gone := strings.TrimPrefix(pod, "/registry/pods/")
	stands := strings.TrimPrefix(w.anyKey("/registry/pods/"+job.Namespace+"/"), "/registry/pods/")
	newest := func(int) (int64, error) { return 0, nil }

	tests := []struct {
		name   string
		look   func(n int) (int64, error)
		wrong  func(map[string]int64)
		want   caches.View // of the pods
		looks  int         // at the pods; 0 for many
		others string      // error of the Jobs' view
	}{
		{"equal", newest, nil, caches.View{}, 1, ""},
		{"a ghost", newest, func(o map[string]int64) { o[gone] = old }, caches.View{Ghosts: []string{gone}}, 1, ""},
		{"missing", newest, func(o map[string]int64) { delete(o, stands) }, caches.View{Missing: []string{stands}}, 1, ""},
		{"outdated", newest, func(o map[string]int64) { o[stands]-- }, caches.View{Outdated: []string{stands}}, 1, ""},
		{"behind, and catches up", func(n int) (int64, error) {
			if n < 3 {
				return old, nil
			}
			return 0, nil
		}, nil, caches.View{}, 3, ""},
		{"stands still", func(int) (int64, error) { return old, nil }, nil, caches.View{Ghosts: []string{gone}, Behind: true}, 0, ""},
		{"deleted after etcd was read", func(int) (int64, error) {
			_, err := w.etcd.Delete(t.Context(), w.anyKey("/registry/pods/"+job.Namespace+"/"))
			return 0, err
		}, nil, caches.View{}, 1, ""},
		{"refuses", func(int) (int64, error) { return 0, errors.New("forbidden") }, nil, caches.View{Error: "forbidden"}, 1, "forbidden"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := &apiserver{w: w, systemUID: p.Header.Cluster.SystemUID, look: test.look, wrong: test.wrong}
			report, err := caches.Compare(t.Context(), caches.Config{
				Plan: p, Etcd: w.client, Apiservers: []caches.Apiserver{a}, Patience: 1200 * time.Millisecond,
			})
			must(t, err)
			views := map[string]caches.View{}
			for _, v := range report.Apiservers[0].Views {
				views[v.Resource] = v
			}
			if kinds := slices.Sorted(maps.Keys(views)); !slices.Equal(kinds, []string{"Job.batch", "Pod"}) {
				t.Fatalf("compared: %v", kinds)
			}
			got := views["Pod"]
			got.Resource, got.Namespace, got.Revision, got.Objects = "", "", 0, 0
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if jobs := views["Job.batch"]; jobs.Error != test.others || len(jobs.Ghosts) > 0 {
				t.Errorf("jobs: %+v", jobs)
			}
			if n := a.looks["Pod"]; n != test.looks && !(test.looks == 0 && n > 1) {
				t.Errorf("%d looks", n)
			}
			if test.want.Equal() == report.Differs() && test.want.Error == "" {
				t.Errorf("differs: %t", report.Differs())
			}
			if (report.Unanswered() == 1) != (test.want.Error != "") {
				t.Errorf("%d unanswered", report.Unanswered())
			}
		})
	}
}

// An apiserver of another cluster shows nothing but ghosts: it is not compared at all.
func TestCachesOfAnotherCluster(t *testing.T) {
	w := start(t, lab.Config{})
	job := w.fill(3, 1)[0]
	a := &apiserver{w: w, systemUID: "another"}
	_, err := caches.Compare(t.Context(), caches.Config{
		Plan: w.plan(jobs(job.Namespace, job.Name)), Etcd: w.client, Apiservers: []caches.Apiserver{a}, Patience: time.Second,
	})
	if _, refused := errors.AsType[*plan.RefusedError](err); !refused {
		t.Errorf("%v, and no refusal", err)
	}
	if len(a.looks) > 0 {
		t.Error("its cache was looked at")
	}
}

// anyKey returns a key under a prefix.
func (w *world) anyKey(prefix string) string {
	w.t.Helper()
	response, err := w.etcd.Get(w.t.Context(), prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(1))
	must(w.t, err)
	if len(response.Kvs) == 0 {
		w.t.Fatalf("no key under %s", prefix)
	}
	return string(response.Kvs[0].Key)
}
