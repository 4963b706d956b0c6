package sweep_test

import (
	"testing"

	"etcdsweep/plan"
	"etcdsweep/test/lab"
)

// Of a registry that is kept in two etcds nothing of the other one comes into a plan; what is read there, such as the nodes'
// leases and what depends on the roots, decides about it all the same.
func TestElsewhere(t *testing.T) {
	w, other := start(t, lab.Config{}), start(t, lab.Config{})
	job := w.fill(30, 1)[0]
	query := jobs(job.Namespace, job.Name)
	stored := w.decoded("/registry/jobs/" + job.Namespace + "/" + job.Name)

	keptElsewhere := func(prefix string) func(*plan.Options) {
		return func(o *plan.Options) {
			o.Elsewhere = append(o.Elsewhere, plan.Elsewhere{Prefix: prefix, Endpoints: "https://other:2379"})
		}
	}
	const says = "is kept in another etcd, https://other:2379"

	// What is only read there is no obstacle.
	w.client.KeepElsewhere("/registry/persistentvolumeclaims/", other.connect(other.lab.Endpoints()...), nil)
	claims := keptElsewhere("/registry/persistentvolumeclaims/")
	w.plan(query, claims)

	// A dependent of the root there could not be put back.
	other.put(claim(job.Namespace, "data", "pv", refTo(stored, true)))
	w.refused(query, []func(*plan.Options){claims, allow(plan.AllowCollateral, "data-loss")}, "persistentvolumeclaims/"+job.Namespace+"/data", says, "--keep-roots")
	p := w.plan(query, claims, func(o *plan.Options) { o.KeepRoots = true })
	if p.Trailer.Entries != int64(job.Pods) {
		t.Errorf("%d entries, want the %d pods", p.Trailer.Entries, job.Pods)
	}

	// Nor can a root or the pods be planned that are there.
	w.refused(query, []func(*plan.Options){keptElsewhere("/registry/jobs/")}, "/registry/jobs/"+job.Namespace+"/"+job.Name, says)
	w.refused(query, []func(*plan.Options){keptElsewhere("/registry/pods/")}, "/registry/pods/", says)
}
