package e2e

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
)

// pinned is a template of pods that are bound to a node from the start, past every scheduler.
func pinned(app, node string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}},
		Spec: corev1.PodSpec{
			NodeName:      node,
			RestartPolicy: corev1.RestartPolicyNever,
			Containers: []corev1.Container{{
				Name: "main", Image: "registry.example.com/" + app + ":1", Command: []string{"/bin/sh", "-c", "exit 1"},
			}},
		},
	}
}

// namespace makes a namespace, and waits until pods can be made in it.
func (c *control) namespace(name string) {
	c.t.Helper()
	client := c.api().client.CoreV1()
	_, err := client.Namespaces().Create(c.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	must(c.t, err)
	eventually(c.t, "the service account of namespace "+name, func(ctx context.Context) (bool, error) {
		_, err := client.ServiceAccounts(name).Get(ctx, "default", metav1.GetOptions{})
		return err == nil, ignoring(err, apierrors.IsNotFound)
	})
}

// job makes a Job that runs so many pods at a time on a node, and waits until all of them are there.
func (c *control) job(namespace, name, node string, pods int32) *batchv1.Job {
	c.t.Helper()
	completions := int32(1_000_000)
	template := pinned(name, node)
	template.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}} // nobody evicts them: they stay as they are
	job, err := c.api().client.BatchV1().Jobs(namespace).Create(c.t.Context(), &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       batchv1.JobSpec{Parallelism: &pods, Completions: &completions, Template: template},
	}, metav1.CreateOptions{})
	must(c.t, err)
	c.awaitPods(namespace, name, int(pods))
	return job
}

// deployment makes a Deployment whose pods are bound to a node.
func (c *control) deployment(namespace, name, node string, replicas int32) {
	c.t.Helper()
	template := pinned(name, node)
	template.Spec.RestartPolicy = corev1.RestartPolicyAlways
	_, err := c.api().client.AppsV1().Deployments(namespace).Create(c.t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: template.Labels},
			Template: template,
		},
	}, metav1.CreateOptions{})
	must(c.t, err)
}

// cronJob makes a CronJob that makes a Job of so many pods every minute, allows any number of them, and forgets none.
func (c *control) cronJob(namespace, name, node string, pods int32) {
	c.t.Helper()
	_, err := c.api().client.BatchV1().CronJobs(namespace).Create(c.t.Context(), &batchv1.CronJob{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: batchv1.CronJobSpec{
			Schedule:          "* * * * *",
			ConcurrencyPolicy: batchv1.AllowConcurrent,
			JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{
				Parallelism: &pods, Completions: &pods, BackoffLimit: ptr.To[int32](1 << 20), Template: pinned(name, node),
			}},
		},
	}, metav1.CreateOptions{})
	must(c.t, err)
}

// pods is the resource, in the API's words.
func pods() schema.GroupVersionResource { return corev1.SchemeGroupVersion.WithResource("pods") }

// awaitPods waits until there are at least so many pods of an app, those that are terminating included. It asks etcd, which counts
// without reading them: the apiserver has enough to do with thousands.
func (c *control) awaitPods(namespace, app string, count int) {
	c.t.Helper()
	etcd, have := c.etcdClient(), int64(0)
	defer func() {
		if c.t.Failed() {
			c.t.Logf("%s: %d pods of %d", app, have, count)
		}
	}()
	eventually(c.t, fmt.Sprintf("%d pods of %s", count, app), func(ctx context.Context) (bool, error) {
		counted, err := etcd.Get(ctx, podsPrefix+namespace+"/"+app+"-", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil {
			return false, err
		}
		have = counted.Count
		return have >= int64(count), nil
	})
}
