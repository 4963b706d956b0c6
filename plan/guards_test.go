package plan_test

import (
	"context"
	"iter"
	"strings"
	"testing"
	"time"

	"etcdsweep/decode"
	"etcdsweep/plan"
)

func TestGuards(t *testing.T) {
	for _, test := range []struct {
		name   string
		object decode.Object
		want   string // the guard that objects; "" for none
	}{
		{"a runaway pod", pod(), ""},
		{"its Job still tracks it", pod(func(o *decode.Object) { o.Finalizers = []string{"batch.kubernetes.io/job-tracking"} }), ""},
		{"in kube-system", pod(func(o *decode.Object) { o.Namespace = "kube-system" }), "protected-namespace"},
		{"in kube-public", pod(func(o *decode.Object) { o.Namespace = "kube-public" }), "protected-namespace"},
		{"in kube-node-lease", pod(func(o *decode.Object) { o.Namespace = "kube-node-lease" }), "protected-namespace"},
		{"a mirror", pod(func(o *decode.Object) { o.Mirror = true }), "mirror-pod"},
		{"of a DaemonSet", pod(owner(func(r *decode.OwnerReference) { r.APIVersion, r.Kind = "apps/v1", "DaemonSet" })), "daemonset-pod"},
		{"of a StatefulSet", pod(owner(func(r *decode.OwnerReference) { r.APIVersion, r.Kind = "apps/v1", "StatefulSet" })), "statefulset-pod"},
		{"of another group's StatefulSet", pod(owner(func(r *decode.OwnerReference) { r.APIVersion, r.Kind = "apps.example.com/v1", "StatefulSet" })), ""},
		{"a claim itself", decode.Object{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: "batch", Name: "data"}, "data-loss"},
		{"a claim of another group", decode.Object{APIVersion: "example.com/v1", Kind: "PersistentVolumeClaim", Namespace: "batch", Name: "data"}, ""},
		{"with a claim", pod(func(o *decode.Object) { o.Claims = []string{"data"} }), "pvc-user"},
		{"running", pod(func(o *decode.Object) { o.Phase = "Running" }), "running-on-live-node"},
		{"running nowhere", pod(func(o *decode.Object) { o.Phase, o.NodeName = "Running", "" }), ""},
		{"with a foreign finalizer", pod(func(o *decode.Object) {
			o.Finalizers = []string{"batch.kubernetes.io/job-tracking", "example.com/hold"}
		}), "finalizer=example.com/hold"},
	} {
		t.Run(test.name, func(t *testing.T) {
			guards, err := plan.NewGuards(nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, why := guards.Objection(&test.object); got != test.want || (why == "") != (test.want == "") {
				t.Errorf("objection %q (%s), want %q", got, why, test.want)
			}
			if test.want == "" {
				return
			}
			lifted, err := plan.NewGuards([]string{test.want})
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := lifted.Objection(&test.object); got != "" {
				t.Errorf("lifted by its name, and still objects as %q", got)
			}
		})
	}
}

// A running pod is kept out unless its node is known to be dead.
func TestRunningPods(t *testing.T) {
	guards, err := plan.NewGuards(nil)
	if err != nil {
		t.Fatal(err)
	}
	known := guards.With(nodes(t, map[string]bool{"node2": true, "node7": false}))
	running := func(node string) decode.Object {
		return pod(func(o *decode.Object) { o.Phase, o.NodeName = "Running", node })
	}
	for _, test := range []struct {
		name   string
		guards plan.Guards
		object decode.Object
		want   string
	}{
		{"on a live node", known, running("node2"), "running-on-live-node"},
		{"on a dead node", known, running("node7"), ""},
		{"on a node that nobody knows", known, running("node9"), "running-on-live-node"},
		{"on a dead node, before it was measured", guards, running("node7"), "running-on-live-node"},
		{"pending on a live node", known, pod(func(o *decode.Object) { o.NodeName = "node2" }), ""},
	} {
		if got, _ := test.guards.Objection(&test.object); got != test.want {
			t.Errorf("%s: objection %q, want %q", test.name, got, test.want)
		}
	}
}

// beat is a cluster in which the leases of live nodes move between any two reads.
type beat struct {
	live  map[string]bool
	reads int64
}

func (b *beat) ScanKeys(_ context.Context, prefix string) iter.Seq2[decode.Record, error] {
	return func(yield func(decode.Record, error) bool) {
		b.reads++
		for name, live := range b.live {
			record := decode.Record{Key: prefix + name, ModRevision: 1}
			if live {
				record.ModRevision += b.reads
			}
			if !strings.HasSuffix(prefix, "/leases/kube-node-lease/") || !yield(record, nil) {
				return
			}
		}
	}
}

// nodes returns what two looks at such a cluster tell of its nodes.
func nodes(t *testing.T, live map[string]bool) plan.Nodes {
	t.Helper()
	watch, err := plan.WatchNodes(t.Context(), &beat{live: live}, "/registry")
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := watch.Finish(t.Context(), time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	return nodes
}

// Lifting one guard lifts no other.
func TestLiftingOneOfTwo(t *testing.T) {
	guards, err := plan.NewGuards([]string{"mirror-pod", "finalizer=a"})
	if err != nil {
		t.Fatal(err)
	}
	o := pod(func(o *decode.Object) { o.Mirror, o.Finalizers = true, []string{"a", "b"} })
	if got, _ := guards.Objection(&o); got != "finalizer=b" {
		t.Errorf("objection %q, want finalizer=b", got)
	}
}

func TestRootObjection(t *testing.T) {
	for finalizer, want := range map[string]string{
		"foregroundDeletion": "",
		"orphan":             "finalizer=orphan",
		"example.com/hold":   "finalizer=example.com/hold",
	} {
		guards, err := plan.NewGuards(nil)
		if err != nil {
			t.Fatal(err)
		}
		job := decode.Object{APIVersion: "batch/v1", Kind: "Job", Namespace: "batch", Name: "import", Finalizers: []string{finalizer}}
		if got, _ := guards.RootObjection(&job); got != want {
			t.Errorf("%s: objection %q, want %q", finalizer, got, want)
		}
		lifted, err := plan.NewGuards([]string{"finalizer=orphan"})
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := lifted.RootObjection(&job); got != want {
			t.Errorf("%s: objection %q, want %q, which nothing lifts", finalizer, got, want)
		}
		if job.Finalizers[0] != finalizer {
			t.Errorf("%s: the object was changed: %v", finalizer, job.Finalizers)
		}
	}
}

func TestUnknownGuard(t *testing.T) {
	for _, name := range []string{"pvc-users", "finalizer=", ""} {
		if _, err := plan.NewGuards([]string{name}); err == nil || !strings.Contains(err.Error(), "pvc-user") {
			t.Errorf("%q: %v, want an error that names the guards", name, err)
		}
	}
}
