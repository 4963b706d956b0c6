package sweep_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"etcdsweep/decode"
	"etcdsweep/plan"
	"etcdsweep/plan/apply"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/run"
	"etcdsweep/test/fixtures"
	"etcdsweep/test/lab"
	"etcdsweep/test/lab/labtest"
)

func ownedBy(kind, namespace, name string) plan.Query {
	kind, group, _ := strings.Cut(kind, ".")
	return plan.Query{Owners: []plan.OwnerName{{GroupKind: schema.GroupKind{Kind: kind, Group: group}, Namespace: namespace, Name: name}}}
}

func ofResource(resource string, namespaces ...string) plan.Query {
	return plan.Query{Resource: resource, Namespaces: namespaces, OlderThan: time.Second}
}

func withLabel(key, value string) labels.Selector {
	return labels.SelectorFromSet(labels.Set{key: value})
}

func still(o *plan.Options) { o.LeaseDuration = time.Millisecond }

// stages counts the entries of each stage.
func stages(p *plan.File) map[string]int64 {
	counts := map[string]int64{}
	for _, stage := range p.Trailer.Summary.Stages {
		counts[stage.Name] = stage.Entries
	}
	return counts
}

// A CronJob takes its Jobs along and a Deployment its ReplicaSets, and these their pods, each after what makes it again.
func TestOwnersOfOwners(t *testing.T) {
	for name, binary := range labtest.Servers(t) {
		t.Run(name, func(t *testing.T) {
			w := restore(t, fixtures.Zoo, lab.Config{Binary: binary, NoFsync: true})
			w.unlock(fixtures.Zoo)
			before := w.state()
			p := w.plan(ownedBy("CronJob.batch", "ops", "tick"))
			planned := keys(t, p)
			want := []string{"/registry/cronjobs/ops/tick", "/registry/jobs/ops/tick-29924183", "/registry/jobs/ops/tick-29924184", "/registry/jobs/ops/tick-29924185"}
			if !slices.Equal(planned[:4], want) || len(planned) != 64 {
				t.Fatalf("%d keys, first %q; want 64, first %q", len(planned), planned[:4], want)
			}
			if counts := stages(p); counts[plan.StageRoots] != 4 || counts[plan.StagePods] != 60 || p.Trailer.Collateral != 0 {
				t.Errorf("%v, and %d of collateral; want 4 roots and 60 pods", counts, p.Trailer.Collateral)
			}
			report, err := apply.Run(t.Context(), w.config(p))
			must(t, err)
			wantOutcomes(t, "pods", report.Pods, map[journal.Outcome]int64{journal.Deleted: 60})
			onlyGone(t, before, w.state(), planned)
		})
	}
}

// Owners below the named one are found whatever it is called, and whether or not its own record is there.
func TestOwnersBelow(t *testing.T) {
	w := restore(t, fixtures.Zoo, lab.Config{NoFsync: true})
	const set = "/registry/replicasets/web/web-99d9b4985"
	for _, kind := range []string{"Deployment", "deployments.apps", "deployment.extensions"} {
		p := w.plan(ownedBy(kind, "web", "web"), still, allow("collateral"))
		if got := keys(t, p)[:2]; got[0] != "/registry/deployments/web/web" || got[1] != set || p.Trailer.Entries != 65 {
			t.Errorf("%s: %q go first of %d", kind, got, p.Trailer.Entries)
		}
	}
	// An old ReplicaSet without pods goes too, and a ReplicaSet that belongs to another Deployment stays.
	deployment := w.decoded("/registry/deployments/web/web")
	set2 := func(name string, owner decode.OwnerReference) thing {
		return thing{key: "/registry/replicasets/web/" + name, apiVersion: "apps/v1", kind: "ReplicaSet", namespace: "web", name: name, owners: []decode.OwnerReference{owner}}
	}
	other := refTo(deployment, true)
	other.UID = "another"
	w.put(set2("web-old", refTo(deployment, true)), set2("web-other", other), set2("web-loose", refTo(deployment, false)))
	p := w.plan(ownedBy("Deployment", "web", "web"), still, allow("collateral"))
	if got := keys(t, p)[:4]; got[2] != "/registry/replicasets/web/web-old" || stages(p)[plan.StageRoots] != 3 {
		t.Errorf("%q go first", got)
	}
	if got := sorted(t, p.Collateral()); !slices.Contains(got, "/registry/replicasets/web/web-loose") || slices.Contains(got, "/registry/replicasets/web/web-other") {
		t.Errorf("collateral %q", got)
	}
	// Without its own record the Deployment is known by its name: both ReplicaSets that name it as their controller are its own.
	_, err := w.etcd.Delete(t.Context(), "/registry/deployments/web/web")
	must(t, err)
	p = w.plan(ownedBy("Deployment", "web", "web"), still, allow("collateral"))
	if o := p.Trailer.Owners; stages(p)[plan.StageRoots] != 3 || len(o) != 4 || !o[0].Absent || len(o[0].UIDs) != 2 || !o[1].Below {
		t.Errorf("%d roots, owners %+v", stages(p)[plan.StageRoots], o)
	}
	if p := w.plan(ownedBy("Deployment", "web", "web"), still, func(o *plan.Options) { o.KeepRoots = true }); stages(p)[plan.StageRoots] != 0 || p.Trailer.Entries != 63 {
		t.Errorf("%v without roots, want 63 pods", stages(p))
	}
}

// Custom resources own others, over as many steps as there are.
func TestOddOwners(t *testing.T) {
	w := restore(t, fixtures.Zoo, lab.Config{NoFsync: true})
	top := report("batch", "top")
	middle := report("batch", "middle", top.ref(true))
	job := thing{key: "/registry/jobs/batch/made", apiVersion: "batch/v1", kind: "Job", namespace: "batch", name: "made", owners: []decode.OwnerReference{middle.ref(true)}}
	w.put(top, middle, job, bystander("batch", "made-a", job.ref(true)), bystander("batch", "middle-a", middle.ref(true)),
		bystander("batch", "top-a", top.ref(true)), bystander("batch", "aside", top.ref(false)))
	for _, kind := range []string{"Report.policy.example.com", "report", "reports"} {
		p := w.plan(ownedBy(kind, "batch", "top"), allow("collateral"))
		want := []string{top.key, middle.key, job.key, "/registry/pods/batch/made-a", "/registry/pods/batch/middle-a", "/registry/pods/batch/top-a"}
		if got := keys(t, p); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", kind, got, want)
		}
		if got := sorted(t, p.Collateral()); !slices.Equal(got, []string{"/registry/pods/batch/aside"}) {
			t.Errorf("collateral %q", got)
		}
	}
	// One that is guarded keeps the plan from being made.
	w.changeJSON(middle.key, func(metadata map[string]any) { metadata["finalizers"] = []string{"example.com/hold"} })
	w.refused(ownedBy("report", "batch", "top"), nil, "Report batch/middle is protected by the guard finalizer=example.com/hold")

	// Two that control each other: neither can go first.
	top.owners = []decode.OwnerReference{middle.ref(true)}
	w.put(top, middle)
	w.changeJSON(middle.key, func(metadata map[string]any) {
		metadata["ownerReferences"] = references([]decode.OwnerReference{top.ref(true)})
	})
	w.refused(ownedBy("report", "batch", "top"), nil, "controlled by itself")

	// What is in no namespace may own things anywhere: its pods go where they are looked for, and it stays.
	scan := thing{key: "/registry/policy.example.com/scans/all", apiVersion: "policy.example.com/v1", kind: "Scan", name: "all"}
	w.put(scan, bystander("batch", "scan-a", scan.ref(true)), bystander("ops", "scan-b", scan.ref(true)))
	inBatch := ownedBy("scan", "batch", "all")
	inBatch.Namespaces = []string{"batch"}
	w.refused(inBatch, nil, "Scan all is in no namespace", "--keep-roots")
	if got := keys(t, w.plan(inBatch, func(o *plan.Options) { o.KeepRoots = true })); !slices.Equal(got, []string{"/registry/pods/batch/scan-a"}) {
		t.Errorf("%q of a Scan, want its pod in batch", got)
	}
	w.refused(ownedBy("scan", "", "all"), nil, "names no namespace")
	query := ownedBy("report", "", "top")
	query.Namespaces = []string{"batch", "ops"}
	w.refused(query, nil, "is in a namespace, and none is given")
	w.refused(ownedBy("Thing.example.com", "batch", "top"), nil, "it is not known where owner Thing.example.com is stored")
	w.refused(ownedBy("node", "batch", "node7"), nil, "is never deleted")

	crd := func(group string) {
		w.putJSON("/registry/apiextensions.k8s.io/customresourcedefinitions/reports."+group, map[string]any{
			"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": "reports." + group, "uid": "uid-of-" + group},
			"spec": map[string]any{"group": group, "scope": "Namespaced", "names": map[string]any{"plural": "reports", "kind": "Report"}},
		})
	}
	crd("other.example.com")
	w.refused(ownedBy("report", "batch", "top"), nil, "may be any of reports.other.example.com, reports.policy.example.com", "add the group")
}

// Objects of any resource are planned under the same selection, and go as they were planned.
func TestResources(t *testing.T) {
	for name, binary := range labtest.Servers(t) {
		t.Run(name, func(t *testing.T) {
			w := restore(t, fixtures.Zoo, lab.Config{Binary: binary, NoFsync: true})
			before := w.state()
			p := w.plan(ofResource("reports.policy.example.com", "doomed"))
			planned := keys(t, p)
			if counts := stages(p); counts[plan.StageObjects] != 60 || len(counts) != 1 || len(planned) != 60 {
				t.Fatalf("%v, want 60 objects", counts)
			}
			cfg := w.config(p)
			afterSnapshot(&cfg, func() { // one drifts, and one is made again
				report := func(name, uid string) {
					w.putJSON("/registry/policy.example.com/reports/doomed/"+name, map[string]any{
						"apiVersion": "policy.example.com/v1", "kind": "Report",
						"metadata": map[string]any{"name": name, "namespace": "doomed", "uid": uid, "creationTimestamp": "2020-01-01T00:00:00Z"},
					})
				}
				first := podEntries(t, p)
				if len(first) != 0 {
					t.Errorf("%d pods are planned", len(first))
				}
				var entries []plan.Entry
				for entry, err := range p.Entries(plan.StageObjects) {
					must(t, err)
					entries = append(entries, entry)
				}
				report(entries[0].Name, entries[0].UID)
				report(entries[1].Name, "another")
			})
			got, err := apply.Run(t.Context(), cfg)
			if err == nil {
				t.Error("done, want something left")
			}
			wantOutcomes(t, "objects", got.Objects, map[journal.Outcome]int64{journal.Deleted: 58, journal.DriftedDeleted: 1, journal.Skipped: 1})
			if archived := w.archived(cfg); len(archived) != 59 {
				t.Errorf("%d archived, want 59", len(archived))
			}
			after := w.state()
			delete(after, planned[1])
			onlyGone(t, before, after, planned)
		})
	}

	w := restore(t, fixtures.Zoo, lab.Config{NoFsync: true})
	if p := w.plan(ofResource("Secret", "doomed")); p.Trailer.Entries != 20 {
		t.Errorf("%d Secrets, want 20", p.Trailer.Entries)
	}
	w.refused(ofResource("scans", ""), nil, "are in no namespace", "--allow collateral")
	scans := plan.Query{Resource: "scans.policy.example.com", OlderThan: time.Second}
	if got := keys(t, w.plan(scans, allow("collateral"))); !slices.Equal(got, []string{"/registry/policy.example.com/scans/doomed", "/registry/policy.example.com/scans/web"}) {
		t.Errorf("%q of scans", got)
	}
	w.refused(ofResource("things.example.com", "doomed"), nil, "it is not known where resource things.example.com is stored")
	w.refused(ofResource("nodes"), nil, "are the cluster's own")
	w.refused(ofResource("namespaces"), nil, "are the cluster's own")
	w.refused(ofResource("secrets"), nil, "names no namespace")
	w.refused(ofResource("leases", "kube-node-lease"), nil, "protected-namespace")
	w.refused(ofResource("leases", "kube-node-lease"), []func(*plan.Options){allow("protected-namespace")}, "is never deleted")
	w.refused(ofResource("persistentvolumeclaims", "web"), nil, "kept out by data-loss")
	w.refused(plan.Query{Resource: "secrets", Namespaces: []string{"doomed"}}, nil, "the selection is empty")
}

// What depends on objects that go is collateral, pods included.
func TestResourceWithDependents(t *testing.T) {
	w := restore(t, fixtures.Zoo, lab.Config{NoFsync: true})
	owner := report("batch", "owner")
	data := claim("batch", "data", "pv-data", owner.ref(false))
	child := report("batch", "child", data.ref(true))
	early, late := bystander("batch", "aaa", child.ref(true)), bystander("batch", "zzz", owner.ref(true))
	behind := bystander("batch", "aaaa", late.ref(true)) // passes before the pod that it depends on
	w.put(owner, data, child, early, late, behind, volume("pv-data", "Delete"), bystander("ops", "zzz", owner.ref(true)))
	w.changeJSON(owner.key, func(metadata map[string]any) { metadata["labels"] = map[string]string{"app": "x"} })
	query := plan.Query{Resource: "reports", Namespaces: []string{"batch"}, Selector: withLabel("app", "x")}
	w.refused(query, nil, "3 Pod, such as "+early.key, "volume pv-data, reclaim policy Delete", "--allow collateral,data-loss")
	p := w.plan(query, allow("collateral", "data-loss"))
	want := []string{data.key, child.key, early.key, late.key, behind.key}
	slices.Sort(want)
	if got := sorted(t, p.Collateral()); !slices.Equal(got, want) {
		t.Errorf("collateral %q, want %q", got, want)
	}
	if got := keys(t, p); !slices.Equal(got, []string{owner.key}) {
		t.Errorf("planned %q", got)
	}
	// The Jobs of a CronJob as objects: they go as its owners below, once, and their pods are collateral.
	_, err := apply.Run(t.Context(), w.config(p))
	must(t, err)
	before := w.state()
	jobs := ofResource("jobs", "ops")
	jobs.Owners = ownedBy("CronJob", "ops", "tick").Owners
	p = w.plan(jobs, allow("collateral"))
	if got := keys(t, p); !slices.Equal(got, []string{"/registry/cronjobs/ops/tick", "/registry/jobs/ops/tick-29924185"}) || p.Trailer.Collateral != 20 {
		t.Errorf("planned %q, %d of collateral", got, p.Trailer.Collateral)
	}
	onlyGone(t, before, w.state(), nil)
}

// The events of the planned pods go behind them, and no others.
func TestEvents(t *testing.T) {
	w := restore(t, fixtures.Incident, lab.Config{NoFsync: true})
	query := jobs("runaway", "error-ret-node8")
	query.WithEvents, query.Limit = true, 500
	p := w.plan(query, allow("collateral"))
	pods := map[string]bool{}
	for _, pod := range podEntries(t, p) {
		pods[pod.UID], pods[pod.Name] = true, true
	}
	want := map[string]bool{}
	for record, err := range w.client.Scan(t.Context(), "/registry/events/runaway/") {
		must(t, err)
		event, err := record.Decode()
		must(t, err)
		if about := event.Involved; pods[about.UID] || about.UID == "" && about.Kind == "Pod" && pods[about.Name] {
			want[record.Key] = true
		}
	}
	if counts := stages(p); counts[plan.StagePods] != 500 || len(want) < 100 || counts[plan.StageObjects] != int64(len(want)) {
		t.Fatalf("%v, want 500 pods and their %d events", counts, len(want))
	}
	for entry, err := range p.Entries(plan.StageObjects) {
		must(t, err)
		if !want[entry.Key] {
			t.Errorf("%s is planned, and about no planned pod", entry.Key)
		}
	}
	cfg := w.config(p)
	var drifted plan.Entry
	afterSnapshot(&cfg, func() { // an event is counted on
		for entry, err := range p.Entries(plan.StageObjects) {
			must(t, err)
			drifted = entry
			break
		}
		record, err := w.client.Get(t.Context(), drifted.Key)
		must(t, err)
		_, err = w.etcd.Put(t.Context(), drifted.Key, string(record.Value))
		must(t, err)
	})
	before := w.state()
	report, err := apply.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	wantOutcomes(t, "objects", report.Objects, map[journal.Outcome]int64{journal.Deleted: int64(len(want)) - 1, journal.DriftedDeleted: 1})
	for entry, err := range p.Entries(plan.StageObjects) {
		must(t, err)
		if record, err := w.client.Get(t.Context(), entry.Key); err != nil || record != nil {
			t.Errorf("%s still stands (%v)", entry.Key, err)
		}
		delete(before, entry.Key) // those without a lease
	}
	gone := slices.DeleteFunc(keys(t, p), func(key string) bool { return strings.HasPrefix(key, "/registry/events/") })
	onlyGone(t, before, w.state(), gone)
}

// The next Job that a CronJob makes is seen, although it is no pod.
func TestJobBornBelow(t *testing.T) {
	w := restore(t, fixtures.Zoo, lab.Config{NoFsync: true})
	cron := w.decoded("/registry/cronjobs/ops/tick")
	p := w.plan(ownedBy("CronJob", "ops", "tick"))
	cfg := w.config(p)
	cfg.SettleMax, cfg.Settle = time.Second, 500*time.Millisecond
	born := 0
	cfg.Observe = func(e run.Event) {
		if _, ok := e.(run.Settling); !ok {
			return
		}
		born++
		name := fmt.Sprintf("tick-%d", born)
		w.put(thing{key: "/registry/jobs/ops/" + name, apiVersion: "batch/v1", kind: "Job", namespace: "ops", name: name, owners: []decode.OwnerReference{refTo(cron, true)}})
	}
	report, err := apply.Run(t.Context(), cfg)
	if err == nil || !strings.Contains(err.Error(), "CronJob ops/tick") || report.Pods.Total() != 0 {
		t.Errorf("%v, %d pods judged; want it to stop and to name the CronJob", err, report.Pods.Total())
	}
}
