package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// caches is what verify reports as JSON.
type caches struct {
	Apiservers []struct {
		Server, Error string
		Views         []struct {
			Resource                  string
			Ghosts, Outdated, Missing []string
			Behind                    bool
		}
	}
}

// TestVerify finds real ghosts in a real watch cache, and nothing where there are none.
func TestVerify(t *testing.T) {
	c := startControl(t)
	c.startControllers(fast)
	c.fill(50)
	c.stopControllers()
	way := c.proxy()
	other := c.startAPIServer(way.endpoints())

	w := c.tool()
	p := w.plan("runaway", "-n", batch, "--job", "runaway")
	w.apply(p)
	both := []string{"verify", p.runDir, "--kubeconfig", c.api().kubeconfig, "--server", c.api().url, "--server", other.url}
	if out := w.run(both...).out; !strings.HasSuffix(out, "\nEvery cache holds what etcd holds.\n") {
		t.Errorf("verify says\n%s", out)
	}
	w.run("verify", p.runDir, "--kubeconfig", c.api().kubeconfig, "--kubeconfig", other.kubeconfig)

	ghosts := c.haunt(way, other)
	r := w.try(both...)
	t.Log(r.out)
	if r.status != 5 {
		t.Errorf("exit status %d\n%s", r.status, r.errout)
	}
	for _, words := range append(ghosts, "WRONG", other.url, "Start each kube-apiserver that is WRONG again") {
		if !strings.Contains(r.out, words) {
			t.Errorf("no %q in the report", words)
		}
	}
	for line := range strings.Lines(r.out) {
		if len(line) > 81 {
			t.Errorf("wider than 80 columns: %s", line)
		}
	}
	var report caches
	must(t, json.Unmarshal([]byte(w.try(append(both, "-o", "json")...).out), &report))
	for i, a := range report.Apiservers {
		for _, v := range a.Views {
			var want []string
			if i == 1 && v.Resource == "Pod" {
				want = ghosts
			}
			if !slices.Equal(v.Ghosts, want) || len(v.Missing)+len(v.Outdated) > 0 || v.Behind {
				t.Errorf("%s: %+v", a.Server, v)
			}
		}
	}

	c.restart(other, way.endpoints()) // as the report says
	w.run(both...)

	way.Stop() // an apiserver that has lost etcd shows what it knew last
	gone := batch + "/last"
	got(c.etcdClient().Delete(t.Context(), podsPrefix+gone))(t)
	r = w.try(append(both, "--wait", "2s")...)
	t.Log(r.out)
	if r.status != 5 || !strings.Contains(r.out, "BEHIND") || !strings.Contains(r.out, gone) {
		t.Errorf("exit status %d\n%s%s", r.status, r.out, r.errout)
	}
	way.mend()
	w.run(both...) // waits until it has caught up

	guest := c.file("guest")
	must(t, c.writeKubeconfig(guest, c.api().url, guestToken))
	r = w.try("verify", p.runDir, "--kubeconfig", guest)
	if r.status != 1 || !strings.Contains(r.out, "forbidden") {
		t.Errorf("exit status %d\n%s%s", r.status, r.out, r.errout)
	}
}

// haunt gives an apiserver ghosts, and returns their names. One transaction makes a pod and deletes two; the connection is cut
// meanwhile, and when it is back the deleted values are compacted. The apiserver's watch takes the first event, fails at the second, and
// goes on behind the revision that all three have in common.
func (c *control) haunt(way *proxy, a *apiServer) (names []string) {
	c.t.Helper()
	ctx, etcd, client := c.t.Context(), c.etcdClient(), c.api().client.CoreV1().Pods(batch)
	for _, name := range []string{"ghost-1", "ghost-2", "last"} {
		c.bare(batch, name)
		names = append(names, batch+"/"+name)
	}
	names = names[:2]
	model := got(etcd.Get(ctx, podsPrefix+batch+"/last"))(c.t).Kvs[0]
	for attempt := range 10 {
		// The watch has to go on exactly at the transaction's revision: a change of a pod is the last thing before it.
		last := got(client.Patch(ctx, "last", types.MergePatchType,
			fmt.Appendf(nil, `{"metadata":{"labels":{"attempt":"%d"}}}`, attempt), metav1.PatchOptions{}))(c.t)
		before := parse(c.t, last.ResourceVersion)
		a.awaitPod(c.t, "last", before)
		way.Stop()
		fresh := fmt.Sprint("new", attempt) // as long as the model's name
		value := strings.ReplaceAll(string(model.Value), "last", fresh)
		revision := got(etcd.Txn(ctx).Then(
			clientv3.OpPut(podsPrefix+batch+"/"+fresh, value),
			clientv3.OpDelete(podsPrefix+names[0]),
			clientv3.OpDelete(podsPrefix+names[1]),
		).Commit())(c.t).Header.Revision
		c.api().awaitPod(c.t, fresh, revision) // it has the events, and with them the deleted values
		got(etcd.Compact(ctx, revision))(c.t)
		way.mend()
		if revision == before+1 {
			a.awaitPod(c.t, fresh, revision)
			return names
		}
		// Somebody has renewed a lease in between, and so the cache was read anew. Once more.
		a.awaitPod(c.t, fresh, revision)
		c.bare(batch, "ghost-1")
		c.bare(batch, "ghost-2")
	}
	c.t.Fatal("there was always somebody in between")
	return nil
}

// awaitPod waits until an apiserver's cache has a pod at a revision.
func (a *apiServer) awaitPod(t testing.TB, name string, revision int64) {
	t.Helper()
	eventually(t, fmt.Sprintf("pod %s of revision %d in the cache of %s", name, revision, a.url), func(ctx context.Context) (bool, error) {
		pod, err := a.client.CoreV1().Pods(batch).Get(ctx, name, metav1.GetOptions{ResourceVersion: "0"})
		return err == nil && parse(t, pod.ResourceVersion) == revision, nil // it may not be well for a moment
	})
}

// bare makes a pod that nobody owns.
func (c *control) bare(namespace, name string) {
	c.t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: pinned(name, "dead").Spec}
	_, err := c.api().client.CoreV1().Pods(namespace).Create(c.t.Context(), pod, metav1.CreateOptions{})
	must(c.t, err)
}

func parse(t testing.TB, resourceVersion string) int64 {
	t.Helper()
	return got(strconv.ParseInt(resourceVersion, 10, 64))(t)
}
