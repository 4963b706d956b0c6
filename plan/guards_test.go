package plan_test

import (
	"strings"
	"testing"

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
		{"with a claim", pod(func(o *decode.Object) { o.Claims = []string{"data"} }), "pvc-user"},
		{"running", pod(func(o *decode.Object) { o.Phase = "Running" }), "running-on-live-node"},
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
