package e2e

import (
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"
)

// heartbeat is how often a kubelet renews its node's lease.
const heartbeat = 10 * time.Second

// node makes a node that is Ready, with its lease. Nobody renews that.
func (c *control) node(name string, taints ...corev1.Taint) {
	c.t.Helper()
	ctx, client := c.t.Context(), c.api().client
	nodes := client.CoreV1().Nodes()
	_, err := nodes.Create(ctx, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.NodeSpec{Taints: taints},
	}, metav1.CreateOptions{})
	must(c.t, err)
	now := metav1.Now()
	must(c.t, retry.RetryOnConflict(retry.DefaultBackoff, func() error { // controllers write to it as well
		node, err := nodes.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		node.Status.Conditions = []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", LastHeartbeatTime: now, LastTransitionTime: now,
		}}
		_, err = nodes.UpdateStatus(ctx, node, metav1.UpdateOptions{})
		return err
	}))
	_, err = client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Create(ctx, &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: &name, LeaseDurationSeconds: ptr.To[int32](40), RenewTime: &metav1.MicroTime{Time: now.Time},
		},
	}, metav1.CreateOptions{})
	must(c.t, err)
}

// liveNode makes a node whose lease is renewed until the test ends.
func (c *control) liveNode(name string) {
	c.t.Helper()
	c.node(name)
	ctx, leases := c.t.Context(), c.api().client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	done := make(chan struct{})
	c.t.Cleanup(func() { <-done })
	go func() { // until the test's context ends, which is before its clean-up
		defer close(done)
		tick := time.NewTicker(heartbeat)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			lease, err := leases.Get(ctx, name, metav1.GetOptions{})
			if err == nil { // like a kubelet, it tries again at the next beat
				lease.Spec.RenewTime = &metav1.MicroTime{Time: time.Now()}
				_, _ = leases.Update(ctx, lease, metav1.UpdateOptions{})
			}
		}
	}()
}

// run sets a pod's status as a kubelet does once its container runs.
func (c *control) run(namespace, name string) {
	c.t.Helper()
	pods := c.api().client.CoreV1().Pods(namespace)
	must(c.t, retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		pod, err := pods.Get(c.t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		pod.Status.Phase = corev1.PodRunning
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}
		_, err = pods.UpdateStatus(c.t.Context(), pod, metav1.UpdateOptions{})
		return err
	}))
}
