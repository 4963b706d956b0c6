package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Namespaces of the incident.
const (
	batch = "batch" // a Job of thousands of pods on a dead node
	apps  = "apps"  // a Deployment whose pods are evicted as they come
	ops   = "ops"   // a CronJob that forgets nothing
	web   = "web"   // what is well
)

// Requests a second for each controller.
const (
	fast = 300 // to fill the cluster
	slow = 20  // Kubernetes' default
)

const (
	podsPrefix = registry + "pods/"
	jobsPrefix = registry + "jobs/"
)

// TestIncident sweeps the runaways of today, one after the other, while kube-controller-manager goes on, and under the eyes
// of everybody who watches.
func TestIncident(t *testing.T) {
	c := startControl(t)
	history := c.record()
	c.startControllers(fast)
	c.fill(2000)
	c.cronJob(ops, "tick", "dead", 20)
	c.cronJob(web, "report", "live", 1)
	c.awaitPods(ops, "tick", 20)
	c.stopControllers()
	c.startControllers(slow)
	c.deployment(apps, "crash", "tainted", 20)
	c.awaitPods(apps, "crash", 60) // 20 would be right
	witnesses := append(c.watchers(20), c.informers(5)...)
	began := c.revision()

	w := c.tool()
	doctor := w.try("doctor", "--state-dir", w.state())
	if doctor.status != 0 && doctor.status != 5 || strings.Contains(doctor.out, "\nfail ") || !strings.Contains(doctor.out, controllerManagerName) {
		t.Errorf("doctor: exit status %d\n%s%s", doctor.status, doctor.out, doctor.errout)
	}
	top := w.run("top").out
	for _, words := range []string{
		"\nJob batch/runaway\n  ", "\nDeployment apps/crash (through 1 of kind ReplicaSet)\n  ", "\nCronJob ops/tick (through ",
		"\n  etcdsweep plan -n batch --job runaway -o batch-runaway.plan\n",
	} {
		if !strings.Contains(top, words) {
			t.Errorf("top does not say %q:\n%s", words, top)
		}
	}
	planned := map[string]bool{}
	for _, selection := range [][]string{
		{"-n", batch, "--job", "runaway"},
		{"-n", apps, "--owner", "Deployment/crash"},
		{"--cronjob", ops + "/tick"},
	} {
		p := w.plan(fmt.Sprint("runaway-", len(planned)), selection...)
		t.Logf("%d entries\n%s", len(p.keys), c.sweep(w, p).out)
		t.Log(w.run("verify", p.runDir, "--kubeconfig", c.api().kubeconfig).out)
		for key := range p.keys {
			planned[key] = true
		}
	}
	swept := c.revision()
	history.await(t, "another Job of the CronJob that is well", func(ch change) bool {
		return ch.revision > swept && ch.verb == "create" && strings.HasPrefix(ch.key, jobsPrefix+web+"/report-")
	})
	for _, ch := range history.until(t, c.revision()) {
		if ch.revision > swept && ch.verb == "create" && c.runaway(ch.key) {
			t.Errorf("a producer goes on: %v", ch)
		}
	}

	c.catchUp(web, "afterwards", witnesses)
	c.onlyPlanned(history, planned)
	deleted := history.deleted(podsPrefix, began)
	t.Logf("%d pods were deleted, of them %d planned", len(deleted), len(planned))
	etcd := c.etcdClient()
	for _, witness := range witnesses {
		if err := witness.check(deleted); err != nil {
			t.Error(err)
		}
		if witness.store != nil {
			equalsEtcd(t, etcd, podsPrefix, witness.name, func(context.Context) (revisions, error) { return inStore(witness.store), nil })
		}
	}
	equalsEtcd(t, etcd, podsPrefix, "the watch cache", func(ctx context.Context) (revisions, error) { return c.api().inCache(ctx, pods()) })
}

// sweep carries a plan out beside kube-controller-manager. If its Deployment controller lags, it may hear that a ReplicaSet is gone
// before it hears that the Deployment is, and make it again; the run stops then, before any pod. The garbage collector takes that ReplicaSet
// away, because its owner is gone, and the same command goes on.
func (c *control) sweep(w *tool, p *plan) result {
	c.t.Helper()
	r := w.try(w.applying(p)...)
	if r.status != 4 || !strings.Contains(r.errout, "was made again; no pod was deleted") {
		if r.status != 0 {
			c.t.Fatalf("exit status %d\n%s%s", r.status, r.out, r.errout)
		}
		return r
	}
	eventually(c.t, "the garbage collector to take what was made again", func(ctx context.Context) (bool, error) {
		have, err := inEtcd(ctx, c.etcdClient(), registry+"replicasets/"+apps+"/")
		return len(have) == 0, err
	})
	return w.run(w.applying(p)...)
}

// fill fills the cluster: a Job of thousands of pods on a node that is dead, and beside it what is well.
func (c *control) fill(runaway int32) {
	c.t.Helper()
	for _, name := range []string{batch, apps, ops, web} {
		c.namespace(name)
	}
	c.liveNode("live")
	c.node("dead")
	c.node("tainted", corev1.Taint{Key: "dedicated", Value: "nobody", Effect: corev1.TaintEffectNoExecute})
	c.deployment(web, "web", "live", 5)
	c.awaitPods(web, "web", 5)
	list := got(c.api().client.CoreV1().Pods(web).List(c.t.Context(), metav1.ListOptions{}))(c.t)
	for i := range list.Items {
		c.run(web, list.Items[i].Name)
	}
	c.job(batch, "steady", "live", 3)
	c.job(batch, "runaway", "dead", runaway)
}

// runaway reports whether a key is one that the producers of the incident make.
func (c *control) runaway(key string) bool {
	for _, prefix := range []string{podsPrefix + batch + "/runaway-", podsPrefix + apps + "/crash-", podsPrefix + ops + "/tick-", jobsPrefix + ops + "/tick-"} {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

// revision returns etcd's newest revision.
func (c *control) revision() int64 {
	c.t.Helper()
	return got(c.etcdClient().Get(c.t.Context(), registry))(c.t).Header.Revision
}

// onlyPlanned wants that of all that ever changed in etcd nothing was done past the apiservers but the deletion of planned keys,
// and of pods that their owners made after the plan; and that all that was planned is gone.
func (c *control) onlyPlanned(h *history, planned map[string]bool) {
	c.t.Helper()
	have := got(inEtcd(c.t.Context(), c.etcdClient(), registry))(c.t)
	var last int64
	for name, revision := range have {
		last = max(last, revision)
		if planned[registry+name] {
			c.t.Errorf("%s is still there", name)
		}
	}
	var strange []change
	defer func() {
		if len(strange) > 0 {
			c.t.Logf("%d changes that nobody was asked for, such as %v", len(strange), strange[:min(len(strange), 10)])
		}
	}()
	eventually(c.t, "the audit logs to tell of every change", func(context.Context) (bool, error) {
		strange = nil
		for _, ch := range unasked(h.until(c.t, last), c.requests()) {
			if ch.verb != "delete" || !planned[ch.key] && !c.runaway(ch.key) {
				strange = append(strange, ch)
			}
		}
		return len(strange) == 0, nil
	})
}

// requests are the writes that all apiservers together have done.
func (c *control) requests() map[request]int {
	all := map[request]int{}
	for _, a := range c.apiservers {
		for r, n := range a.requests(c.t) {
			all[r] += n
		}
	}
	return all
}
