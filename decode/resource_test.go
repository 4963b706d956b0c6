package decode_test

import (
	"errors"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"etcdsweep/decode"
	"etcdsweep/test/fixtures"
)

var (
	pods  = decode.Pods()
	nodes = decode.Resource{GroupKind: schema.GroupKind{Kind: "Node"}, Path: "minions"}
	scans = decode.Resource{GroupKind: schema.GroupKind{Group: "policy.example.com", Kind: "Scan"}, Path: "policy.example.com/scans"}
)

func TestResourceKeys(t *testing.T) {
	tests := []struct{ got, want string }{
		{pods.Key("/registry", "batch", "a"), "/registry/pods/batch/a"},
		{pods.Key("/other/prefix", "batch", "a"), "/other/prefix/pods/batch/a"},
		{pods.Key("/registry", "", "a"), "/registry/pods//a"},
		{nodes.Key("/registry", "", "node7"), "/registry/minions/node7"},
		{nodes.Key("/registry", "ignored", "node7"), "/registry/minions/node7"},
		{scans.Key("/registry", "", "doomed"), "/registry/policy.example.com/scans/doomed"},
		{pods.NamespacePrefix("/registry", "batch"), "/registry/pods/batch/"},
		{pods.NamespacePrefix("/registry", ""), "/registry/pods/"},
		{nodes.NamespacePrefix("/registry", ""), "/registry/minions/"},
		{nodes.NamespacePrefix("/registry", "ignored"), "/registry/minions/"},
	}
	for _, test := range tests {
		if test.got != test.want {
			t.Errorf("got %s, want %s", test.got, test.want)
		}
	}
}

func TestResourceParse(t *testing.T) {
	tests := []struct {
		resource        decode.Resource
		key             string
		namespace, name string
		ok              bool
	}{
		{pods, "/registry/pods/batch/a", "batch", "a", true},
		{pods, "/registry/pods/batch/system:a.b_c%20d", "batch", "system:a.b_c%20d", true},
		{pods, "/registry/pods/batch/a/b", "", "", false},
		{pods, "/registry/pods/batch/a/", "", "", false},
		{pods, "/registry/pods/batch/", "", "", false},
		{pods, "/registry/pods/batch", "", "", false},
		{pods, "/registry/pods//a", "", "", false},
		{pods, "/registry/pods//", "", "", false},
		{pods, "/registry/pods/", "", "", false},
		{pods, "/registry/pods", "", "", false},
		{pods, "/registry/podsecuritypolicy/batch/a", "", "", false},
		{pods, "/registry//pods/batch/a", "", "", false},
		{pods, "/registry2/pods/batch/a", "", "", false},
		{pods, "registry/pods/batch/a", "", "", false},
		{pods, "", "", "", false},
		{nodes, "/registry/minions/node7", "", "node7", true},
		{nodes, "/registry/minions/x/node7", "", "", false},
		{nodes, "/registry/minions/", "", "", false},
		{scans, "/registry/policy.example.com/scans/doomed", "", "doomed", true},
		{scans, "/registry/policy.example.com/scans/doomed/a", "", "", false},
	}
	for _, test := range tests {
		namespace, name, err := test.resource.Parse("/registry", test.key)
		if namespace != test.namespace || name != test.name || (err == nil) != test.ok {
			t.Errorf("%s: got %q, %q, %v", test.key, namespace, name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("/registry", "/registry/pods/batch/a")
	f.Add("/registry", "/registry/minions/node7")
	f.Add("", "/pods//")
	f.Fuzz(func(t *testing.T, prefix, key string) {
		for _, resource := range []decode.Resource{pods, nodes, scans} {
			namespace, name, err := resource.Parse(prefix, key)
			if err != nil {
				if namespace != "" || name != "" {
					t.Errorf("%q: %q and %q beside an error", key, namespace, name)
				}
				continue
			}
			if got := resource.Key(prefix, namespace, name); got != key {
				t.Errorf("%q parses, and is made again as %q", key, got)
			}
			if !strings.HasPrefix(key, resource.NamespacePrefix(prefix, namespace)) {
				t.Errorf("%q is not under its namespace", key)
			}
			if name == "" || strings.Contains(name, "/") || strings.Contains(namespace, "/") || resource.Namespaced != (namespace != "") {
				t.Errorf("%q: namespace %q, name %q", key, namespace, name)
			}
		}
	})
}

func TestResourceCheck(t *testing.T) {
	deployments, ok := decode.Lookup(schema.GroupKind{Group: "apps", Kind: "Deployment"})
	if !ok {
		t.Fatal("no Deployments")
	}
	tests := []struct {
		resource decode.Resource
		key      string
		object   decode.Object
		want     string
	}{
		{pods, "/registry/pods/batch/a", decode.Object{APIVersion: "v1", Kind: "Pod", Namespace: "batch", Name: "a"}, ""},
		{nodes, "/registry/minions/a", decode.Object{APIVersion: "v1", Kind: "Node", Name: "a"}, ""},
		{deployments, "/registry/deployments/ns/a", decode.Object{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "ns", Name: "a"}, ""},
		{deployments, "/registry/deployments/ns/a", decode.Object{APIVersion: "extensions/v1beta1", Kind: "Deployment", Namespace: "ns", Name: "a"}, ""},
		{deployments, "/registry/deployments/ns/a", decode.Object{APIVersion: "example.com/v1", Kind: "Deployment", Namespace: "ns", Name: "a"}, "kind"},
		{pods, "/registry/pods/batch/a", decode.Object{APIVersion: "v1", Kind: "Secret", Namespace: "batch", Name: "a"}, "kind"},
		{pods, "/registry/pods/batch/a", decode.Object{APIVersion: "example.com/v1", Kind: "Pod", Namespace: "batch", Name: "a"}, "kind"},
		{pods, "/registry/pods/batch/a", decode.Object{APIVersion: "v1", Kind: "Pod", Namespace: "batch-2", Name: "a"}, "namespace"},
		{pods, "/registry/pods/batch/a", decode.Object{APIVersion: "v1", Kind: "Pod", Namespace: "batch", Name: "A"}, "name"},
		{pods, "/registry/pods/batch/a", decode.Object{APIVersion: "v1", Kind: "Pod", Name: "a"}, "namespace"},
		{pods, "/registry/pods/a", decode.Object{APIVersion: "v1", Kind: "Pod", Name: "a"}, "key"},
		{nodes, "/registry/minions/a", decode.Object{APIVersion: "v1", Kind: "Node", Namespace: "ns", Name: "a"}, "namespace"},
	}
	for _, test := range tests {
		err := test.resource.Check("/registry", test.key, &test.object)
		if test.want == "" {
			if err != nil {
				t.Error(err)
			}
			continue
		}
		var mismatch *decode.MismatchError
		if !errors.As(err, &mismatch) || mismatch.Key != test.key || !strings.Contains(mismatch.Err.Error(), test.want) {
			t.Errorf("%s holds %s %s/%s: error %v, want one about its %s",
				test.key, test.object.GroupKind(), test.object.Namespace, test.object.Name, err, test.want)
		}
	}
}

func TestLookup(t *testing.T) {
	tests := []struct {
		group, kind string
		path        string // "" if there is no such built-in
	}{
		{"", "Pod", "pods"},
		{"batch", "Job", "jobs"},
		{"batch", "CronJob", "cronjobs"},
		{"", "ReplicationController", "controllers"},
		{"", "Service", "services/specs"},
		{"apps", "ReplicaSet", "replicasets"},
		{"extensions", "ReplicaSet", "replicasets"},
		{"extensions", "Ingress", "ingress"},
		{"events.k8s.io", "Event", "events"},
		{"apiextensions.k8s.io", "CustomResourceDefinition", "apiextensions.k8s.io/customresourcedefinitions"},
		{"", "Job", ""},
		{"extensions", "Job", ""},
		{"policy.example.com", "Report", ""},
	}
	for _, test := range tests {
		kind := schema.GroupKind{Group: test.group, Kind: test.kind}
		if resource, ok := decode.Lookup(kind); resource.Path != test.path || ok != (test.path != "") {
			t.Errorf("%s: got %+v, %t", kind, resource, ok)
		}
	}
}

func TestBuiltIns(t *testing.T) {
	paths := make(map[string]bool)
	for _, resource := range decode.BuiltIns() {
		if paths[resource.Path] {
			t.Errorf("two resources under %s", resource.Path)
		}
		paths[resource.Path] = true
		if found, ok := decode.Lookup(resource.GroupKind); !ok || found != resource {
			t.Errorf("%s: found %+v", resource.GroupKind, found)
		}
	}
}

// TestCheckFixtures shows that every readable object of two real clusters is where the table of built-in resources says.
func TestCheckFixtures(t *testing.T) {
	for _, name := range []fixtures.Name{fixtures.Incident, fixtures.Zoo} {
		t.Run(string(name), func(t *testing.T) {
			checked := 0
			for record := range records(t, name) {
				object, err := decode.Decode(record.Value)
				if err != nil || apiserversOwn(record.Key) {
					continue
				}
				resource, ok := decode.Lookup(object.GroupKind())
				if !ok {
					resource, ok = customResource(object.GroupKind())
				}
				if !ok {
					t.Errorf("%s: no resource for %s", record.Key, object.GroupKind())
					continue
				}
				if err := resource.Check("/registry", record.Key, &object); err != nil {
					t.Error(err)
				}
				checked++
			}
			if checked < 6_000 {
				t.Errorf("checked %d objects, want more", checked)
			}
		})
	}
}

func apiserversOwn(key string) bool {
	for _, prefix := range []string{"/registry/ranges/", "/registry/masterleases/", "/registry/peerserverleases/"} {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

// customResource knows those of the zoo.
func customResource(kind schema.GroupKind) (decode.Resource, bool) {
	reports := schema.GroupKind{Group: "policy.example.com", Kind: "Report"}
	switch kind {
	case scans.GroupKind:
		return scans, true
	case reports:
		return decode.Resource{GroupKind: reports, Path: "policy.example.com/reports", Namespaced: true}, true
	}
	return decode.Resource{}, false
}

func TestCustomResource(t *testing.T) {
	crd := func(name, group, plural, kind, scope string) decode.Object {
		return decode.Object{Kind: "CustomResourceDefinition", Name: name, Definition: &decode.Definition{Group: group, Plural: plural, Kind: kind, Scope: scope}}
	}
	namespaced := crd("reports.policy.example.com", "policy.example.com", "reports", "Report", "Namespaced")
	reports, err := namespaced.Resource()
	if want, _ := customResource(schema.GroupKind{Group: "policy.example.com", Kind: "Report"}); err != nil || reports != want {
		t.Errorf("got %+v, %v", reports, err)
	}
	cluster := crd("scans.policy.example.com", "policy.example.com", "scans", "Scan", "Cluster")
	if got, err := cluster.Resource(); err != nil || got != scans {
		t.Errorf("got %+v, %v", got, err)
	}
	report := decode.Object{APIVersion: "policy.example.com/v1", Kind: "Report", Namespace: "ns", Name: "a"}
	if err := reports.Check("/registry", "/registry/policy.example.com/reports/ns/a", &report); err != nil {
		t.Error(err)
	}
	for _, object := range []decode.Object{
		{Kind: "Report", Name: "a"},
		crd("reports.policy.example.com", "policy.example.com", "scans", "Report", "Namespaced"),
		crd("reports.policy.example.com", "policy.example.com", "reports", "", "Namespaced"),
		crd(".policy.example.com", "policy.example.com", "", "Report", "Namespaced"),
		crd("reports.", "", "reports", "Report", "Namespaced"),
		crd("a/b.c", "c", "a/b", "Report", "Namespaced"),
		crd("reports.policy.example.com", "policy.example.com", "reports", "Report", ""),
	} {
		if got, err := object.Resource(); err == nil || got != (decode.Resource{}) {
			t.Errorf("%+v: got %+v, %v", object.Definition, got, err)
		}
	}
}

func TestNames(t *testing.T) {
	report := decode.Resource{GroupKind: schema.GroupKind{Group: "policy.example.com", Kind: "Report"}, Path: "policy.example.com/reports", Namespaced: true}
	if name := report.Name(); name != "reports.policy.example.com" || !report.Called(name) || !report.Called("Report") || report.Called("reports.example.com") {
		t.Errorf("a custom resource is called %q", name)
	}
	names := map[string]bool{}
	for _, r := range decode.BuiltIns() {
		kind := r.GroupKind.Kind
		for _, name := range []string{r.Name(), kind, strings.Split(r.Name(), ".")[0]} {
			if found, ok := decode.LookupName(name); !ok || found != r {
				t.Errorf("%q means %v, want %v", name, found, r)
			}
		}
		if names[kind] {
			t.Errorf("two built-in resources are of kind %s", kind)
		}
		names[kind] = true
	}
	for name, want := range map[string]string{
		"deployments.extensions": "deployments", "Events.events.k8s.io": "events", "nodes": "minions", "services": "services/specs",
		"ingresses": "ingress", "endpoints": "services/endpoints", "Deployment.apps": "deployments",
	} {
		if found, ok := decode.LookupName(name); !ok || found.Path != want {
			t.Errorf("%q means %v, want %s", name, found, want)
		}
	}
	for _, name := range []string{"", "reports", "pods.apps", "deployments.batch", "."} {
		if found, ok := decode.LookupName(name); ok {
			t.Errorf("%q means %v", name, found)
		}
	}
}
