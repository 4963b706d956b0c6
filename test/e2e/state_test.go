package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
)

// revisions are the objects of one resource, each by its key behind the resource's, with the revision of its last change.
type revisions map[string]int64

// inEtcd reads what is in etcd under a prefix.
func inEtcd(ctx context.Context, client *clientv3.Client, prefix string) (revisions, error) {
	response, err := client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return nil, err
	}
	have := revisions{}
	for _, kv := range response.Kvs {
		have[string(kv.Key[len(prefix):])] = kv.ModRevision
	}
	return have, nil
}

// values reads the raw bytes of keys; what is absent is left out.
func values(t testing.TB, client *clientv3.Client, keys map[string]bool) map[string]string {
	t.Helper()
	have := map[string]string{}
	for _, prefix := range []string{podsPrefix, jobsPrefix} {
		response := got(client.Get(t.Context(), prefix, clientv3.WithPrefix()))(t)
		for _, kv := range response.Kvs {
			if keys[string(kv.Key)] {
				have[string(kv.Key)] = string(kv.Value)
			}
		}
	}
	return have
}

// unlike returns the keys whose bytes differ, in order.
func unlike(a, b map[string]string) (keys []string) {
	for key, value := range a {
		if other, ok := b[key]; !ok || other != value {
			keys = append(keys, key)
		}
	}
	for key := range b {
		if _, ok := a[key]; !ok {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// inCache lists what an apiserver's watch cache holds.
func (a *apiServer) inCache(ctx context.Context, resource schema.GroupVersionResource) (revisions, error) {
	list, err := a.metadata.Resource(resource).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return nil, err
	}
	have := revisions{}
	for i := range list.Items {
		item := &list.Items[i].ObjectMeta
		if have[item.Namespace+"/"+item.Name], err = strconv.ParseInt(item.ResourceVersion, 10, 64); err != nil {
			return nil, err
		}
	}
	return have, nil
}

// inStore is what an informer's store holds.
func inStore(store cache.Store) revisions {
	have := revisions{}
	for _, o := range store.List() {
		pod := o.(*corev1.Pod)
		have[pod.Namespace+"/"+pod.Name], _ = strconv.ParseInt(pod.ResourceVersion, 10, 64)
	}
	return have
}

// equalsEtcd waits for a moment in which etcd stands still, and then wants a view of a resource to be what etcd holds. The
// controllers never rest for long; but whoever does not get there has missed something.
func equalsEtcd(t testing.TB, client *clientv3.Client, prefix, what string, view func(context.Context) (revisions, error)) {
	t.Helper()
	var difference string
	defer func() {
		if t.Failed() {
			t.Log(difference)
		}
	}()
	eventually(t, what+" to equal "+prefix, func(ctx context.Context) (bool, error) {
		etcd, err := inEtcd(ctx, client, prefix)
		if err != nil {
			return false, err
		}
		have, err := view(ctx)
		if err != nil {
			return false, err
		}
		difference = differ(etcd, have)
		return difference == "", nil
	})
}

// differ tells the first differences of a view from etcd, "" if there is none.
func differ(etcd, view revisions) string {
	if maps.Equal(etcd, view) {
		return ""
	}
	ghosts, missing, other, example := 0, 0, 0, ""
	for name, revision := range view {
		switch stored, ok := etcd[name]; {
		case !ok:
			ghosts++
			example = name
		case stored != revision:
			other++
		}
	}
	for name := range etcd {
		if _, ok := view[name]; !ok {
			missing++
			example = name
		}
	}
	return fmt.Sprintf("%d ghosts, %d missing, %d of another revision, such as %s", ghosts, missing, other, example)
}
