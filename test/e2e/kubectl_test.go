package e2e

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// giveUp is when a way of removing pods has had its time: a namespace whose pods no kubelet confirms is Terminating for ever.
const giveUp = 10 * time.Minute

// BenchmarkKubectl removes the same runaway in three ways: a Deployment whose pods are evicted from a node without a kubelet as
// soon as they are made, $PODS of them (10,000), kube-controller-manager at its default rate and alive all the time. Each way has a
// control plane of its own. What is left is counted 30 s after its end, in which a producer that stands makes more.
func BenchmarkKubectl(b *testing.B) {
	count := 10_000
	if text := os.Getenv("PODS"); text != "" {
		count = got(strconv.Atoi(text))(b)
	}
	for _, way := range []struct {
		name   string
		remove func(context.Context, *control) error
	}{
		{"idle", func(ctx context.Context, c *control) error { return pause(ctx, time.Minute) }},
		{"etcdsweep", sweep},
		{"kubectl-delete-pods-force", deletePods},
		{"kubectl-delete-namespace", deleteNamespace},
	} {
		b.Run(way.name, func(b *testing.B) {
			for range b.N {
				c := startControl(b)
				c.crowd(count)
				bystander := c.bystander(web)
				before, began := c.usage(), time.Now()
				ctx, cancel := context.WithTimeout(b.Context(), giveUp)
				if err := way.remove(ctx, c); err != nil {
					b.Error(err)
				}
				cancel()
				took, used := time.Since(began), c.usage()
				for server := range used {
					used[server] -= before[server]
				}
				bystander.stop()
				must(b, pause(b.Context(), 30*time.Second))
				left := len(got(inEtcd(b.Context(), c.etcdClient(), podsPrefix+apps+"/"))(b))
				report(b, took, left, used, bystander)
			}
		})
	}
}

// crowd makes so many terminating pods of a Deployment, and lets kube-controller-manager go on at its default rate.
func (c *control) crowd(count int) {
	c.t.Helper()
	c.startControllers(fast)
	c.namespace(apps)
	c.namespace(web)
	c.liveNode("live")
	c.node("tainted", corev1.Taint{Key: "dedicated", Value: "nobody", Effect: corev1.TaintEffectNoExecute})
	c.deployment(apps, "crash", "tainted", 500)
	c.awaitPods(apps, "crash", count)
	c.stopControllers()
	c.startControllers(slow)
}

// sweep is what the runbook says, with the defaults.
func sweep(_ context.Context, c *control) error {
	w := c.tool()
	p := w.plan("crash", "-n", apps, "--owner", "Deployment/crash")
	if r := w.try("apply", p.path, "--confirm", p.id, "--state-dir", w.state()); r.status != 0 {
		return fmt.Errorf("apply: exit status %d\n%s%s", r.status, r.out, r.errout)
	} else {
		c.t.Log(r.out)
	}
	return nil
}

// deletePods does what kubectl delete pods --all --force --grace-period=0 does: it lists them in chunks, and deletes one after the
// other, without a limit on requests.
func deletePods(ctx context.Context, c *control) error {
	pods := c.api().metadata.Resource(pods()).Namespace(apps)
	options := metav1.ListOptions{Limit: 500}
	for {
		list, err := pods.List(ctx, options)
		if err != nil {
			return err
		}
		for i := range list.Items {
			err := pods.Delete(ctx, list.Items[i].Name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)})
			if err := ignoring(err, apierrors.IsNotFound); err != nil {
				return err
			}
		}
		if options.Continue = list.Continue; options.Continue == "" {
			return nil
		}
	}
}

// deleteNamespace does what kubectl delete namespace does, and waits for its end, which need not come.
func deleteNamespace(ctx context.Context, c *control) error {
	namespaces := c.api().client.CoreV1().Namespaces()
	if err := namespaces.Delete(ctx, apps, metav1.DeleteOptions{}); err != nil {
		return err
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if _, err := namespaces.Get(ctx, apps, metav1.GetOptions{}); apierrors.IsNotFound(err) {
			return nil
		}
		select {
		case <-ctx.Done():
			c.t.Logf("the namespace is there after %s", giveUp)
			return nil
		case <-tick.C:
		}
	}
}

// pause lets time pass: what is measured is what happens in it.
func pause(ctx context.Context, period time.Duration) error {
	timer := time.NewTimer(period)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
