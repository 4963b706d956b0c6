package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// observed is how long controllers that were started again are watched. Pods that were put back beside controllers that knew
// their owner as absent were destroyed within 20 s.
const observed = time.Minute

// TestUndo takes a sweep back as the runbook says: kube-controller-manager is stopped before, and started afterwards. It finds the
// Job and its pods as if nothing had happened.
func TestUndo(t *testing.T) {
	c := startControl(t)
	history := c.record()
	c.startControllers(fast)
	c.fill(300)
	c.stopControllers()

	w, etcd := c.tool(), c.etcdClient()
	p := w.plan("runaway", "-n", batch, "--job", "runaway")
	before := values(t, etcd, p.keys)
	if len(before) != 301 {
		t.Fatalf("%d of 301 keys", len(before))
	}
	w.apply(p)
	if left := values(t, etcd, p.keys); len(left) > 0 {
		t.Fatalf("%d keys are left", len(left))
	}
	w.undo(p)
	if keys := unlike(before, values(t, etcd, p.keys)); len(keys) > 0 {
		t.Fatalf("%d keys are not as they were, such as %s", len(keys), keys[0])
	}

	restored := c.revision()
	c.startControllers(fast)
	c.job(batch, "another", "live", 3) // which they see to: they are at work
	holds(t, "what was put back", observed, func(context.Context) error {
		after := values(t, etcd, p.keys)
		if keys := unlike(before, after); len(keys) > 0 {
			return fmt.Errorf("%d keys are not as they were, such as %s", len(keys), keys[0])
		}
		return nil
	})
	for _, ch := range history.until(t, c.revision()) {
		if ch.revision > restored && strings.HasPrefix(ch.key, podsPrefix+batch+"/runaway-") {
			t.Errorf("somebody has touched a pod: %v", ch)
		}
	}
	w.run("verify", p.runDir, "--kubeconfig", c.api().kubeconfig)
}
