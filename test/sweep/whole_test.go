package sweep_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"etcdsweep/decode"
	"etcdsweep/plan"
	"etcdsweep/plan/apply"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/run"
	"etcdsweep/plan/undo"
	"etcdsweep/test/fixtures"
	"etcdsweep/test/lab"
	"etcdsweep/test/lab/labtest"
)

const (
	doomed    = "/registry/namespaces/doomed"
	holdAllow = "finalizer=example.com/hold"
)

func whole(name string) plan.Query { return plan.Query{WholeNamespace: name} }

// byPrefix counts keys by all but their names.
func byPrefix(keys []string) map[string]int {
	counts := map[string]int{}
	for _, key := range keys {
		counts[strings.TrimPrefix(key[:strings.LastIndex(key, "/")], "/registry/")]++
	}
	return counts
}

// undo puts back what a run has deleted.
func (w *world) undo(ctx context.Context, cfg apply.Config) (*undo.Report, error) {
	return undo.Run(ctx, undo.Config{
		Plan: cfg.Plan, Cluster: w.live(cfg.Plan), Dir: cfg.Dir, Opened: journal.Opened{Plan: cfg.Plan.ID},
		Concurrency: 16, LeaseDuration: 50 * time.Millisecond, Now: time.Now,
	})
}

// sameBytes checks that every key holds what it held, whatever its revisions.
func sameBytes(t *testing.T, before, after state) {
	t.Helper()
	for _, key := range slices.Sorted(maps.Keys(before)) {
		if got, ok := after[key]; !ok || string(got.Value) != string(before[key].Value) {
			t.Errorf("%s: there %v, or with other bytes", key, ok)
		}
	}
	for key := range after {
		if _, ok := before[key]; !ok {
			t.Errorf("%s is there, and was not", key)
		}
	}
}

// A namespace is exactly its keys: not what is named like it, and not what stands beside it.
func TestWholeNamespace(t *testing.T) {
	for name, binary := range labtest.Servers(t) {
		t.Run(name, func(t *testing.T) {
			w := restore(t, fixtures.Zoo, lab.Config{Binary: binary, NoFsync: true})
			before := w.state()
			w.refused(whole("doomed"), []func(*plan.Options){still}, "whole or not at all", "20 kept out by "+holdAllow, "--allow "+holdAllow+" accepts")
			p := w.plan(whole("doomed"), allow(holdAllow), still)
			planned := keys(t, p)
			want := map[string]int{
				"pods/doomed": 20, "configmaps/doomed": 21, "secrets/doomed": 20, "policy.example.com/reports/doomed": 60,
				"services/specs/doomed": 1, "services/endpoints/doomed": 1, "endpointslices/doomed": 1, "rolebindings/doomed": 1,
				"serviceaccounts/doomed": 1, "namespaces": 1,
			}
			if got := byPrefix(planned); !maps.Equal(got, want) || len(planned) != 127 {
				t.Fatalf("%d keys: %v, want %v", len(planned), got, want)
			}
			if last := planned[126]; last != doomed || slices.Contains(planned, "/registry/policy.example.com/scans/doomed") {
				t.Errorf("%s goes last", last)
			}
			onlyGone(t, before, w.state(), nil)

			deletes := w.deletes(len(planned))
			cfg := w.config(p)
			report, err := apply.Run(t.Context(), cfg)
			must(t, err)
			onlyGone(t, before, w.state(), planned)
			if perRevision := deletes(); len(perRevision) != 127 {
				t.Errorf("a watcher saw 127 keys go in %d revisions", len(perRevision))
			}
			wantOutcomes(t, "namespace", report.Namespace, map[journal.Outcome]int64{journal.Deleted: 1})
			_, err = w.undo(t.Context(), cfg)
			must(t, err)
			sameBytes(t, before, w.state())
		})
	}
}

// A namespace with a leader election, a claim that is bound, and a Namespace that is terminating.
func TestRicherNamespace(t *testing.T) {
	w := restore(t, fixtures.Zoo, lab.Config{NoFsync: true})
	lease := thing{key: "/registry/leases/doomed/leader", apiVersion: "coordination.k8s.io/v1", kind: "Lease", namespace: "doomed", name: "leader"}
	data := claim("doomed", "data", "pv-data")
	helper := bystander("doomed", "resizer", data.ref(true)) // which makes the claim a root
	w.put(lease, data, helper, volume("pv-data", "Delete"), thing{key: "/registry/policy.example.com/scans/other", apiVersion: "policy.example.com/v1", kind: "Scan", name: "other"})
	w.changeJSON(data.key, func(metadata map[string]any) { metadata["finalizers"] = []string{"kubernetes.io/pvc-protection"} })
	w.putJSON(doomed, map[string]any{
		"apiVersion": "v1", "kind": "Namespace", "spec": map[string]any{"finalizers": []string{"kubernetes"}},
		"metadata": map[string]any{"name": "doomed", "uid": "uid-of-doomed", "deletionTimestamp": "2026-03-01T12:00:00Z", "finalizers": []string{"example.com/last"}},
	})
	before := w.state()
	w.refused(whole("doomed"), nil, "20 kept out by "+holdAllow, "1 kept out by data-loss", "volume pv-data, reclaim policy Delete",
		"--allow data-loss,"+holdAllow+",finalizer=example.com/last accepts")
	p := w.plan(whole("doomed"), allow("data-loss", holdAllow, "finalizer=example.com/last"))
	s := &p.Trailer.Summary
	if planned := keys(t, p); len(planned) != 130 || !slices.Contains(planned, lease.key) || !slices.Contains(planned, data.key) {
		t.Errorf("%d keys", len(planned))
	}
	if want := []plan.Claim{{Key: data.key, Volume: "pv-data", ReclaimPolicy: "Delete"}}; !slices.Equal(s.Claims, want) || !s.Namespace.Terminating || s.Namespace.Apiservers != 0 {
		t.Errorf("claims %+v, namespace %+v", s.Claims, s.Namespace)
	}
	cfg := w.config(p)
	_, err := apply.Run(t.Context(), cfg)
	must(t, err)
	onlyGone(t, before, w.state(), keys(t, p))

	// The undo of it is interrupted when the Namespace is back, and goes on although that is terminating.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	undoing := undo.Config{
		Plan: cfg.Plan, Cluster: w.live(p), Dir: cfg.Dir, Opened: journal.Opened{Plan: p.ID},
		Concurrency: 1, LeaseDuration: 50 * time.Millisecond, Now: time.Now,
		Observe: func(e run.Event) {
			if judged, ok := e.(run.Judged); ok && judged.Key == doomed {
				cancel()
			}
		},
	}
	if _, err := undo.Run(ctx, undoing); !errors.Is(err, run.ErrInterrupted) {
		t.Fatalf("%v, want it interrupted", err)
	}
	report, err := w.undo(t.Context(), cfg)
	must(t, err)
	if !slices.ContainsFunc(report.Warnings, func(text string) bool { return strings.Contains(text, "was terminating when it went") }) {
		t.Errorf("warnings %q", report.Warnings)
	}
	sameBytes(t, before, w.state())
}

// Owners go first, each before what it owns, then pods, then the rest; and a run that is interrupted anywhere goes on.
func TestWholeNamespaceOfWorkloads(t *testing.T) {
	w := restore(t, fixtures.Zoo, lab.Config{NoFsync: true})
	before := w.state()
	wait := func(o *plan.Options) { o.LeaseDuration = time.Millisecond; o.MaxRunningShare = 100 }
	w.refused(whole("web"), []func(*plan.Options){wait}, "kept out by data-loss", "60 kept out by running-on-live-node", "--allow data-loss,running-on-live-node accepts")
	p := w.plan(whole("web"), wait, allow("data-loss", "running-on-live-node"))
	roots := sorted(t, p.Entries(plan.StageRoots))
	want := []string{"/registry/deployments/web/web", "/registry/replicasets/web/web-99d9b4985", "/registry/statefulsets/web/db"}
	if !slices.Equal(roots, want) {
		t.Fatalf("roots %q, want %q", roots, want)
	}
	all := keys(t, p)
	if slices.Index(all, want[0]) > slices.Index(all, want[1]) || stages(p)[plan.StagePods] != 123 || !strings.HasPrefix(all[len(all)-1], "/registry/namespaces/") {
		t.Errorf("%q ... %q, %v", all[:3], all[len(all)-1], stages(p))
	}
	cfg := w.config(p)
	for _, at := range []run.Step{run.StepRoots, run.StepPods, run.StepObjects, run.StepNamespace} {
		ctx, cancel := context.WithCancel(t.Context())
		cfg.Observe = func(e run.Event) {
			if judged, ok := e.(run.Judged); ok && judged.Step == at {
				cancel()
			}
		}
		_, err := apply.Run(ctx, cfg)
		cancel()
		if at == run.StepNamespace && err == nil { // it was the last one of all
			break
		}
		if !errors.Is(err, run.ErrInterrupted) {
			t.Fatalf("%s: %v, want it interrupted", at, err)
		}
	}
	cfg.Observe = nil
	if _, err := apply.Run(t.Context(), cfg); err != nil {
		if refused, ok := errors.AsType[*plan.RefusedError](err); !ok || !strings.Contains(refused.Reason, "was carried out") {
			t.Fatal(err)
		}
	}
	gone := slices.DeleteFunc(all, func(key string) bool { _, ok := before[key]; return !ok }) // events have leases
	onlyGone(t, before, w.state(), gone)
	_, err := w.undo(t.Context(), cfg)
	must(t, err)
	sameBytes(t, before, w.state())
}

// What is made in the namespace meanwhile goes as well; but not what a guard keeps, and then the Namespace stays.
func TestNamespaceThatIsFilledAgain(t *testing.T) {
	w := restore(t, fixtures.Zoo, lab.Config{NoFsync: true})
	before := w.state()
	p := w.plan(whole("doomed"), allow(holdAllow), still)
	secret := func(name string) thing {
		return thing{key: "/registry/secrets/doomed/" + name, apiVersion: "v1", kind: "Secret", namespace: "doomed", name: name}
	}
	cfg := w.config(p)
	made := 0
	cfg.Observe = func(e run.Event) {
		switch e := e.(type) {
		case run.StepEnded:
			if e.Step == run.StepPods {
				w.put(secret("new"), thing{key: "/registry/leases/doomed/new", apiVersion: "coordination.k8s.io/v1", kind: "Lease", namespace: "doomed", name: "new"})
				for _, key := range []string{"/registry/secrets/doomed/new", "/registry/leases/doomed/new"} {
					record, err := w.client.Get(t.Context(), key)
					must(t, err)
					before[key] = *record
				}
			}
		case run.Judged:
			if e.Key == "/registry/serviceaccounts/doomed/default" && made < 3 || e.Key == doomed { // made again, also at the very end
				made++
				w.put(thing{key: "/registry/serviceaccounts/doomed/default", apiVersion: "v1", kind: "ServiceAccount", namespace: "doomed", name: "default"})
			}
		}
	}
	report, err := apply.Run(t.Context(), cfg)
	must(t, err)
	wantOutcomes(t, "newcomers", report.Newcomers, map[journal.Outcome]int64{journal.Deleted: 2 + 4})
	onlyGone(t, before, w.state(), append(keys(t, p), "/registry/secrets/doomed/new", "/registry/leases/doomed/new"))

	// Back comes the ServiceAccount that was planned, not the last one of those that were made in its place.
	_, err = w.undo(t.Context(), cfg)
	must(t, err)
	sameBytes(t, before, w.state())
}

// One who fills it again and again is not followed for ever: the Namespace stays.
func TestNamespaceThatFillsForEver(t *testing.T) {
	w := restore(t, fixtures.Zoo, lab.Config{NoFsync: true})
	p := w.plan(whole("doomed"), allow(holdAllow), still)
	cfg := w.config(p)
	account := thing{key: "/registry/serviceaccounts/doomed/default", apiVersion: "v1", kind: "ServiceAccount", namespace: "doomed", name: "default"}
	cfg.Observe = func(e run.Event) {
		if judged, ok := e.(run.Judged); ok && judged.Key == account.key {
			w.put(account)
		}
	}
	report, err := apply.Run(t.Context(), cfg)
	if !errors.Is(err, run.ErrLeft) || !report.Newcomers.Capped || report.Left.Selected == 0 {
		t.Errorf("%v, newcomers %+v, %d left", err, report.Newcomers, report.Left.Selected)
	}
	if record, err := w.client.Get(t.Context(), doomed); err != nil || record == nil {
		t.Errorf("the Namespace is gone (%v)", err)
	}
}

// A namespace that was made again under the same name is never touched.
func TestNamespaceMadeAgain(t *testing.T) {
	for _, when := range []run.Step{run.StepPreflight, run.StepProof, run.StepPods, run.StepObjects, run.StepNewcomers} {
		t.Run(string(when), func(t *testing.T) {
			w := restore(t, fixtures.Zoo, lab.Config{NoFsync: true})
			p := w.plan(whole("doomed"), allow(holdAllow), still)
			again := thing{key: doomed, apiVersion: "v1", kind: "Namespace", name: "doomed"}
			fresh := thing{key: "/registry/secrets/doomed/fresh", apiVersion: "v1", kind: "Secret", namespace: "doomed", name: "fresh"}
			cfg := w.config(p)
			cfg.Observe = func(e run.Event) {
				if began, ok := e.(run.StepBegan); ok && began.Step == when {
					_, err := w.etcd.Delete(t.Context(), doomed)
					must(t, err)
					w.put(again, fresh)
				}
			}
			_, err := apply.Run(t.Context(), cfg)
			if refused, ok := errors.AsType[*plan.RefusedError](err); !ok || !strings.Contains(refused.Reason, "was made again") {
				t.Errorf("%v, want a refusal", err)
			}
			cfg.Observe = nil
			if _, err := apply.Run(t.Context(), cfg); err == nil {
				t.Error("a second attempt was done")
			}
			for _, key := range []string{again.key, fresh.key} {
				if record, err := w.client.Get(t.Context(), key); err != nil || record == nil {
					t.Errorf("%s is gone (%v)", key, err)
				}
			}
		})
	}
}

// A claim that is made after the plan was named by nobody: it stays, and so does the Namespace.
func TestClaimsThatAreNew(t *testing.T) {
	w := restore(t, fixtures.Zoo, lab.Config{NoFsync: true})
	w.put(claim("doomed", "data", "pv-data"), volume("pv-data", "Delete"))
	p := w.plan(whole("doomed"), allow(holdAllow, "data-loss"), still)
	cfg := w.config(p)
	late := claim("doomed", "late", "pv-late")
	afterSnapshot(&cfg, func() { w.put(late) })
	report, err := apply.Run(t.Context(), cfg)
	if !errors.Is(err, run.ErrLeft) || report.Left.Selected != 1 || report.Left.Examples[0] != late.key {
		t.Errorf("%v, left %+v", err, report.Left)
	}
	for _, key := range []string{late.key, doomed} {
		if record, err := w.client.Get(t.Context(), key); err != nil || record == nil {
			t.Errorf("%s is gone (%v)", key, err)
		}
	}
}

// Keys of which nobody knows whether they are in the namespace, and values that cannot be read, refuse the plan. Who leaves them
// behind leaves exactly them, and the Namespace as long as any of them is of a known resource.
func TestNamespaceInDoubt(t *testing.T) {
	w := restore(t, fixtures.Zoo, lab.Config{NoFsync: true})
	strange := map[string]string{
		"/registry/policy.example.com/orphans/doomed/x": `{"apiVersion":"policy.example.com/v1","kind":"Orphan","metadata":{"name":"x","namespace":"doomed","uid":"u"}}`,
		"/registry/newthings/doomed/x":                  "?",
		"/registry/secrets/doomed/a/b":                  "?",
		"/registry/configmaps/doomed/sealed":            "k8s:enc:aescbc:v1:key:xxxx",
		"/registry/configmaps/doomed/liar":              `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"liar","namespace":"other","uid":"v"}}`,
	}
	none := map[string]string{ // these are somewhere else
		"/registry/policy.example.com/orphans/doomed": "?",
		"/registry/newthings/doomed":                  "?",
		"/registry/secrets/doomed-2/x":                "?",
		"/registry/masterleases/doomed/x":             "?",
		"/registry/configmaps/a/doomed":               "?",
	}
	for _, keys := range []map[string]string{strange, none} {
		for key, value := range keys {
			_, err := w.etcd.Put(t.Context(), key, value)
			must(t, err)
		}
	}
	before := w.state()
	w.refused(whole("doomed"), []func(*plan.Options){still}, "2 cannot be judged", "of no resource that is known", "encrypted", "key and object disagree", "unknown encoding", "left-behind")
	p := w.plan(whole("doomed"), allow(holdAllow, plan.AllowLeftBehind), still)
	planned := keys(t, p)
	if s := p.Trailer.Summary.Namespace; len(planned) != 126 || slices.Contains(planned, doomed) || s.Stays != 3 {
		t.Errorf("%d entries, want 126 without the Namespace; %+v", len(planned), s)
	}
	_, err := apply.Run(t.Context(), w.config(p))
	must(t, err)
	onlyGone(t, before, w.state(), planned)
	w.refused(whole("doomed"), []func(*plan.Options){still, allow(plan.AllowLeftBehind)}, "nothing in the namespace doomed can be judged")

	// Of resources that nobody knows the Namespace does not know either. But it stays for what comes between plan and apply.
	known := []string{"/registry/secrets/doomed/a/b", "/registry/configmaps/doomed/sealed", "/registry/configmaps/doomed/liar"}
	for _, key := range known {
		_, err := w.etcd.Delete(t.Context(), key)
		must(t, err)
		delete(strange, key)
	}
	p = w.plan(whole("doomed"), allow(plan.AllowLeftBehind), still)
	if got := keys(t, p); !slices.Equal(got, []string{doomed}) {
		t.Errorf("planned %q", got)
	}
	cfg := w.config(p)
	afterSnapshot(&cfg, func() {
		_, err := w.etcd.Put(t.Context(), known[1], "k8s:enc:aescbc:v1:key:xxxx")
		must(t, err)
	})
	warned := ""
	cfg.Observe = func(e run.Event) {
		if warning, ok := e.(run.Warning); ok {
			warned += warning.Text
		}
	}
	if _, err := apply.Run(t.Context(), cfg); !errors.Is(err, run.ErrLeft) || !strings.Contains(warned, "stays") || !strings.Contains(warned, known[1]) {
		t.Errorf("%v, warnings %q; want the Namespace to stay", err, warned)
	}
	_, err = w.etcd.Delete(t.Context(), known[1])
	must(t, err)
	_, err = apply.Run(t.Context(), w.config(w.plan(whole("doomed"), allow(plan.AllowLeftBehind), still)))
	must(t, err)
	if record, err := w.client.Get(t.Context(), doomed); err != nil || record != nil {
		t.Fatalf("the Namespace stands (%v)", err)
	}

	// The Namespace is gone now. What it has left behind can be planned, as soon as it is known what it is.
	w.refused(whole("doomed"), nil, "cannot be judged")
	for key := range strange {
		_, err := w.etcd.Delete(t.Context(), key)
		must(t, err)
	}
	w.refused(whole("doomed"), nil, "there is no namespace doomed")
	w.put(thing{key: "/registry/secrets/doomed/x", apiVersion: "v1", kind: "Secret", namespace: "doomed", name: "x"})
	p = w.plan(whole("doomed"))
	if got := keys(t, p); !slices.Equal(got, []string{"/registry/secrets/doomed/x"}) || !p.Trailer.Summary.Namespace.Absent {
		t.Errorf("%q, %+v", got, p.Trailer.Summary.Namespace)
	}
	w.put(thing{key: doomed, apiVersion: "v1", kind: "Namespace", name: "doomed"})
	if _, err := apply.Run(t.Context(), w.config(p)); err == nil || !strings.Contains(err.Error(), "was made again") {
		t.Errorf("%v, want a refusal", err)
	}
}

// What controls a root of a namespace is no reason to keep it, whatever is known of it: the plan says what is.
func TestNamespaceBelowStrangers(t *testing.T) {
	w := restore(t, fixtures.Zoo, lab.Config{NoFsync: true})
	job := func(name string, above thing) thing {
		return thing{key: "/registry/jobs/doomed/" + name, apiVersion: "batch/v1", kind: "Job", namespace: "doomed", name: name, owners: []decode.OwnerReference{above.ref(true)}}
	}
	workflow := thing{apiVersion: "argoproj.io/v1alpha1", kind: "Workflow", name: "flow"} // its definition is not there
	sealed := report("doomed", "sealed")
	pod := bystander("doomed", "launcher")
	scan := thing{key: "/registry/policy.example.com/scans/global", apiVersion: "policy.example.com/v1", kind: "Scan", name: "global"} // in no namespace
	gone := report("doomed", "gone")
	all := []thing{job("a", workflow), job("b", sealed), job("c", pod), job("d", scan), job("e", gone)}
	w.put(append(all, pod, scan)...)
	_, err := w.etcd.Put(t.Context(), sealed.key, "k8s:enc:aescbc:v1:key:xxxx")
	must(t, err)

	p := w.plan(whole("doomed"), allow(holdAllow, plan.AllowLeftBehind), still)
	roots := p.Trailer.Summary.Roots
	if len(roots) != len(all)+1 { // and the Service, behind them in the order of the keys
		t.Fatalf("roots %+v, want %d", roots, len(all)+1)
	}
	for i, want := range []plan.Root{
		{Above: "Workflow doomed/flow", Unknown: "no CustomResourceDefinition that can be read says where Workflow.argoproj.io is stored"},
		{Above: "Report doomed/sealed", Unknown: sealed.key + ": value is encrypted (aescbc, key key)"},
		{Above: "Pod doomed/launcher", Behind: true},
		{Above: "Scan global", Stands: true},
		{Above: "Report doomed/gone"},
	} {
		want.Name, want.UID = "Job doomed/"+all[i].name, all[i].uid()
		if roots[i] != want {
			t.Errorf("%+v, want %+v", roots[i], want)
		}
	}
}

// Namespaces that hold the cluster are refused before anything is read, and so is what is said beside a namespace.
func TestNamespacesThatStay(t *testing.T) {
	w := restore(t, fixtures.Zoo, lab.Config{NoFsync: true})
	for _, name := range []string{"kube-system", "kube-public", "kube-node-lease", "default"} {
		w.refused(whole(name), []func(*plan.Options){allow("protected-namespace")}, "holds the cluster itself")
	}
	w.refused(whole("nowhere"), nil, "there is no namespace nowhere")
	beside := whole("doomed")
	beside.Limit = 3
	if _, err := w.tryPlan(beside); err == nil || !strings.Contains(err.Error(), "something else beside it") {
		t.Errorf("%v", err)
	}
	if _, err := w.etcd.Put(t.Context(), doomed, "k8s:enc:aescbc:v1:key:xxxx"); err != nil {
		t.Fatal(err)
	}
	w.refused(whole("doomed"), nil, "its UID is unknown")
}

// While an apiserver is alive the plan says so.
func TestApiserversAlive(t *testing.T) {
	w := restore(t, fixtures.Zoo, lab.Config{NoFsync: true})
	renewed := false
	p := w.plan(whole("doomed"), allow(holdAllow), func(o *plan.Options) {
		o.LeaseDuration = time.Millisecond
		o.Waiting = func(time.Duration) {
			if !renewed {
				renewed = true
				response, err := w.etcd.Get(t.Context(), "/registry/masterleases/", clientv3.WithPrefix())
				must(t, err)
				for _, kv := range response.Kvs {
					_, err := w.etcd.Put(t.Context(), string(kv.Key), string(kv.Value))
					must(t, err)
				}
			}
		}
	})
	if n := p.Trailer.Summary.Namespace.Apiservers; n != 1 {
		t.Errorf("%d apiservers are alive, want 1", n)
	}
	if n := w.plan(whole("doomed"), allow(holdAllow), still).Trailer.Summary.Namespace.Apiservers; n != 0 {
		t.Errorf("%d apiservers are alive, and none has written", n)
	}
}

// A kill right behind the Namespace's delete makes no undo forget it.
func TestKilledBehindTheNamespace(t *testing.T) {
	w := restore(t, fixtures.Zoo, lab.Config{NoFsync: true})
	before := w.state()
	p := w.plan(whole("doomed"), allow(holdAllow), still)
	cfg := w.config(p)
	killing := &killedBehind{live: cfg.Cluster.(live), key: doomed}
	cfg.Cluster = killing
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	killing.kill = cancel
	if _, err := apply.Run(ctx, cfg); err == nil {
		t.Fatal("the run was done")
	}
	cfg.Cluster = w.live(p)
	if goOn := fmt.Sprint(w.client.Get(t.Context(), doomed)); !strings.HasPrefix(goOn, "<nil>") {
		t.Fatalf("the Namespace stands: %s", goOn)
	}
	_, err := w.undo(t.Context(), cfg)
	must(t, err)
	sameBytes(t, before, w.state())
}

// killedBehind is a cluster whose answer to the delete of one key is lost, as the process is.
type killedBehind struct {
	live
	key  string
	kill func()
}

func (k *killedBehind) DeleteIf(ctx context.Context, key string, createRevision, modRevision int64) (int64, *decode.Record, error) {
	deletedAt, current, err := k.live.DeleteIf(ctx, key, createRevision, modRevision)
	if key == k.key {
		k.kill()
		return 0, nil, context.Canceled
	}
	return deletedAt, current, err
}
