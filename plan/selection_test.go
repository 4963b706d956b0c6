package plan_test

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"etcdsweep/decode"
	"etcdsweep/plan"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// pod is a pod of Job batch/import that every selection below meets, unless it was changed.
func pod(change ...func(*decode.Object)) decode.Object {
	o := decode.Object{
		APIVersion: "v1", Kind: "Pod",
		Namespace: "batch", Name: "import-x7k2p", UID: "pod-uid",
		Created: noon.Add(-2 * time.Hour), Deleted: noon.Add(-time.Hour),
		Labels:   decode.Labels{{Key: "app", Value: "import"}},
		Owners:   []decode.OwnerReference{{APIVersion: "batch/v1", Kind: "Job", Name: "import", UID: "job-uid", Controller: true}},
		NodeName: "node7", Phase: "Pending",
	}
	for _, c := range change {
		c(&o)
	}
	return o
}

func owner(change ...func(*decode.OwnerReference)) func(*decode.Object) {
	return func(o *decode.Object) {
		ref := o.Owners[0]
		for _, c := range change {
			c(&ref)
		}
		o.Owners = []decode.OwnerReference{ref}
	}
}

func TestMatcher(t *testing.T) {
	job := plan.Owner{Kind: "Job", Group: "batch", Namespace: "batch", Name: "import", UIDs: []string{"job-uid"}}
	all := plan.Selection{
		Namespaces: []string{"batch"}, Owners: []plan.Owner{job}, Selector: "app in (import,export)",
		Phases: []string{"Pending", "Failed"}, Nodes: []string{"node7"}, CreatedBefore: noon.Add(-time.Hour), Terminating: true,
	}
	absent := plan.Selection{Namespaces: []string{"batch"}, Owners: []plan.Owner{{Kind: "Job", Group: "batch", Namespace: "batch", Name: "import", Absent: true}}}
	for _, test := range []struct {
		name      string
		selection plan.Selection
		object    decode.Object
		want      bool
	}{
		{"meets all", all, pod(), true},
		{"another namespace", all, pod(func(o *decode.Object) { o.Namespace = "batch-2" }), false},
		{"another phase", all, pod(func(o *decode.Object) { o.Phase = "Running" }), false},
		{"another node", all, pod(func(o *decode.Object) { o.NodeName = "node70" }), false},
		{"too young", all, pod(func(o *decode.Object) { o.Created = noon }), false},
		{"not terminating", all, pod(func(o *decode.Object) { o.Deleted = time.Time{} }), false},
		{"another label", all, pod(func(o *decode.Object) { o.Labels[0].Value = "web" }), false},
		{"no label", all, pod(func(o *decode.Object) { o.Labels = nil }), false},
		{"no owner", all, pod(func(o *decode.Object) { o.Owners = nil }), false},
		{"owner that does not control", all, pod(owner(func(r *decode.OwnerReference) { r.Controller = false })), false},
		{"Job of that name, made again", all, pod(owner(func(r *decode.OwnerReference) { r.UID = "other" })), false},
		{"look-alike name", all, pod(owner(func(r *decode.OwnerReference) { r.Name = "import-2" })), false},
		{"another kind", all, pod(owner(func(r *decode.OwnerReference) { r.Kind = "CronJob" })), false},
		{"another group", all, pod(owner(func(r *decode.OwnerReference) { r.APIVersion = "batch.example.com/v1" })), false},
		{"another version of the group", all, pod(owner(func(r *decode.OwnerReference) { r.APIVersion = "batch/v2" })), true},
		{"absent owner, by name whatever the UID", absent, pod(owner(func(r *decode.OwnerReference) { r.UID = "other" })), true},
		{"absent owner, look-alike name", absent, pod(owner(func(r *decode.OwnerReference) { r.Name = "import-2" })), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			matches, err := test.selection.Matcher()
			if err != nil {
				t.Fatal(err)
			}
			if _, got := matches(&test.object); got != test.want {
				t.Errorf("selected %v, want %v", got, test.want)
			}
		})
	}
}

func TestMatcherRefusesABadSelector(t *testing.T) {
	s := plan.Selection{Selector: "app in ("}
	if _, err := s.Matcher(); err == nil || !strings.Contains(err.Error(), "app in (") {
		t.Errorf("%v, want an error that quotes the selector", err)
	}
}

func TestQueryValidate(t *testing.T) {
	job := plan.OwnerName{GroupKind: schema.GroupKind{Group: "batch", Kind: "Job"}, Namespace: "batch", Name: "import"}
	for _, test := range []struct {
		name  string
		query plan.Query
		want  string // in the error; "" for none
	}{
		{"an owner", plan.Query{Owners: []plan.OwnerName{job}}, ""},
		{"a node in a namespace", plan.Query{Namespaces: []string{"batch"}, Nodes: []string{"node7"}}, ""},
		{"nothing", plan.Query{}, "the selection is empty"},
		{"a namespace alone", plan.Query{Namespaces: []string{"batch"}}, "the selection is empty"},
		{"a limit alone", plan.Query{Namespaces: []string{"batch"}, Limit: 5}, "the selection is empty"},
		{"a selector that selects everything", plan.Query{Namespaces: []string{"batch"}, Selector: labels.Everything()}, "the selection is empty"},
		{"no namespace", plan.Query{Terminating: true}, "names no namespace"},
		{"an unknown phase", plan.Query{Namespaces: []string{"batch"}, Phases: []string{"pending"}}, `phase "pending"`},
		{"an owner without a name", plan.Query{Owners: []plan.OwnerName{{Namespace: "batch"}}}, "no kind or no name"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.query.Validate()
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}
