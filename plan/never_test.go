package plan_test

import (
	"testing"

	"etcdsweep/plan"
)

func TestNever(t *testing.T) {
	for _, test := range []struct {
		key   string
		never bool
	}{
		{"compact_rev_key", true},
		{"/registry/compact_rev_key", true},
		{"/registry/ranges/serviceips", true},
		{"/registry/ranges/servicenodeports", true},
		{"/registry/masterleases/192.0.2.2", true},
		{"/registry/peerserverleases/apiserver-a", true},
		{"/registry/leases/kube-system/kube-controller-manager", true},
		{"/registry/leases/kube-public/a", true},
		{"/registry/leases/kube-node-lease/node7", true},
		{"/registry/leases/batch/leader", false},
		{"/registry/leases/kube-system-2/leader", false},
		{"/registry/apiextensions.k8s.io/customresourcedefinitions/reports.policy.example.com", true},
		{"/registry/apiregistration.k8s.io/apiservices/v1.apps", true},
		{"/registry/minions/node7", true},
		{"/registry/minions", true},
		{"/registry/minions-2/a", false},
		{"/registry/pods/batch/minions", false},
		{"/registry/pods/minions/a", false},
		{"/registry/pods/batch/a", false},
		{"/registry/jobs/batch/a", false},
		{"/registry/policy.example.com/reports/doomed/r1", false},
		{"/registry2/pods/batch/a", true},
		{"/kubernetes/pods/batch/a", true},
		{"/registry", true},
		{"", true},
	} {
		if why := plan.Never("/registry", test.key); (why != "") != test.never {
			t.Errorf("%s: %q, want never %t", test.key, why, test.never)
		}
	}
	if why := plan.Never("/kubernetes", "/kubernetes/minions/node7"); why == "" {
		t.Error("under another prefix a Node may go")
	}
}
