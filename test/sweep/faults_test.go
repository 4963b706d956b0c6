package sweep_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"etcdsweep/decode"
	"etcdsweep/plan"
	"etcdsweep/plan/apply"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/run"
	"etcdsweep/test/lab"
)

// faulty is a live cluster with faults between it and the tool.
type faulty struct {
	live
	deleteIf func(ctx context.Context, key string, createRevision, modRevision int64) (int64, *decode.Record, error)
}

func (f faulty) DeleteIf(ctx context.Context, key string, createRevision, modRevision int64) (int64, *decode.Record, error) {
	return f.deleteIf(ctx, key, createRevision, modRevision)
}

// incident is a small cluster with one runaway Job, and a plan for it.
func incident(t *testing.T, pods int) (*world, lab.Job, *plan.File) {
	t.Helper()
	w := start(t, lab.Config{NoFsync: true})
	job := w.fill(pods, 1)[0]
	return w, job, w.plan(jobs(job.Namespace, job.Name))
}

// rewrite puts a key again, with a piece of its value replaced by another of the same length.
func (w *world) rewrite(key, old, new string) {
	w.t.Helper()
	record, err := w.client.Get(w.t.Context(), key)
	must(w.t, err)
	if record == nil || len(old) != len(new) || !strings.Contains(string(record.Value), old) {
		w.t.Fatalf("%s: %q cannot be replaced by %q", key, old, new)
	}
	_, err = w.etcd.Put(w.t.Context(), key, strings.ReplaceAll(string(record.Value), old, new))
	must(w.t, err)
}

// touch puts a key again as it is.
func (w *world) touch(key string) { w.rewrite(key, "", "") }

// recreate deletes a key and makes it again, as another object of the same name.
func (w *world) recreate(entry plan.Entry) {
	w.t.Helper()
	record, err := w.client.Get(w.t.Context(), entry.Key)
	must(w.t, err)
	_, err = w.etcd.Delete(w.t.Context(), entry.Key)
	must(w.t, err)
	value := strings.ReplaceAll(string(record.Value), entry.UID, strings.Repeat("0", len(entry.UID)))
	_, err = w.etcd.Put(w.t.Context(), entry.Key, value)
	must(w.t, err)
}

func podEntries(t *testing.T, p *plan.File) []plan.Entry {
	t.Helper()
	var all []plan.Entry
	for entry, err := range p.Entries(plan.StagePods) {
		must(t, err)
		all = append(all, entry)
	}
	return all
}

func wantOutcomes(t *testing.T, what string, tally journal.Tally, want map[journal.Outcome]int64) {
	t.Helper()
	for _, outcome := range journal.Deletions() {
		if tally.Outcomes[outcome] != want[outcome] {
			t.Errorf("%s: %d %s, want %d", what, tally.Outcomes[outcome], outcome, want[outcome])
		}
	}
}

func wantSkipped(t *testing.T, tally journal.Tally, key, reason string) {
	t.Helper()
	for _, skipped := range tally.Skipped {
		if slices.Contains(skipped.Examples, key) && strings.Contains(skipped.Reason, reason) {
			return
		}
	}
	t.Errorf("%s was not skipped for %q, but: %+v", key, reason, tally.Skipped)
}

// What drifts between plan and snapshot is judged afresh, and its new version is found in the snapshot, even when etcd has
// compacted the planned one away.
func TestDriftBeforeTheSnapshot(t *testing.T) {
	w, job, p := incident(t, 40)
	pods := podEntries(t, p)
	touched, recreated, gone, adopted, running := pods[0], pods[1], pods[2], pods[3], pods[4]
	w.touch(touched.Key)
	w.recreate(recreated)
	_, err := w.etcd.Delete(t.Context(), gone.Key)
	must(t, err)
	w.rewrite(adopted.Key, job.UID, strings.Repeat("1", len(job.UID)))
	w.rewrite(running.Key, "Pending", "Running")
	now, err := w.client.Revision(t.Context(), "/registry")
	must(t, err)
	_, err = w.etcd.Compact(t.Context(), now, clientv3.WithCompactPhysical())
	must(t, err)
	before := w.state()

	report, err := apply.Run(t.Context(), w.config(p))
	if !errors.Is(err, run.ErrLeft) {
		t.Fatalf("%v, want ErrLeft", err)
	}
	wantOutcomes(t, "pods", report.Pods, map[journal.Outcome]int64{journal.Deleted: 35, journal.DriftedDeleted: 1, journal.AlreadyGone: 1, journal.Skipped: 3})
	wantSkipped(t, report.Pods, recreated.Key, "another UID")
	wantSkipped(t, report.Pods, adopted.Key, "no longer meets the selection")
	wantSkipped(t, report.Pods, running.Key, "running-on-live-node")
	if report.Snapshot.Drifted == 0 || report.Snapshot.Gone != 1 || report.Snapshot.Since != 0 || report.Archived != 38 /* one that stays, and whose root went */ || report.OlderInSnapshot != 0 {
		t.Errorf("proof %+v, %d archived", report.Snapshot, report.Archived)
	}
	planned := slices.DeleteFunc(keys(t, p), func(key string) bool {
		return slices.Contains([]string{recreated.Key, gone.Key, adopted.Key, running.Key}, key)
	})
	onlyGone(t, before, w.state(), planned)
}

// What drifts after the snapshot is deleted only once its bytes are in the archive; the Job's own record is such a case on
// every live cluster, because its controller writes its status all the time.
func TestDriftAfterTheSnapshot(t *testing.T) {
	w, job, p := incident(t, 40)
	pods := podEntries(t, p)
	touched, recreated := pods[0], pods[1]
	cfg := w.config(p)
	var before state
	afterSnapshot(&cfg, func() {
		w.touch(touched.Key)
		w.touch(job.Key())
		w.recreate(recreated)
		before = w.state()
	})
	report, err := apply.Run(t.Context(), cfg)
	if !errors.Is(err, run.ErrLeft) {
		t.Fatalf("%v, want ErrLeft", err)
	}
	wantOutcomes(t, "roots", report.Roots, map[journal.Outcome]int64{journal.DriftedDeleted: 1})
	wantOutcomes(t, "pods", report.Pods, map[journal.Outcome]int64{journal.Deleted: 38, journal.DriftedDeleted: 1, journal.Skipped: 1})
	wantSkipped(t, report.Pods, recreated.Key, "another UID")
	onlyGone(t, before, w.state(), slices.DeleteFunc(keys(t, p), func(key string) bool { return key == recreated.Key }))
	kept := w.archived(cfg)
	for _, key := range []string{touched.Key, job.Key()} {
		if got, want := kept[key], before[key]; string(got.Value) != string(want.Value) || got.ModRevision != want.ModRevision {
			t.Errorf("%s was deleted at mod revision %d, the archive has it at %d", key, want.ModRevision, got.ModRevision)
		}
	}
	if len(kept) != 40 || report.Archived != 40 || report.OlderInSnapshot != 2 {
		t.Errorf("%d records archived, %d reported, %d of them older in the snapshot; want 40, 40, 2", len(kept), report.Archived, report.OlderInSnapshot)
	}
}

// An object that is written faster than it can be judged is left in the end.
func TestDriftWithoutEnd(t *testing.T) {
	w, _, p := incident(t, 20)
	restless := podEntries(t, p)[3].Key
	cfg := w.config(p)
	base := w.live(p)
	var attempts atomic.Int64
	cfg.Cluster = faulty{base, func(ctx context.Context, key string, createRevision, modRevision int64) (int64, *decode.Record, error) {
		if key == restless {
			attempts.Add(1)
			w.touch(key)
		}
		return base.DeleteIf(ctx, key, createRevision, modRevision)
	}}
	report, err := apply.Run(t.Context(), cfg)
	if !errors.Is(err, run.ErrLeft) {
		t.Fatalf("%v, want ErrLeft", err)
	}
	wantOutcomes(t, "pods", report.Pods, map[journal.Outcome]int64{journal.Deleted: 19, journal.Skipped: 1})
	wantSkipped(t, report.Pods, restless, "drifted 5 times")
	if attempts.Load() != 6 {
		t.Errorf("%d deletes of the restless pod, want one and five more", attempts.Load())
	}
}

// A delete whose answer is lost is resolved by reading: done or not, nothing is counted blindly.
func TestLostAnswers(t *testing.T) {
	w, _, p := incident(t, 200)
	before := w.state()
	cfg := w.config(p)
	base := w.live(p)
	var calls, lost, refused atomic.Int64
	cut := errors.New("connection cut")
	cfg.Cluster = faulty{base, func(ctx context.Context, key string, createRevision, modRevision int64) (int64, *decode.Record, error) {
		switch calls.Add(1) % 10 {
		case 3: // after the commit
			if at, _, err := base.DeleteIf(ctx, key, createRevision, modRevision); err == nil && at > 0 {
				lost.Add(1)
				return 0, nil, cut
			}
			return 0, nil, nil
		case 7: // before it
			refused.Add(1)
			return 0, nil, cut
		default:
			return base.DeleteIf(ctx, key, createRevision, modRevision)
		}
	}}
	report, err := apply.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if lost.Load() == 0 || refused.Load() == 0 {
		t.Fatalf("%d answers lost, %d requests refused: the test tested nothing", lost.Load(), refused.Load())
	}
	both := report.Roots.Outcomes[journal.GoneUnknown] + report.Pods.Outcomes[journal.GoneUnknown]
	if both != lost.Load() || report.Pods.Total() != 200 {
		t.Errorf("%d gone by this run or another, want %d; %d pods judged", both, lost.Load(), report.Pods.Total())
	}
	onlyGone(t, before, w.state(), keys(t, p))
}

// A cluster that gives no answers stops the run; what was not deleted stands as it stood.
func TestNoAnswers(t *testing.T) {
	w, _, p := incident(t, 20)
	before := w.state()
	cfg := w.config(p)
	cfg.Concurrency = 1
	base := w.live(p)
	dead := errors.New("no answer")
	var calls int
	cfg.Cluster = faulty{base, func(ctx context.Context, key string, createRevision, modRevision int64) (int64, *decode.Record, error) {
		if calls++; calls > 5 {
			return 0, nil, dead
		}
		return base.DeleteIf(ctx, key, createRevision, modRevision)
	}}
	report, err := apply.Run(t.Context(), cfg)
	health, ok := errors.AsType[*run.HealthError](err)
	if !ok || !errors.Is(err, dead) || health.Hint() == "" || report.State != journal.StateStopped {
		t.Fatalf("%v, state %s; want a HealthError with the cause and a hint", err, report.State)
	}
	onlyGone(t, before, w.state(), keys(t, p)[:5])
}

// An interrupted run lets what is in flight finish and can be applied again.
func TestInterrupted(t *testing.T) {
	w, _, p := incident(t, 300)
	before := w.state()
	ctx, interrupt := context.WithCancel(t.Context())
	cfg := w.config(p)
	judged := 0
	cfg.Observe = func(e run.Event) {
		if e, ok := e.(run.Judged); ok && e.Step == run.StepPods {
			if judged++; judged == 100 {
				interrupt()
			}
		}
	}
	report, err := apply.Run(ctx, cfg)
	if !errors.Is(err, run.ErrInterrupted) || report.State != journal.StateInterrupted {
		t.Fatalf("%v, state %s", err, report.State)
	}
	done := report.Pods.Outcomes[journal.Deleted]
	if done < 100 || done > 100+int64(cfg.Concurrency) || report.Pods.Remaining() > 0 {
		t.Errorf("%v after an interrupt at 100", report.Pods.Outcomes)
	}
	if left := len(before) - len(w.state()); int64(left) != done+1 {
		t.Errorf("%d keys are gone, the report says %d and the root", left, done)
	}

	cfg = w.config(p)
	report, err = apply.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	wantOutcomes(t, "roots", report.Roots, map[journal.Outcome]int64{journal.Deleted: 1})
	wantOutcomes(t, "pods", report.Pods, map[journal.Outcome]int64{journal.Deleted: 300})
	if records := w.archivedRecords(cfg); records != 301 || report.Attempts != 2 {
		t.Errorf("%d records archived for 301 keys, in %d attempts", records, report.Attempts)
	}
	onlyGone(t, before, w.state(), keys(t, p))
}

// forgetful is a snapshot that lacks some keys.
type forgetful struct {
	apply.Snapshot
	lacks func(key string) bool
}

func (f forgetful) Holds(key string, createRevision, modRevision int64) (bool, error) {
	if f.lacks(key) {
		return false, nil
	}
	return f.Snapshot.Holds(key, createRevision, modRevision)
}

func TestUnproved(t *testing.T) {
	w, job, p := incident(t, 20)
	missing := podEntries(t, p)[7].Key
	for _, test := range []struct {
		name  string
		lacks func(key string) bool
		check func(t *testing.T, report *apply.Report, err error) (gone []string)
	}{
		{"nothing is in the snapshot", func(string) bool { return true }, func(t *testing.T, _ *apply.Report, err error) []string {
			if _, ok := errors.AsType[*plan.RefusedError](err); !ok {
				t.Errorf("%v, want a refusal", err)
			}
			return nil
		}},
		{"the root is not", func(key string) bool { return key == job.Key() }, func(t *testing.T, _ *apply.Report, err error) []string {
			if refused, ok := errors.AsType[*plan.RefusedError](err); !ok || !strings.Contains(refused.Reason, "not proved") {
				t.Errorf("%v, want a refusal because the root is not proved", err)
			}
			return nil
		}},
		{"a pod is not", func(key string) bool { return key == missing }, func(t *testing.T, report *apply.Report, err error) []string {
			if !errors.Is(err, run.ErrLeft) || len(report.Snapshot.Unproved) != 1 || report.Snapshot.Unproved[0].Examples[0] != missing {
				t.Errorf("%v, unproved %+v", err, report.Snapshot.Unproved)
			}
			wantSkipped(t, report.Pods, missing, "not proved")
			return slices.DeleteFunc(keys(t, p), func(key string) bool { return key == missing })
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := w.state()
			cfg := w.configIn(t.TempDir(), p)
			cfg.Snapshots = withSnapshots{cfg.Snapshots, func(s apply.Snapshot) apply.Snapshot { return forgetful{s, test.lacks} }}
			report, err := apply.Run(t.Context(), cfg)
			onlyGone(t, before, w.state(), test.check(t, report, err))
		})
	}
}

// A follower that dies in the middle costs answers, but no outcome.
func TestFollowerKilled(t *testing.T) {
	w := start(t, lab.Config{Members: 3, NoFsync: true})
	job := w.fill(1500, 1)[0]
	p := w.plan(jobs(job.Namespace, job.Name))
	before := w.state()
	follower := w.follower()
	cfg := w.config(p)
	judged := 0
	cfg.Observe = func(e run.Event) {
		if e, ok := e.(run.Judged); ok && e.Step == run.StepPods {
			if judged++; judged == 200 {
				must(t, w.lab.KillMember(follower))
			}
		}
	}
	report, err := apply.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if report.Pods.Total() != 1500 || report.Pods.Remaining() != 0 {
		t.Errorf("pods: %v", report.Pods.Outcomes)
	}
	onlyGone(t, before, w.state(), keys(t, p))
}

// follower returns the index of a member that does not lead.
func (w *world) follower() int {
	w.t.Helper()
	for i, endpoint := range w.lab.Endpoints() {
		status, err := w.etcd.Status(w.t.Context(), endpoint)
		must(w.t, err)
		if status.Leader != status.Header.MemberId {
			return i
		}
	}
	w.t.Fatal("no follower")
	return 0
}
