package undo_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"etcdsweep/decode"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/run"
	"etcdsweep/plan/undo"
	"etcdsweep/test/faultfs"
)

// Owners come before what they own, whatever the order in the archive and whatever their kinds; Namespaces before everything, and
// what is in no namespace before what is in one. Rings are no trap.
func TestOrder(t *testing.T) {
	w := newWorld(t)
	all := []struct {
		key string
		object
	}{
		{"/registry/pods/batch/a", object{kind: "Pod", namespace: "batch", name: "a", uid: "a", owners: []string{"job", "role"}}},
		{"/registry/pods/batch/b", object{kind: "Pod", namespace: "batch", name: "b", uid: "b", owners: []string{"not-archived"}}},
		{"/registry/claims/batch/c", object{kind: "PersistentVolumeClaim", namespace: "batch", name: "c", uid: "c", owners: []string{"a"}}},
		{jobKey, object{kind: "Job", namespace: "batch", name: "runaway", uid: "job", owners: []string{"cronjob"}}},
		{"/registry/cronjobs/batch/d", object{kind: "CronJob", namespace: "batch", name: "d", uid: "cronjob", owners: []string{"crd"}}},
		{"/registry/rings/batch/e", object{kind: "Ring", namespace: "batch", name: "e", uid: "e", owners: []string{"f"}}},
		{"/registry/rings/batch/f", object{kind: "Ring", namespace: "batch", name: "f", uid: "f", owners: []string{"e", "f"}}},
		{"/registry/clusterroles/role", object{kind: "ClusterRole", name: "role", uid: "role", owners: []string{"crd"}}},
		{"/registry/example.com/things/crd", object{kind: "Thing", name: "crd", uid: "crd"}},
		{namespaceKey, object{kind: "Namespace", name: "batch", uid: "batch", owners: []string{"crd"}}},
	}
	var keys []string
	owners := map[string][]string{}
	byUID := map[string]string{}
	for _, o := range all {
		w.put(o.key, o.value())
		keys = append(keys, o.key)
		byUID[o.uid] = o.key
		owners[o.key] = o.owners
	}
	w.put("/registry/secrets/batch/encrypted", "k8s:enc:aescbc:v1:key:\x00\x01")
	before := w.sweep(run.StepPods, append(keys, "/registry/secrets/batch/encrypted")...)

	report := w.undo(nil, func(cfg *undo.Config) { cfg.Cluster.(*cluster).write = stragglers() })
	w.back(before)
	w.outcomes(report, map[journal.Outcome]int64{journal.Restored: int64(len(before))})
	w.warned(report, "1 archived objects cannot be read")
	at := map[string]int64{}
	for key := range before {
		at[key] = w.get(key).CreateRevision
	}
	for key, uids := range owners {
		for _, uid := range uids {
			owner, archived := byUID[uid]
			if ring := strings.Contains(key, "/rings/"); archived && !ring && key != namespaceKey && at[owner] > at[key] {
				t.Errorf("%s came before its owner %s", key, owner)
			}
		}
		if at[key] < at[namespaceKey] {
			t.Errorf("%s came before the Namespace", key)
		}
		if namespaced := strings.Contains(key, "/batch/"); namespaced && at[key] < at["/registry/clusterroles/role"] {
			t.Errorf("%s came before what is in no namespace", key)
		}
	}
	if report.FirstRevision == 0 || report.LastRevision-report.FirstRevision != int64(len(before)-1) {
		t.Errorf("revisions %d to %d", report.FirstRevision, report.LastRevision)
	}
	var bytes int64
	for _, r := range before {
		bytes += int64(len(r.Value))
	}
	if report.Compared != int64(len(before)) || report.ComparedBytes != bytes || report.State != journal.StateDone {
		t.Errorf("compared %d keys of %d bytes, %s; want %d of %d", report.Compared, report.ComparedBytes, report.State, len(before), bytes)
	}

}

// An undo that went to its end, given again, puts back what was destroyed since, and finds the rest as it was archived.
func TestAgain(t *testing.T) {
	w := newWorld(t)
	w.incident("a", "b", "c")
	before := w.sweep(run.StepPods, jobKey, podPrefix+"a", podPrefix+"b", podPrefix+"c")
	w.verified(nil, "all of it is back, to the byte")
	w.back(before)
	w.del(podPrefix+"a", podPrefix+"b")
	began := time.Now()
	report := w.verified(nil, "all of it is back, to the byte; 2 are there as archived")
	w.back(before)
	w.outcomes(report, map[journal.Outcome]int64{journal.Restored: 2, journal.Exists: 2})
	w.warned(report, "this was put back before, at ")
	if report.Attempts != 1 || report.Started.Before(began) || report.Compared != 2 {
		t.Errorf("%+v, want what the second look did", report)
	}
	revision := w.revision()
	w.verified(nil, "there was nothing to put back; 4 are there as archived")
	if w.revision() != revision {
		t.Error("something was written when all was there")
	}
}

// stragglers holds writes up, the earlier ones longer: of those that are in flight together the last comes first.
func stragglers() func(string, func() (int64, *decode.Record, error)) (int64, *decode.Record, error) {
	var number atomic.Int64
	return func(_ string, write func() (int64, *decode.Record, error)) (int64, *decode.Record, error) {
		<-time.After(time.Duration(8-number.Add(1)%8) * 10 * time.Millisecond)
		return write()
	}
}

// What exists again is left alone, and told apart.
func TestExists(t *testing.T) {
	w := newWorld(t)
	w.incident("same", "changed", "other", "odd", "gone")
	before := w.sweep(run.StepPods, podPrefix+"same", podPrefix+"changed", podPrefix+"other", podPrefix+"odd", podPrefix+"gone")
	changed := pod("changed", "uid-changed")
	changed.phase = "Failed"
	w.put(podPrefix+"same", string(before[podPrefix+"same"].Value))
	w.put(podPrefix+"changed", changed.value())
	w.put(podPrefix+"other", pod("other", "another-uid").value())
	w.put(podPrefix+"odd", "nobody can read this")
	revision := w.revision()

	report := w.undo(run.ErrLeft)
	w.outcomes(report, map[journal.Outcome]int64{journal.Restored: 1, journal.Exists: 4})
	w.reasons(report.Objects.Skipped, map[string]int64{
		"it is as it was archived": 1, "the same object, and it has changed": 1, "another object of that name": 2,
	})
	if now := w.revision(); now != revision+1 {
		t.Errorf("%d writes, want one", now-revision)
	}
	if report.Compared != 1 || len(report.Differences) != 0 || report.State != journal.StateLeft {
		t.Errorf("%+v", report)
	}
}

// What counts: the last record of a key, what the garbage collector took, what is in doubt; not what the run has left.
func TestWhatCounts(t *testing.T) {
	w := newWorld(t)
	w.incident("drifted", "twice", "skipped", "tried", "gone", "doubt", "stood")
	root := w.sweep(run.StepRoots, jobKey)
	verdicts := w.keep(run.StepPods, podPrefix+"drifted", podPrefix+"twice", podPrefix+"skipped", podPrefix+"tried", podPrefix+"gone")
	drifted := pod("drifted", "uid-drifted")
	drifted.phase = "Running"
	w.put(podPrefix+"drifted", drifted.value())
	want := map[string]decode.Record{podPrefix + "drifted": *w.get(podPrefix + "drifted")}
	must(t, w.archive.Append(want[podPrefix+"drifted"]))
	must(t, w.archive.Append(*w.get(podPrefix + "twice"))) // again, as it was
	for _, n := range []string{"twice", "tried", "gone", "doubt"} {
		want[podPrefix+n] = *w.get(podPrefix + n)
	}
	maps.Copy(want, root)
	w.judge(run.StepPods, journal.DriftedDeleted, verdicts[:2]...)
	verdicts[2].CreateRevision, verdicts[2].ModRevision = 0, 0
	w.judge(run.StepPods, journal.Skipped, verdicts[2:4]...)
	w.judge(run.StepPods, journal.AlreadyGone, verdicts[4])
	w.judge(run.StepNewcomers, journal.Deleted, verdicts[3])
	w.keep(run.StepPods, podPrefix+"doubt", podPrefix+"stood")
	w.del(podPrefix+"drifted", podPrefix+"twice", podPrefix+"tried", podPrefix+"gone", podPrefix+"doubt", podPrefix+"skipped")

	report := w.undo(nil)
	w.back(want)
	w.outcomes(report, map[journal.Outcome]int64{journal.Restored: int64(len(want)), journal.Exists: 1})
	if w.get(podPrefix+"skipped") != nil {
		t.Error("what the run has left was put back")
	}
}

// What the run has skipped, and has archived, is put back if a root went and a garbage collector took it; if it has changed
// since it is not left, because it never went. What it has skipped without that stays as it is.
func TestSkipped(t *testing.T) {
	for name, test := range map[string]struct {
		root func(w *world)
		back bool
	}{
		"a root went":  {func(w *world) { w.sweep(run.StepRoots, jobKey) }, true},
		"no root went": {func(*world) {}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.incident("taken", "stayed", "unarchived", "twice", "swept", "doubt")
			test.root(w)
			verdicts := w.keep(run.StepPods, podPrefix+"taken", podPrefix+"stayed", podPrefix+"unarchived", podPrefix+"twice")
			verdicts[2].CreateRevision, verdicts[2].ModRevision = 0, 0
			w.judge(run.StepPods, journal.Skipped, verdicts...)
			w.judge(run.StepNewcomers, journal.Skipped, journal.Verdict{Key: podPrefix + "twice"})
			w.judge(run.StepPods, journal.Skipped, journal.Verdict{Key: podPrefix + "doubt"})
			w.keep(run.StepPods, podPrefix+"doubt")
			w.sweep(run.StepPods, podPrefix+"swept")
			stayed := pod("stayed", "uid-stayed")
			stayed.phase = "Running"
			w.put(podPrefix+"stayed", stayed.value())
			w.del(podPrefix+"taken", podPrefix+"unarchived", podPrefix+"twice", podPrefix+"doubt")
			report := w.undo(nil)
			if back := w.get(podPrefix+"taken") != nil; back != test.back {
				t.Errorf("what was taken is back: %t, want %t", back, test.back)
			}
			if w.get(podPrefix+"unarchived") != nil || w.get(podPrefix+"twice") != nil {
				t.Error("what the run has skipped, and not archived, was put back")
			}
			if w.get(podPrefix+"doubt") == nil {
				t.Error("what was in doubt, after it had been skipped, is absent")
			}
			if exists := report.Objects.Outcomes[journal.Exists]; (exists == 1) != test.back {
				t.Errorf("%d exist", exists)
			}
		})
	}
}

// What was kept because the garbage collector would take it is put back if a root went, or may have.
func TestCollateral(t *testing.T) {
	const claim = "/registry/persistentvolumeclaims/batch/claim"
	for name, test := range map[string]struct {
		root func(w *world)
		back bool
	}{
		"the root went":      {func(w *world) { w.sweep(run.StepRoots, jobKey) }, true},
		"the root is absent": {func(w *world) { w.judge(run.StepRoots, journal.AlreadyGone, w.keep(run.StepRoots, jobKey)...) }, false},
		"the root is in doubt": {func(w *world) {
			w.keep(run.StepRoots, jobKey)
			w.del(jobKey)
		}, true},
		"killed before": {func(*world) {}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.incident("kept", "newcomer")
			w.put(claim, object{kind: "PersistentVolumeClaim", namespace: "batch", name: "claim", uid: "claim", owners: []string{"uid-job"}}.value())
			w.judge(run.StepCollateral, journal.Archived, w.keep(run.StepCollateral, claim, podPrefix+"newcomer")...)
			test.root(w)
			w.sweep(run.StepPods, podPrefix+"kept")
			w.sweep(run.StepNewcomers, podPrefix+"newcomer")
			w.del(claim)
			w.undo(nil)
			if back := w.get(claim) != nil; back != test.back {
				t.Errorf("put back: %t, want %t", back, test.back)
			}
			if w.get(podPrefix+"kept") == nil || w.get(podPrefix+"newcomer") == nil {
				t.Error("a pod is absent")
			}
		})
	}
}

// Collateral that nobody has deleted is not left, even if it has changed; what was made again in its place is.
func TestCollateralThatStayed(t *testing.T) {
	w := newWorld(t)
	w.incident("a")
	claim := func(name, uid, phase string) (key, value string) {
		o := object{kind: "PersistentVolumeClaim", namespace: "batch", name: name, uid: uid, owners: []string{"uid-job"}, phase: phase}
		return "/registry/persistentvolumeclaims/batch/" + name, o.value()
	}
	var keys []string
	for _, name := range []string{"same", "changed", "taken"} {
		key, value := claim(name, name, "")
		w.put(key, value)
		keys = append(keys, key)
	}
	w.judge(run.StepCollateral, journal.Archived, w.keep(run.StepCollateral, keys...)...)
	before := w.sweep(run.StepRoots, jobKey)
	w.put(claim("changed", "changed", "Bound"))
	taken := *w.get(keys[2])
	w.del(keys[2])
	const words = "all of it is back, to the byte; 1 is there as archived; 1 has never gone, and changed since"
	report := w.verified(nil, words, func(cfg *undo.Config) { cfg.Concurrency = 1 })
	w.outcomes(report, map[journal.Outcome]int64{journal.Restored: 2, journal.Exists: 2})
	before[keys[2]] = taken
	w.back(before)

	w.newRun()
	w.judge(run.StepCollateral, journal.Archived, w.keep(run.StepCollateral, keys[2])...)
	w.sweep(run.StepRoots, jobKey)
	w.del(keys[2])
	w.put(claim("taken", "another", ""))
	w.verified(run.ErrLeft, "not all of it is back")
}

// Keys that shared a lease share the new one, which has the time that the old one has left. What has expired stays away.
func TestLeases(t *testing.T) {
	w := newWorld(t)
	w.incident()
	grant := func(ttl int64) clientv3.LeaseID {
		response, err := w.etcd.Grant(t.Context(), ttl)
		must(t, err)
		return response.ID
	}
	long, short, over := grant(1000), grant(500), grant(1000)
	for key, lease := range map[string]clientv3.LeaseID{"a": long, "b": long, "c": short, "d": over, "e": clientv3.NoLease} {
		w.put("/registry/events/batch/"+key, object{kind: "Event", namespace: "batch", name: key, uid: key}.value(), clientv3.WithLease(lease))
	}
	before := w.sweep(run.StepPods, "/registry/events/batch/a", "/registry/events/batch/b", "/registry/events/batch/c", "/registry/events/batch/d", "/registry/events/batch/e")
	_, err := w.etcd.Revoke(t.Context(), over)
	must(t, err)
	leases := func() int {
		response, err := w.etcd.Leases(t.Context())
		must(t, err)
		return len(response.Leases)
	}
	had := leases()

	w.outcomes(w.undo(nil, dryRun), map[journal.Outcome]int64{journal.Restored: 4, journal.LeaseExpired: 1})
	if leases() != had {
		t.Error("a dry run has granted a lease")
	}

	// An attempt that ends before anything is put back: the next one takes the leases that were granted.
	w.undo(context.DeadlineExceeded, func(cfg *undo.Config) {
		cfg.Concurrency = 1
		cfg.Cluster.(*cluster).write = func(string, func() (int64, *decode.Record, error)) (int64, *decode.Record, error) {
			return 0, nil, refusal{context.DeadlineExceeded}
		}
	})
	granted := leases()
	report := w.verified(nil, "4 are back, to the byte; 1 stays away with an expired lease: /registry/events/batch/d")
	w.outcomes(report, map[journal.Outcome]int64{journal.Restored: 4, journal.LeaseExpired: 1})
	if granted == had || leases() > had+2 {
		t.Errorf("%d leases, then %d, then %d", had, granted, leases())
	}
	delete(before, "/registry/events/batch/d")
	w.back(before)
	if w.get("/registry/events/batch/d") != nil {
		t.Error("a key whose lease has expired was put back")
	}
	at := func(n string) int64 { return w.get("/registry/events/batch/" + n).Lease }
	if at("a") != at("b") || at("a") == at("c") || at("a") == int64(long) || at("a") == 0 || at("e") != 0 {
		t.Errorf("leases %x %x %x %x", at("a"), at("b"), at("c"), at("e"))
	}
	for n, most := range map[string]time.Duration{"a": 1000 * time.Second, "c": 500 * time.Second} {
		left, found, err := w.client.LeaseLeft(t.Context(), at(n))
		must(t, err)
		if !found || left > most || left < most-time.Minute {
			t.Errorf("%s has %v left, want about %v", n, left, most)
		}
	}
	if len(report.Leases) != 2 {
		t.Errorf("leases %+v", report.Leases)
	}
}

// A lease that was granted for the undo and has expired since is not granted again.
func TestLeaseExpiresMeanwhile(t *testing.T) {
	w := newWorld(t)
	w.incident()
	response, err := w.etcd.Grant(t.Context(), 1000)
	must(t, err)
	const event = "/registry/events/batch/a"
	w.put(event, object{kind: "Event", namespace: "batch", name: "a", uid: "a"}.value(), clientv3.WithLease(response.ID))
	w.sweep(run.StepPods, event)
	revoked := false
	report := w.undo(nil, func(cfg *undo.Config) {
		cfg.Cluster.(*cluster).write = func(_ string, write func() (int64, *decode.Record, error)) (int64, *decode.Record, error) {
			if !revoked {
				revoked = true
				for frame, err := range journal.ReadFile(w.dir.UndoJournal()) {
					must(t, err)
					if frame.Lease != nil {
						_, err := w.etcd.Revoke(t.Context(), clientv3.LeaseID(frame.Lease.New))
						must(t, err)
					}
				}
			}
			return write()
		}
	})
	w.outcomes(report, map[journal.Outcome]int64{journal.LeaseExpired: 1})
}

// refusal is an answer that says for certain that nothing was done.
type refusal struct{ error }

func (refusal) NotDone() bool   { return true }
func (r refusal) Unwrap() error { return r.error }

// Every reason is said at once, and nothing is written.
func TestRefusals(t *testing.T) {
	w := newWorld(t)
	w.incident("a")
	w.put("/registry/namespaces/ending", object{kind: "Namespace", name: "ending", uid: "ending", terminating: true}.value())
	w.put("/registry/pods/ending/b", object{kind: "Pod", namespace: "ending", name: "b", uid: "b"}.value())
	w.put("/registry/pods/absent/c", object{kind: "Pod", namespace: "absent", name: "c", uid: "c"}.value())
	w.sweep(run.StepPods, podPrefix+"a", "/registry/pods/ending/b", "/registry/pods/absent/c")
	w.facts.Alarms = []run.Alarm{{Member: "m1", Kind: run.NoSpace}, {Member: "m1", Kind: "CORRUPT"}}
	w.facts.Members[0].Err = errors.New("connection refused")
	reasons := []string{
		"member m1 does not answer", "alarm CORRUPT", "alarm NOSPACE", "the namespace absent is absent", "the namespace ending is terminating",
		"kube-controller-manager is alive (b), and nobody has seen whether it saw the sweep",
	}
	w.refused(append(slices.Clone(reasons[:3]), "nothing that the run has deleted meets --only n=none"), w.only("n=none"))
	w.refused(append(slices.Clone(reasons[:3]), "the run has not deleted "+jobKey), w.only(jobKey, "n=a"))
	w.alive("b")
	w.refused(reasons, patient)
	w.refused(reasons, patient, dryRun)
	w.refused(reasons[1:5], patient, func(cfg *undo.Config) { cfg.Allow = undo.Allowances() })
	w.facts.Identity.SystemUID = "another"
	w.refused(append([]string{"the plan is for another cluster"}, reasons[:3]...))
	if w.dir.Undone() {
		t.Error("a refused undo keeps a journal")
	}
}

// What is advised is to be done by one who undoes: to plan again is not.
func TestAdvice(t *testing.T) {
	w := newWorld(t)
	w.incident("a")
	w.sweep(run.StepPods, podPrefix+"a")
	for name, change := range map[string]func(*run.Facts){
		"another cluster": func(f *run.Facts) { f.Identity.SystemUID = "another" },
		"restored":        func(f *run.Facts) { f.Revision = 0 },
	} {
		_, err := undo.Run(t.Context(), w.config(func(cfg *undo.Config) { change(&cfg.Cluster.(*cluster).facts) }))
		refused, ok := errors.AsType[*run.PreflightError](err)
		if !ok || len(refused.Refusals) != 1 || strings.Contains(refused.Refusals[0].Advice, "plan again") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whether a Namespace is terminating is not known of one whose record cannot be read: that is no reason to believe that it is not.
func TestUnreadableNamespace(t *testing.T) {
	w := newWorld(t)
	w.incident("a")
	w.put(namespaceKey, "k8s:enc:aescbc:v1:key:\x00\x01")
	before := w.sweep(run.StepPods, podPrefix+"a")
	w.refused([]string{"the record of the namespace batch cannot be read, so it may be terminating"})
	report := w.undo(nil, func(cfg *undo.Config) { cfg.Allow = []string{undo.AllowUnreadableNamespaces} })
	w.warned(report, "the record of the namespace batch cannot be read")
	w.back(before)
}

// The controller-manager that saw the sweep is told from another one.
func TestControllers(t *testing.T) {
	w := newWorld(t)
	w.incident("a")
	w.note(journal.Frame{Controllers: &journal.Controllers{Key: "lease", Holder: "a", Moving: true}})
	w.note(journal.Frame{Controllers: &journal.Controllers{Key: "lease", Holder: "b"}})
	before := w.sweep(run.StepRoots, jobKey, podPrefix+"a")
	w.alive("b")()
	w.undo(nil, dryRun)
	stop := w.alive("b")
	w.refused([]string{"alive (b), and is not the one that was alive during the sweep"}, patient)
	stop()
	w.alive("a")
	w.refused([]string{"alive (a), and is the one that saw the sweep"}, patient)
	_, err := undo.Run(t.Context(), w.config(patient, func(cfg *undo.Config) { cfg.StopWords = "turn it off" }))
	if refused, ok := errors.AsType[*run.PreflightError](err); !ok || !strings.HasPrefix(refused.Refusals[0].Advice, "turn it off\n") {
		t.Errorf("%v, want the advice to turn it off", err)
	}
	report := w.undo(nil, patient, func(cfg *undo.Config) { cfg.Allow = []string{undo.AllowLiveControllers} })
	w.warned(report, "is the one that saw the sweep")
	w.back(before)
}

// A controller-manager that is started meanwhile stops the undo before the next page; it goes on when that is stopped.
func TestControllersStartMeanwhile(t *testing.T) {
	w := newWorld(t)
	w.incident("a")
	before := w.sweep(run.StepRoots, jobKey, podPrefix+"a")
	stop := func() {}
	start := func(cfg *undo.Config) {
		cfg.Cluster.(*cluster).write = func(key string, write func() (int64, *decode.Record, error)) (int64, *decode.Record, error) {
			if key == jobKey {
				stop = w.alive("b")
				<-time.After(300 * time.Millisecond) // until it was seen
			}
			return write()
		}
	}
	report, err := undo.Run(t.Context(), w.config(start))
	health, ok := errors.AsType[*run.HealthError](err)
	if !ok || !strings.Contains(health.Error(), "was started while this puts back (b)") || !strings.Contains(health.Hint(), "stop kube-controller-manager on every control-plane node\n") {
		t.Fatalf("%v, want a HealthError", err)
	}
	if report.State != journal.StateStopped || w.get(jobKey) == nil || w.get(podPrefix+"a") != nil {
		t.Errorf("%s, or the wrong keys are back", report.State)
	}
	stop()
	w.undo(nil)
	w.back(before)

	w.newRun()
	before = w.sweep(run.StepRoots, jobKey, podPrefix+"a")
	w.undo(nil, start, func(cfg *undo.Config) { cfg.Allow = []string{undo.AllowLiveControllers} })
	w.back(before)
}

// A Namespace that is put back itself need not be there.
func TestNamespaceComesBack(t *testing.T) {
	w := newWorld(t)
	w.incident("a", "b")
	before := w.sweep(run.StepPods, podPrefix+"b", podPrefix+"a", jobKey, namespaceKey)
	w.refused([]string{"the namespace batch is absent"}, w.only("n"))
	w.undo(nil)
	w.back(before)
}

// Where somebody else has made a Namespace of that name, what is put back goes into it, and that is said.
func TestNamespaceOfSomebodyElse(t *testing.T) {
	w := newWorld(t)
	w.incident("a")
	w.sweep(run.StepPods, podPrefix+"a", jobKey, namespaceKey)
	again := batch()
	again.uid = "another-uid"
	w.put(namespaceKey, again.value())
	w.warned(w.undo(run.ErrLeft), "the namespace batch was made again, with another UID")
}

// One object, or those with a label, can be put back alone; and the rest afterwards.
func TestOnly(t *testing.T) {
	w := newWorld(t)
	w.incident("a", "b", "c", "d")
	before := w.sweep(run.StepPods, jobKey, podPrefix+"a", podPrefix+"b", podPrefix+"c", podPrefix+"d")
	report := w.undo(nil, w.only("n in (b, c)", podPrefix+"a"))
	w.outcomes(report, map[journal.Outcome]int64{journal.Restored: 3})
	w.warned(report, "so a garbage collector deletes it again: "+jobKey)
	if w.get(podPrefix+"d") != nil || w.get(jobKey) != nil {
		t.Error("more than what was selected was put back")
	}
	w.verified(nil, "there was nothing to put back; 3 are there as archived", w.only(podPrefix+"a", "n in (b, c)"))

	report = w.undo(nil)
	w.outcomes(report, map[journal.Outcome]int64{journal.Restored: 2, journal.Exists: 3})
	w.reasons(report.Objects.Skipped, map[string]int64{"it is as it was archived": 3})
	w.back(before)
}

func TestParseOnly(t *testing.T) {
	for _, word := range []string{"", " ", "a in", "/elsewhere/pods/a/b"} {
		if _, err := undo.ParseOnly([]string{word}, "/registry"); err == nil {
			t.Errorf("--only %q was taken", word)
		}
	}
	one, err := undo.ParseOnly([]string{"b", "a", "b"}, "/registry")
	must(t, err)
	if one.String() != " --only a --only b" {
		t.Errorf("%q", one)
	}
}

// A dry run tells what would be, and writes nothing, anywhere.
func TestDryRun(t *testing.T) {
	w := newWorld(t)
	w.incident("a", "b", "c")
	before := w.sweep(run.StepPods, podPrefix+"a", podPrefix+"b", podPrefix+"c")
	w.put(podPrefix+"c", pod("c", "another").value())
	revision := w.revision()
	report := w.undo(nil, dryRun)
	w.outcomes(report, map[journal.Outcome]int64{journal.Restored: 2, journal.Exists: 1})
	w.reasons(report.Objects.Skipped, map[string]int64{"another object of that name": 1})
	if w.revision() != revision || w.dir.Undone() {
		t.Errorf("written: revision %d to %d, journal %t", revision, w.revision(), w.dir.Undone())
	}
	if _, err := os.Stat(w.dir.UndoReport()); !errors.Is(err, os.ErrNotExist) {
		t.Error("a dry run leaves a report")
	}
	delete(before, podPrefix+"c")
	w.undo(run.ErrLeft)
	w.back(before)
}

// Pods that run again on nodes that live are told.
func TestStarts(t *testing.T) {
	w := newWorld(t)
	w.incident()
	var keys []string
	for i, p := range []object{
		{node: "dead", phase: "Running"},
		{node: "live", phase: "Running"},
		{node: "live", phase: "Pending"},
		{node: "unknown", phase: "Running"},
		{node: "live", phase: "Succeeded"},
		{node: "live", phase: "Running", terminating: true},
		{phase: "Pending"},
	} {
		p.kind, p.namespace, p.name, p.uid = "Pod", "batch", fmt.Sprint("runaway-", i), fmt.Sprint(i)
		keys = append(keys, podPrefix+fmt.Sprint(i))
		w.put(keys[i], p.value())
	}
	w.sweep(run.StepPods, keys...)
	w.put("/registry/leases/kube-node-lease/dead", "a lease")
	w.renew("another lease", "/registry/leases/kube-node-lease/live")
	report := w.undo(nil, dryRun, patient)
	w.warned(report, "3 pods start again, on nodes that are not known to be dead: live, unknown")
}

// What differs when it is read back is told; undone again, what is gone comes back.
func TestDifferences(t *testing.T) {
	w := newWorld(t)
	w.incident("a", "b", "c", "d")
	before := w.sweep(run.StepPods, podPrefix+"a", podPrefix+"b", podPrefix+"c", podPrefix+"d")
	changed := pod("b", "uid-b")
	changed.phase = "Running"
	report := w.undo(run.ErrLeft, on(run.StepVerify, func() {
		w.del(podPrefix + "a")
		w.put(podPrefix+"b", changed.value())
		w.put(podPrefix+"c", pod("c", "another").value())
	}))
	w.outcomes(report, map[journal.Outcome]int64{journal.Restored: 4})
	w.reasons(report.Differences, map[string]int64{"gone again": 1, "its value has changed since": 1, "another object stands in its place": 1})
	if report.State != journal.StateLeft || report.Compared != 4 {
		t.Errorf("%+v", report)
	}
	report = w.undo(run.ErrLeft)
	w.outcomes(report, map[journal.Outcome]int64{journal.Restored: 1, journal.Exists: 3})
	delete(before, podPrefix+"b")
	delete(before, podPrefix+"c")
	w.back(before)
}

// An answer that is lost, before or after the write, is resolved by reading.
func TestLostAnswers(t *testing.T) {
	w := newWorld(t)
	w.incident("before", "after", "well")
	before := w.sweep(run.StepPods, podPrefix+"before", podPrefix+"after", podPrefix+"well")
	var mu sync.Mutex
	struck := map[string]bool{}
	report := w.undo(nil, func(cfg *undo.Config) {
		cfg.Cluster.(*cluster).write = func(key string, write func() (int64, *decode.Record, error)) (int64, *decode.Record, error) {
			mu.Lock()
			first := !struck[key]
			struck[key] = true
			mu.Unlock()
			switch {
			case first && key == podPrefix+"before":
				return 0, nil, errors.New("lost")
			case first && key == podPrefix+"after":
				_, _, err := write()
				return 0, nil, errors.Join(err, errors.New("lost"))
			default:
				return write()
			}
		}
	})
	w.outcomes(report, map[journal.Outcome]int64{journal.Restored: 2, journal.RestoredUnknown: 1})
	w.back(before)
	if report.Compared != 3 {
		t.Errorf("%d keys compared", report.Compared)
	}
}

// An etcd that gives no more answers stops the undo; it goes on when it does.
func TestNoAnswers(t *testing.T) {
	w := newWorld(t)
	w.incident("a", "b", "c")
	before := w.sweep(run.StepPods, podPrefix+"a", podPrefix+"b", podPrefix+"c")
	dead := errors.New("no leader")
	report, err := undo.Run(t.Context(), w.config(func(cfg *undo.Config) {
		cfg.Cluster.(*cluster).write = func(key string, write func() (int64, *decode.Record, error)) (int64, *decode.Record, error) {
			if key == podPrefix+"b" {
				return 0, nil, dead
			}
			return write()
		}
	}))
	if _, ok := errors.AsType[*run.HealthError](err); !ok || errors.Is(err, run.ErrInterrupted) || report.State != journal.StateStopped {
		t.Fatalf("%v, %s", err, report.State)
	}
	report = w.undo(nil)
	w.back(before)
	if report.Attempts != 2 {
		t.Errorf("%d attempts", report.Attempts)
	}
}

// Ctrl-C, at whichever write it comes, lets what is in flight finish; the undo goes on behind it.
func TestInterrupted(t *testing.T) {
	w := newWorld(t)
	w.incident("a", "b", "c")
	keys := []string{jobKey, podPrefix + "a", podPrefix + "b", podPrefix + "c"}
	for at := 1; at <= len(keys); at++ {
		before := w.sweep(run.StepPods, keys...)
		ended, end := context.WithCancel(t.Context())
		end()
		if _, err := undo.Run(ended, w.config()); !errors.Is(err, run.ErrInterrupted) || w.dir.Undone() {
			t.Fatalf("at the look: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		writes := 0
		report, err := undo.Run(ctx, w.config(func(cfg *undo.Config) {
			cfg.Concurrency = 1
			cfg.Cluster.(*cluster).write = func(_ string, write func() (int64, *decode.Record, error)) (int64, *decode.Record, error) {
				if writes++; writes == at {
					cancel()
				}
				return write()
			}
		}))
		cancel()
		if !errors.Is(err, run.ErrInterrupted) || report.State != journal.StateInterrupted || report.Objects.Total() != int64(at) {
			t.Fatalf("at %d: %v, %+v", at, err, report)
		}
		report = w.undo(nil)
		w.back(before)
		w.outcomes(report, map[journal.Outcome]int64{journal.Restored: int64(len(keys))})
		w.newRun()
	}
}

// Wherever an undo is killed, it goes on: at the end every byte is back, and nothing was written twice.
func TestKilledAnywhere(t *testing.T) {
	w := newWorld(t)
	w.put(namespaceKey, batch().value())
	response, err := w.etcd.Grant(t.Context(), 1000)
	must(t, err)
	const event, one, two = "/registry/events/batch/e", "/registry/secrets/batch/one", "/registry/secrets/batch/two"
	large := "k8s:enc:aescbc:v1:key:" + strings.Repeat("x", 1200<<10) // so that each makes a page
	w.put(jobKey, job().value())
	w.put(podPrefix+"a", pod("a", "uid-a").value())
	w.put(one, large)
	w.put(two, large)
	w.put(event, object{kind: "Event", namespace: "batch", name: "e", uid: "e"}.value(), clientv3.WithLease(response.ID))
	for operations := 0; ; operations++ {
		before := w.sweep(run.StepPods, one, podPrefix+"a", event, two, jobKey)
		disk := faultfs.New()
		disk.Break(faultfs.Fault{At: operations + 1, Dead: true})
		dir := *w.dir
		dir.FS = disk
		_, err := undo.Run(t.Context(), w.config(func(cfg *undo.Config) { cfg.Dir = &dir }))
		if _, struck := disk.Struck(); !struck {
			must(t, err)
			if operations < 20 {
				t.Fatalf("only %d operations", operations)
			}
			t.Logf("killed at each of %d operations", operations)
			return
		}
		if !errors.Is(err, faultfs.ErrDead) {
			t.Fatalf("killed at operation %d: %v", operations, err)
		}
		report, err := undo.Run(t.Context(), w.config())
		if err != nil {
			t.Fatalf("killed at operation %d, and then: %v", operations, err)
		}
		back, want := report.Objects.Outcomes, int64(len(before))
		switch n := back[journal.Restored] + back[journal.RestoredUnknown]; {
		case n == want && report.Objects.Total() == n && report.Compared == n: // nothing is taken for somebody else's
		case n == 0 && back[journal.Exists] == want && strings.Contains(fmt.Sprint(report.Warnings), "put back before"): // killed when all was done
		default:
			t.Errorf("killed at operation %d: %+v", operations, report)
		}
		w.back(before)
		if w.get(event).Lease == 0 {
			t.Errorf("killed at operation %d: the event has no lease", operations)
		}
		w.newRun()
	}
}

// An undo that cannot write its report is not done, and has not left something either: it has failed, and is gone on with.
func TestNoReport(t *testing.T) {
	for name, end := range map[string]error{"something is left": run.ErrLeft, "nothing is left": nil} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.incident("a", "b")
			w.sweep(run.StepPods, podPrefix+"a", podPrefix+"b")
			if end != nil {
				w.put(podPrefix+"b", pod("b", "another").value())
			}
			must(t, os.Mkdir(w.dir.UndoReport(), 0o700))
			report, err := undo.Run(t.Context(), w.config())
			if err == nil || errors.Is(err, run.ErrLeft) || report.State != journal.StateFailed || report.Attempts != 1 {
				t.Errorf("error %v, %+v; want a failure", err, report)
			}
			must(t, os.Remove(w.dir.UndoReport()))
			report = w.undo(end)
			if report.Attempts != 2 {
				t.Errorf("%d attempts, want 2: it goes on", report.Attempts)
			}
		})
	}
}

// An archive whose last frame a crash has torn is good up to there.
func TestTornArchive(t *testing.T) {
	w := newWorld(t)
	w.incident("a")
	before := w.sweep(run.StepPods, podPrefix+"a")
	file, err := os.OpenFile(w.dir.Archive(), os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = file.Write([]byte{0, 0, 1, 0, 9})
	must(t, errors.Join(err, file.Close()))
	w.warned(w.undo(nil), "the archive ends within a frame")
	w.back(before)
}

// A run whose archive was removed, or that has deleted nothing, cannot be undone.
func TestNothingToUndo(t *testing.T) {
	w := newWorld(t)
	w.refused([]string{"has deleted nothing"})
	w.incident("a")
	w.sweep(run.StepPods, podPrefix+"a")
	must(t, os.Remove(w.dir.Archive()))
	w.refused([]string{"it was pruned"})
	must(t, os.Remove(w.dir.Journal()))
	w.refused([]string{"has deleted nothing"})
}
