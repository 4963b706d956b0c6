package lab

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// pageKeys bounds one read. Pods have about 1.6 KB.
const pageKeys = 5000

// scan yields all keys with the prefix, in key order, as they are at one revision. An error is the last thing that it yields.
func scan(ctx context.Context, client *clientv3.Client, prefix string) iter.Seq2[*mvccpb.KeyValue, error] {
	return func(yield func(*mvccpb.KeyValue, error) bool) {
		next, end := prefix, clientv3.GetPrefixRangeEnd(prefix)
		if prefix == "" {
			next, end = "\x00", "\x00"
		}
		for revision, more := int64(0), true; more; {
			r, err := client.Get(ctx, next, clientv3.WithRange(end), clientv3.WithLimit(pageKeys), clientv3.WithRev(revision))
			if err != nil {
				yield(nil, fmt.Errorf("scan %s: %w", next, err))
				return
			}
			for _, kv := range r.Kvs {
				if !yield(kv, nil) {
					return
				}
				next = string(kv.Key) + "\x00"
			}
			revision, more = r.Header.Revision, r.More
		}
	}
}

// find reads a Job and counts its pods.
func find(ctx context.Context, client *clientv3.Client, namespacedName string) (Job, error) {
	namespace, name, ok := strings.Cut(namespacedName, "/")
	if !ok {
		return Job{}, errors.New("want namespace/name")
	}
	job := Job{Namespace: namespace, Name: name}
	r, err := client.Get(ctx, job.Key())
	if err != nil {
		return Job{}, err
	}
	if len(r.Kvs) == 0 {
		return Job{}, errors.New("not there")
	}
	var stored batchv1.Job
	if err := unmarshal(r.Kvs[0].Value, "Job", &stored); err != nil {
		return Job{}, err
	}
	job.UID = string(stored.UID)
	for kv, err := range scan(ctx, client, podKey(namespace, name+"-")) {
		if err != nil {
			return Job{}, err
		}
		var pod corev1.Pod
		if err := unmarshal(kv.Value, "Pod", &pod); err != nil {
			continue // another Job's, encrypted for example
		}
		if owner := metav1.GetControllerOf(&pod); owner != nil && string(owner.UID) == job.UID {
			job.Pods++
			job.pod = &pod
		}
	}
	if job.Pods == 0 {
		return Job{}, errors.New("no pods")
	}
	return job, nil
}
