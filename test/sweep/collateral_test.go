package sweep_test

import (
	"encoding/json"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"etcdsweep/decode"
	"etcdsweep/plan"
	"etcdsweep/plan/apply"
	"etcdsweep/test/fixtures"
	"etcdsweep/test/lab"
	"etcdsweep/test/lab/labtest"
)

// thing is an object that a test puts into a cluster.
type thing struct {
	key                         string
	apiVersion, kind, namespace string
	name                        string
	spec                        map[string]any
	owners                      []decode.OwnerReference
}

func (o thing) uid() string { return "uid-of-" + strings.ToLower(o.kind) + "-" + o.name }

// ref refers to the thing as an owner.
func (o thing) ref(controller bool) decode.OwnerReference {
	return decode.OwnerReference{APIVersion: o.apiVersion, Kind: o.kind, Name: o.name, UID: o.uid(), Controller: controller}
}

// put writes things as JSON.
func (w *world) put(things ...thing) {
	w.t.Helper()
	for _, o := range things {
		metadata := map[string]any{"name": o.name, "uid": o.uid()}
		if o.namespace != "" {
			metadata["namespace"] = o.namespace
		}
		if len(o.owners) > 0 {
			metadata["ownerReferences"] = references(o.owners)
		}
		w.putJSON(o.key, map[string]any{"apiVersion": o.apiVersion, "kind": o.kind, "metadata": metadata, "spec": o.spec})
	}
}

func references(owners []decode.OwnerReference) (refs []map[string]any) {
	for _, ref := range owners {
		refs = append(refs, map[string]any{"apiVersion": ref.APIVersion, "kind": ref.Kind, "name": ref.Name, "uid": ref.UID, "controller": ref.Controller})
	}
	return refs
}

func (w *world) putJSON(key string, tree map[string]any) {
	w.t.Helper()
	value, err := json.Marshal(tree)
	must(w.t, err)
	_, err = w.etcd.Put(w.t.Context(), key, string(value))
	must(w.t, err)
}

// changeJSON changes the metadata of an object that is stored as JSON.
func (w *world) changeJSON(key string, change func(metadata map[string]any)) {
	w.t.Helper()
	record, err := w.client.Get(w.t.Context(), key)
	must(w.t, err)
	var tree map[string]any
	must(w.t, json.Unmarshal(record.Value, &tree))
	change(tree["metadata"].(map[string]any))
	w.putJSON(key, tree)
}

func (w *world) decoded(key string) decode.Object {
	w.t.Helper()
	record, err := w.client.Get(w.t.Context(), key)
	must(w.t, err)
	object, err := decode.Decode(record.Value)
	must(w.t, err)
	return object
}

func refTo(o decode.Object, controller bool) decode.OwnerReference {
	return decode.OwnerReference{APIVersion: o.APIVersion, Kind: o.Kind, Name: o.Name, UID: o.UID, Controller: controller}
}

func claim(namespace, name, volume string, owners ...decode.OwnerReference) thing {
	return thing{
		key: "/registry/persistentvolumeclaims/" + namespace + "/" + name, apiVersion: "v1", kind: "PersistentVolumeClaim",
		namespace: namespace, name: name, spec: map[string]any{"volumeName": volume}, owners: owners,
	}
}

func volume(name, policy string) thing {
	return thing{
		key: "/registry/persistentvolumes/" + name, apiVersion: "v1", kind: "PersistentVolume", name: name,
		spec: map[string]any{"persistentVolumeReclaimPolicy": policy},
	}
}

func report(namespace, name string, owners ...decode.OwnerReference) thing {
	return thing{
		key: "/registry/policy.example.com/reports/" + namespace + "/" + name, apiVersion: "policy.example.com/v1", kind: "Report",
		namespace: namespace, name: name, owners: owners,
	}
}

func bystander(namespace, name string, owners ...decode.OwnerReference) thing {
	return thing{key: "/registry/pods/" + namespace + "/" + name, apiVersion: "v1", kind: "Pod", namespace: namespace, name: name, owners: owners}
}

func allow(names ...string) func(*plan.Options) {
	return func(o *plan.Options) { o.Allow = names }
}

func includeOwners(o *plan.Options) { o.IncludeOwners = true }

// refused checks that no plan is made, and that the refusal and its advice say all of these.
func (w *world) refused(query plan.Query, options []func(*plan.Options), says ...string) {
	w.t.Helper()
	_, err := w.tryPlan(query, options...)
	refusal, ok := errors.AsType[*plan.RefusedError](err)
	if !ok {
		w.t.Errorf("%v, want a refusal that says %q", err, says)
		return
	}
	for _, words := range says {
		if !strings.Contains(refusal.Reason+"\n"+refusal.Advice, words) {
			w.t.Errorf("%v\n%s\nwant one that says %q", refusal, refusal.Advice, words)
		}
	}
}

func sorted(t *testing.T, entries iter.Seq2[plan.Entry, error]) []string {
	t.Helper()
	var all []string
	for entry, err := range entries {
		must(t, err)
		all = append(all, entry.Key)
	}
	slices.Sort(all)
	return all
}

// A claim and a custom resource that depend on a Job go with it. Each is named, and has to be allowed.
func TestCollateral(t *testing.T) {
	for name, binary := range labtest.Servers(t) {
		t.Run(name, func(t *testing.T) {
			w := restore(t, fixtures.Zoo, lab.Config{Binary: binary, NoFsync: true})
			job := w.decoded("/registry/jobs/batch/runaway-2")
			data := claim("batch", "data", "pv-data", refTo(job, false)) // no controller: the garbage collector asks for no more
			result := report("batch", "result", data.ref(true))
			w.put(data, volume("pv-data", "Delete"), result,
				claim("batch", "loose", ""), claim("batch-2", "data", "pv-data", refTo(job, true)), // in another namespace, where a Job owns nothing
				report("batch", "other", claim("batch", "loose", "").ref(true)))
			before := w.state()
			query := jobs("batch", "runaway-2")

			w.refused(query, nil, "garbage collector", data.key, result.key, "volume pv-data, reclaim policy Delete", "--allow collateral,data-loss")
			w.refused(query, []func(*plan.Options){allow("data-loss")}, result.key, "--allow collateral accepts")
			w.refused(query, []func(*plan.Options){allow("collateral")}, data.key, "volume pv-data, reclaim policy Delete", "--allow data-loss accepts")

			p := w.plan(query, allow("collateral", "data-loss"))
			if got, want := sorted(t, p.Collateral()), []string{data.key, result.key}; !slices.Equal(got, want) {
				t.Errorf("collateral %q, want %q", got, want)
			}
			if p.Trailer.Entries != 151 || p.Trailer.Collateral != 2 || slices.Contains(keys(t, p), data.key) {
				t.Errorf("%d entries, %d lines of collateral", p.Trailer.Entries, p.Trailer.Collateral)
			}
			c := p.Trailer.Summary.Collateral
			if want := []plan.Claim{{Key: data.key, Volume: "pv-data", ReclaimPolicy: "Delete"}}; !slices.Equal(c.Claims, want) {
				t.Errorf("claims %+v, want %+v", c.Claims, want)
			}
			if p := w.plan(query, func(o *plan.Options) { o.KeepRoots = true }); p.Trailer.Collateral != 0 || !p.Trailer.Summary.Collateral.IsZero() {
				t.Errorf("without roots: %+v", p.Trailer.Summary.Collateral)
			}
			onlyGone(t, before, w.state(), nil)

			// Nothing but the entries is deleted: what else goes is the garbage collector's work.
			_, err := apply.Run(t.Context(), w.config(p))
			must(t, err)
			onlyGone(t, before, w.state(), keys(t, p))
		})
	}
}

// What depends on a pod that goes, goes too; and so on, wherever it stands in the order of the keys. Each is written down once.
func TestCollateralOfPods(t *testing.T) {
	w := restore(t, fixtures.Zoo, lab.Config{NoFsync: true})
	p := w.plan(jobs("batch", "runaway-2"))
	first := podEntries(t, p)[0]
	pod := w.decoded(podEntries(t, p)[70].Key)

	scratch := claim("batch", "scratch", "pv-gone", refTo(pod, false))
	early, late := bystander("batch", "aam", scratch.ref(true)), bystander("batch", "zzm", scratch.ref(true))
	second := claim("batch", "second", "", late.ref(true))
	earlier := bystander("batch", "aal", second.ref(true)) // its claim is known to go when all pods have passed
	third := report("batch", "third", earlier.ref(true))
	earliest := bystander("batch", "aaa", third.ref(true)) // and this one another time
	before, behind := bystander("batch", "aa-exec", refTo(pod, true)), bystander("batch", "zz-exec", refTo(pod, true))
	stays := bystander("batch", "aa-stays", firstPod(w, "batch-2"))
	w.put(scratch, early, late, second, earlier, third, earliest, before, behind, stays)

	q := jobs("batch", "runaway-2")
	w.refused(q, nil, scratch.key, "reclaim policy unknown", second.key+" (not bound to a volume)")
	p = w.plan(q, allow("collateral", "data-loss"))
	var want []string
	for _, o := range []thing{scratch, early, late, second, earlier, third, earliest, before, behind} {
		want = append(want, o.key)
	}
	slices.Sort(want)
	if got := sorted(t, p.Collateral()); !slices.Equal(got, want) {
		t.Errorf("collateral\n%q, want\n%q", got, want)
	}
	if p.Trailer.Entries != 151 || first.Key != podEntries(t, p)[0].Key {
		t.Errorf("%d entries, want 151", p.Trailer.Entries)
	}

	// With a limit in the middle, the Job's other pods are collateral as well, and all that depends on them.
	q.Limit = 20
	p = w.plan(q, allow("collateral", "data-loss"))
	if got := sorted(t, p.Collateral()); len(got) != len(want)+130 || len(slices.Compact(got)) != len(got) {
		t.Errorf("%d lines of collateral, want %d, each once", len(got), len(want)+130)
	}
}

// firstPod refers to the first pod of a namespace, from another one: such a reference means nothing.
func firstPod(w *world, namespace string) decode.OwnerReference {
	response, err := w.etcd.Get(w.t.Context(), "/registry/pods/"+namespace+"/", clientv3.WithPrefix(), clientv3.WithLimit(1), clientv3.WithKeysOnly())
	must(w.t, err)
	return refTo(w.decoded(string(response.Kvs[0].Key)), true)
}

// A Job that a CronJob makes comes again, unless the CronJob goes too.
func TestOwnersAbove(t *testing.T) {
	w := restore(t, fixtures.Zoo, lab.Config{NoFsync: true})
	tick := jobs("ops", "tick-29924185")
	w.refused(tick, nil, "Job ops/tick-29924185 is controlled by CronJob ops/tick", "--include-owners", "--keep-roots")
	p := w.plan(tick, includeOwners)
	if got, want := keys(t, p)[:2], []string{"/registry/cronjobs/ops/tick", "/registry/jobs/ops/tick-29924185"}; !slices.Equal(got, want) || p.Trailer.Entries != 22 {
		t.Errorf("%q go first of %d, want %q of 22", got, p.Trailer.Entries, want)
	}
	if p := w.plan(tick, func(o *plan.Options) { o.KeepRoots, o.IncludeOwners = true, true }); p.Trailer.Entries != 20 || p.Header.IncludeOwners {
		t.Errorf("%d entries without roots, want 20", p.Trailer.Entries)
	}

	// The CronJob takes its other Jobs along, and their pods.
	other := thing{
		key: "/registry/jobs/ops/tick-1", apiVersion: "batch/v1", kind: "Job", namespace: "ops", name: "tick-1",
		owners: []decode.OwnerReference{refTo(w.decoded("/registry/cronjobs/ops/tick"), true)},
	}
	child := bystander("ops", "tick-1-abcde", other.ref(true))
	w.put(other, child)
	w.refused(tick, []func(*plan.Options){includeOwners}, other.key, child.key, "--allow collateral accepts")
	p = w.plan(tick, includeOwners, allow("collateral"))
	if got, want := sorted(t, p.Collateral()), []string{other.key, child.key}; !slices.Equal(got, want) {
		t.Errorf("collateral %q, want %q", got, want)
	}

	// Other kinds of owners have owners, too. Its running pods are kept out, and would go all the same.
	set := plan.Query{Owners: []plan.OwnerName{{GroupKind: schema.GroupKind{Group: "apps", Kind: "ReplicaSet"}, Namespace: "web", Name: "web-99d9b4985"}}}
	still := func(o *plan.Options) { o.LeaseDuration = time.Millisecond }
	w.refused(set, []func(*plan.Options){still}, "ReplicaSet web/web-99d9b4985 is controlled by Deployment web/web")
	w.refused(set, []func(*plan.Options){still, includeOwners}, "57 Pod, such as")
	p = w.plan(set, still, includeOwners, allow("collateral"))
	if got, want := keys(t, p)[:2], []string{"/registry/deployments/web/web", "/registry/replicasets/web/web-99d9b4985"}; !slices.Equal(got, want) || p.Trailer.Entries != 65 || p.Trailer.Collateral != 57 {
		t.Errorf("%q go first of %d, and %d more; want %q of 65, 57", got, p.Trailer.Entries, p.Trailer.Collateral, want)
	}
}

// A custom resource above a Job is found by its definition. Where it cannot be known whether one stands, nothing is planned.
func TestCustomResourceAbove(t *testing.T) {
	const job, crd = "/registry/jobs/batch/plain-json", "/registry/apiextensions.k8s.io/customresourcedefinitions/reports.policy.example.com"
	query := jobs("batch", "plain-json")
	controlledBy := func(w *world, refs ...decode.OwnerReference) {
		w.changeJSON(job, func(metadata map[string]any) { metadata["ownerReferences"] = references(refs) })
	}
	r := report("batch", "r")
	scan := thing{key: "/registry/policy.example.com/scans/all", apiVersion: "policy.example.com/v1", kind: "Scan", name: "all"}
	w := restore(t, fixtures.Zoo, lab.Config{NoFsync: true})

	controlledBy(w, r.ref(true))
	if p := w.plan(query); p.Trailer.Summary.Roots[0].Above != "Report batch/r" || p.Trailer.Summary.Roots[0].Planned {
		t.Errorf("a Report that is gone: %+v", p.Trailer.Summary.Roots)
	}
	w.put(r)
	w.refused(query, nil, "is controlled by Report batch/r", "--include-owners")
	if got := keys(t, w.plan(query, includeOwners))[:2]; !slices.Equal(got, []string{r.key, job}) {
		t.Errorf("%q go first", got)
	}
	w.changeJSON(r.key, func(metadata map[string]any) { metadata["uid"] = "another" })
	w.plan(query)
	_, err := w.etcd.Put(t.Context(), r.key, "k8s:enc:aescbc:v1:key:xxxx")
	must(t, err)
	w.refused(query, []func(*plan.Options){includeOwners}, "Report r, of which it is not known whether it stands", "encrypted", "--keep-roots")

	// Each of two controls the other: neither can go first.
	object := w.decoded(job)
	r.owners = []decode.OwnerReference{refTo(object, true)}
	w.put(r)
	w.refused(query, []func(*plan.Options){includeOwners}, "controlled by itself")

	// What is in no namespace may own things anywhere.
	controlledBy(w, scan.ref(true))
	w.put(scan)
	w.refused(query, []func(*plan.Options){includeOwners}, "Scan all, which is in no namespace", "--keep-roots")

	controlledBy(w, r.ref(true))
	_, err = w.etcd.Delete(t.Context(), crd)
	must(t, err)
	w.refused(query, nil, "no CustomResourceDefinition", "--keep-roots")

	// A Job that is being deleted so that its pods stay.
	w.changeJSON(job, func(metadata map[string]any) {
		delete(metadata, "ownerReferences")
		metadata["finalizers"] = []string{"orphan"}
	})
	w.refused(query, []func(*plan.Options){allow("finalizer=orphan", "collateral")}, "finalizer orphan", "meant to stay", "--keep-roots")
	if p := w.plan(query, func(o *plan.Options) { o.KeepRoots = true }); p.Trailer.Entries != 60 {
		t.Errorf("%d entries, want 60", p.Trailer.Entries)
	}
	node := plan.Query{Owners: []plan.OwnerName{{GroupKind: schema.GroupKind{Kind: "Node"}, Namespace: "batch", Name: "node7"}}}
	w.refused(node, nil, "/registry/minions/node7 is never deleted")
}

// beat goes on renewing the leases of nodes until the test ends.
func (w *world) beat(nodes ...string) {
	values := map[string]string{}
	for _, node := range nodes {
		key := "/registry/leases/kube-node-lease/" + node
		record, err := w.client.Get(w.t.Context(), key)
		must(w.t, err)
		values[key] = string(record.Value)
	}
	done := make(chan error, 1)
	ticker := time.NewTicker(10 * time.Millisecond)
	go func() {
		for {
			select {
			case <-w.t.Context().Done():
				done <- nil
				return
			case <-ticker.C:
			}
			for key, value := range values {
				if _, err := w.etcd.Put(w.t.Context(), key, value); err != nil && w.t.Context().Err() == nil {
					done <- err
					return
				}
			}
		}
	}()
	w.t.Cleanup(func() {
		ticker.Stop()
		must(w.t, <-done)
	})
}

// Running pods are kept out unless their node is known to be dead, by leases that stand still while others move.
func TestRunningPods(t *testing.T) {
	w := restore(t, fixtures.Zoo, lab.Config{NoFsync: true})
	web := plan.Query{Namespaces: []string{"web"}, Phases: []string{"Running"}, Nodes: []string{"node2", "node3"}}
	var waited []time.Duration
	wait := func(d time.Duration) func(*plan.Options) {
		return func(o *plan.Options) {
			o.LeaseDuration = d
			o.Waiting = func(left time.Duration) { waited = append(waited, left) }
		}
	}
	onNode := func(p *plan.File) map[string]int64 {
		counts := map[string]int64{}
		for _, node := range p.Trailer.Summary.Nodes {
			counts[node.Name] = node.Entries
		}
		return counts
	}

	// No lease moves: nobody knows which nodes are alive.
	w.refused(web, []func(*plan.Options){wait(10 * time.Millisecond)}, "kept out by running-on-live-node")
	w.refused(web, []func(*plan.Options){wait(time.Millisecond), allow("running-on-live-node")}, "57 of the 60 pods", "--max-running-share 95")
	most := func(share float64) func(*plan.Options) { return func(o *plan.Options) { o.MaxRunningShare = share } }
	p := w.plan(web, wait(time.Millisecond), allow("running-on-live-node"), most(95))
	if s := p.Trailer.Summary; s.Running != (plan.Running{Planned: 57, Cluster: 60}) || s.NodeStates.Live+s.NodeStates.Dead != 0 || s.ClusterPods != 4798 {
		t.Errorf("running %+v, nodes %+v, %d pods", s.Running, s.NodeStates, s.ClusterPods)
	}

	// Only that of node2 moves: the pods of node3 may go, those of node2 may not.
	w.beat("node2")
	waited = nil
	db := plan.Query{Namespaces: []string{"web"}, Phases: []string{"Running"}}
	p = w.plan(db, wait(500*time.Millisecond), allow("statefulset-pod", "pvc-user"))
	s := p.Trailer.Summary
	if counts := onNode(p); len(counts) != 1 || counts["node3"] != 3 || s.Running.Planned != 0 {
		t.Errorf("planned on %v, %d of them running", counts, s.Running.Planned)
	}
	if i := slices.IndexFunc(s.KeptOut, func(k plan.KeptOut) bool { return k.Reason == "running-on-live-node" }); i < 0 || s.KeptOut[i].Count != 57 {
		t.Errorf("kept out: %+v", s.KeptOut)
	}
	if s.NodeStates != (plan.NodeStates{Measured: 0.5, Live: 1, Dead: 3}) || len(waited) != 2 || waited[0] <= 0 || waited[1] != 0 {
		t.Errorf("nodes %+v, waited %v", s.NodeStates, waited)
	}
	w.refused(web, []func(*plan.Options){wait(500 * time.Millisecond), allow("running-on-live-node"), most(99)}, "57 of the 57 pods")

	// Where no running pod is selected, nobody waits.
	waited = nil
	if p := w.plan(jobs("batch", "runaway-2"), wait(time.Hour)); len(waited) != 0 || !(p.Trailer.Summary.NodeStates == plan.NodeStates{}) {
		t.Errorf("waited %v", waited)
	}
}
