package lab_test

import (
	"context"
	"maps"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"etcdsweep/test/lab"
)

func decodePod(t *testing.T, value []byte) *corev1.Pod {
	t.Helper()
	body, ok := strings.CutPrefix(string(value), "k8s\x00")
	if !ok {
		return nil // encrypted, or JSON
	}
	var unknown runtime.Unknown
	if err := unknown.Unmarshal([]byte(body)); err != nil {
		t.Fatal(err)
	}
	var pod corev1.Pod
	if err := pod.Unmarshal(unknown.Raw); err != nil {
		t.Fatal(err)
	}
	return &pod
}

func TestFill(t *testing.T) {
	_, client := startLab(t, lab.Config{})
	begin := time.Now()
	jobs, err := lab.Fill(t.Context(), client, lab.Incident{Jobs: 2, Pods: 3000, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("filled in %v", time.Since(begin))

	r, err := client.Get(t.Context(), "/registry/pods/", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	type owner struct{ namespace, name, uid string }
	pods, live := make(map[owner]int), make(map[string]int)
	uids, revisions := make(map[string]bool), make(map[int64]bool)
	for _, kv := range r.Kvs {
		if revisions[kv.ModRevision] {
			t.Errorf("%s: shares revision %d with another key", kv.Key, kv.ModRevision)
		}
		revisions[kv.ModRevision] = true
		pod := decodePod(t, kv.Value)
		if pod == nil {
			continue
		}
		if key := "/registry/pods/" + pod.Namespace + "/" + pod.Name; key != string(kv.Key) {
			t.Errorf("%s: holds the pod of %s", kv.Key, key)
		}
		if uids[string(pod.UID)] {
			t.Errorf("%s: UID %s is another pod's", kv.Key, pod.UID)
		}
		uids[string(pod.UID)] = true
		if c := metav1.GetControllerOf(&pod.ObjectMeta); c != nil && c.Kind == "Job" {
			pods[owner{pod.Namespace, c.Name, string(c.UID)}]++
			if pod.DeletionTimestamp == nil {
				live[pod.Namespace+"/"+c.Name]++
			}
			if pod.Labels["controller-uid"] != string(c.UID) || pod.Labels["job-name"] != c.Name {
				t.Errorf("%s: owner %s/%s, labels %v", kv.Key, c.Name, c.UID, pod.Labels)
			}
		}
	}
	for _, job := range jobs {
		if got := pods[owner{job.Namespace, job.Name, job.UID}]; got != 1500 || job.Pods != 1500 {
			t.Errorf("%s: %d pods in etcd, %d reported, want 1500", job.Name, got, job.Pods)
		}
		if got := live[job.Namespace+"/"+job.Name]; got != 1 {
			t.Errorf("%s: %d pods are not terminating, want 1", job.Name, got)
		}
	}
	byName := make(map[string]int)
	for o, n := range pods {
		byName[o.namespace+"/"+o.name] += n
	}
	want := map[string]int{
		"batch/runaway": 1500, "batch/runaway-2": 150, "batch-2/runaway": 200,
		"batch/runaway-b": 1500, "batch/runaway-b-2": 10, "batch-2/runaway-b": 10,
	} // and others that are not in protobuf
	if !maps.Equal(byName, want) {
		t.Errorf("pods by Job: %v, want %v", byName, want)
	}

	found, err := lab.Find(t.Context(), client, "batch/runaway", "batch/runaway-b")
	if err != nil {
		t.Fatal(err)
	}
	for i, job := range found {
		if job.UID != jobs[i].UID || job.Pods != jobs[i].Pods {
			t.Errorf("found %s with %d pods, filled in %s with %d", job.UID, job.Pods, jobs[i].UID, jobs[i].Pods)
		}
	}
}

func TestFillIsDeterministic(t *testing.T) {
	var first map[string]string
	for range 2 {
		_, client := startLab(t, lab.Config{})
		if _, err := lab.Fill(t.Context(), client, lab.Incident{Pods: 100, Seed: 7, End: time.Unix(1.7e9, 0)}); err != nil {
			t.Fatal(err)
		}
		r, err := client.Get(t.Context(), "/", clientv3.WithPrefix())
		if err != nil {
			t.Fatal(err)
		}
		values := make(map[string]string)
		for _, kv := range r.Kvs {
			values[string(kv.Key)] = string(kv.Value)
		}
		if first == nil {
			first = values
		} else if !maps.Equal(values, first) {
			t.Error("the same seed and end gave other keys or values")
		}
	}
}

func TestProduceStopsWithItsJob(t *testing.T) {
	_, client := startLab(t, lab.Config{})
	jobs, err := lab.Fill(t.Context(), client, lab.Incident{Jobs: 2, Pods: 10})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	births := client.Watch(ctx, "/registry/pods/", clientv3.WithPrefix(), clientv3.WithFilterDelete())
	produceCtx, stop := context.WithCancel(ctx)
	done := make(chan error)
	go func() { done <- lab.Produce(produceCtx, client, jobs, 200) }()

	// await reads births until each of the UIDs has had n of them, and returns all births by UID.
	await := func(n int, uids ...string) map[string]int {
		t.Helper()
		got := make(map[string]int)
		for {
			enough := true
			for _, uid := range uids {
				enough = enough && got[uid] >= n
			}
			if enough {
				return got
			}
			r, ok := <-births
			if !ok {
				t.Fatalf("watch ended: births %v", got)
			}
			for _, event := range r.Events {
				if !event.IsCreate() {
					t.Errorf("%s: overwritten", event.Kv.Key)
				}
				got[string(metav1.GetControllerOf(decodePod(t, event.Kv.Value)).UID)]++
			}
		}
	}
	await(20, jobs[0].UID, jobs[1].UID)
	deleted, err := client.Delete(ctx, jobs[0].Key())
	if err != nil {
		t.Fatal(err)
	}
	await(20, jobs[1].UID) // the other goes on
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	r, err := client.Get(ctx, "/registry/pods/batch/", clientv3.WithPrefix(), clientv3.WithMinCreateRev(deleted.Header.Revision))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Kvs) < 20 {
		t.Errorf("%d births after the first Job went, want 20 of the second", len(r.Kvs))
	}
	for _, kv := range r.Kvs {
		if uid := string(metav1.GetControllerOf(decodePod(t, kv.Value)).UID); uid != jobs[1].UID {
			t.Errorf("%s: born at revision %d, after its Job went at %d", kv.Key, kv.CreateRevision, deleted.Header.Revision)
		}
	}
}
