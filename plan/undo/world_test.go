package undo_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"etcdsweep/decode"
	"etcdsweep/durable"
	"etcdsweep/etcdops"
	"etcdsweep/plan"
	"etcdsweep/plan/archive"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/run"
	"etcdsweep/plan/undo"
	"etcdsweep/test/lab"
	"etcdsweep/test/lab/labtest"
)

func TestMain(m *testing.M) { os.Exit(labtest.Run(m)) }

const (
	namespaceKey = "/registry/namespaces/batch"
	jobKey       = "/registry/jobs/batch/runaway"
	podPrefix    = "/registry/pods/batch/runaway-"
)

// world is an etcd, and the directory of a run that has deleted some of what was in it. The run is made by hand: its archive and
// its journal are real files.
type world struct {
	t       *testing.T
	etcd    *clientv3.Client
	client  *etcdops.Client
	dir     *run.Dir
	plan    *plan.File
	facts   run.Facts
	archive *archive.Writer
	journal *journal.Writer
}

func newWorld(t *testing.T) *world {
	t.Helper()
	cluster, err := lab.Start(t.Context(), lab.Config{Dir: t.TempDir(), PlainText: true, NoFsync: true})
	must(t, err)
	t.Cleanup(func() { must(t, cluster.Close()) })
	w := &world{t: t}
	w.etcd, err = cluster.Client()
	must(t, err)
	t.Cleanup(func() { _ = w.etcd.Close() }) // it says only that it was closed
	w.client, _, err = etcdops.Connect(t.Context(), etcdops.Config{Endpoints: cluster.Endpoints()})
	must(t, err)
	t.Cleanup(func() { must(t, w.client.Close()) })
	w.newRun()
	return w
}

// newRun makes the directory of another run.
func (w *world) newRun() {
	w.t.Helper()
	identity := plan.Identity{ClusterID: "c0ffee", SystemUID: "uid-kube-system"}
	var out bytes.Buffer
	pw, err := plan.NewWriter(&out, plan.Header{Cluster: identity, Prefix: "/registry", Revision: 1})
	must(w.t, err)
	_, err = pw.Finish(plan.Trailer{})
	must(w.t, err)
	path := filepath.Join(w.t.TempDir(), "p.plan")
	must(w.t, os.WriteFile(path, out.Bytes(), 0o600))
	p, err := plan.Open(path)
	must(w.t, err)
	w.dir, err = run.MakeDir(durable.OS(), w.t.TempDir(), p)
	must(w.t, err)
	w.plan, err = w.dir.KeepPlan(p)
	must(w.t, err)
	w.facts = run.Facts{Identity: identity, Revision: 1, Members: []run.Member{{Name: "m1"}}}
	w.archive, err = archive.Create(durable.OS(), w.dir.Archive())
	must(w.t, err)
	archiveFile := w.archive
	w.t.Cleanup(func() { must(w.t, archiveFile.Close()) })
	w.journal, err = journal.Create(durable.OS(), w.dir.Journal(), time.Now)
	must(w.t, err)
	journalFile := w.journal
	w.t.Cleanup(func() { must(w.t, journalFile.Close()) })
	w.note(journal.Frame{Opened: &journal.Opened{Command: "apply", Plan: p.ID}})
}

func (w *world) note(frame journal.Frame) {
	w.t.Helper()
	must(w.t, w.journal.Append(frame))
}

// object is a stored object of which only the metadata counts.
type object struct {
	kind, namespace, name, uid string
	owners                     []string // UIDs
	labels                     map[string]string
	terminating                bool
	node, phase                string
}

func (o object) value() string {
	metadata := map[string]any{"name": o.name, "uid": o.uid}
	if o.namespace != "" {
		metadata["namespace"] = o.namespace
	}
	if o.labels != nil {
		metadata["labels"] = o.labels
	}
	if o.terminating {
		metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
	}
	var owners []any
	for _, uid := range o.owners {
		owners = append(owners, map[string]any{"apiVersion": "v1", "kind": "Any", "name": "any", "uid": uid})
	}
	if owners != nil {
		metadata["ownerReferences"] = owners
	}
	value, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": o.kind, "metadata": metadata,
		"spec":   map[string]any{"nodeName": o.node},
		"status": map[string]any{"phase": o.phase},
	})
	if err != nil {
		panic(err)
	}
	return string(value)
}

func pod(n, uid string) object {
	return object{kind: "Pod", namespace: "batch", name: "runaway-" + n, uid: uid, owners: []string{"uid-job"}, labels: map[string]string{"n": n}}
}

func job() object { return object{kind: "Job", namespace: "batch", name: "runaway", uid: "uid-job"} }

func batch() object { return object{kind: "Namespace", name: "batch", uid: "uid-batch"} }

func (w *world) put(key, value string, opts ...clientv3.OpOption) {
	w.t.Helper()
	_, err := w.etcd.Put(w.t.Context(), key, value, opts...)
	must(w.t, err)
}

// incident puts a Namespace, a Job and its pods.
func (w *world) incident(pods ...string) {
	w.t.Helper()
	w.put(namespaceKey, batch().value())
	w.put(jobKey, job().value())
	for _, n := range pods {
		w.put(podPrefix+n, pod(n, "uid-"+n).value())
	}
}

func (w *world) get(key string) *decode.Record {
	w.t.Helper()
	r, err := w.client.Get(w.t.Context(), key)
	must(w.t, err)
	return r
}

// keep archives keys as they are, and writes them down as ones that may be deleted.
func (w *world) keep(stage run.Step, keys ...string) []journal.Verdict {
	w.t.Helper()
	w.note(journal.Frame{Page: &journal.Page{Stage: string(stage), Keys: keys}})
	var verdicts []journal.Verdict
	for _, key := range keys {
		r := w.get(key)
		must(w.t, w.archive.Append(*r))
		verdicts = append(verdicts, journal.Verdict{Key: key, CreateRevision: r.CreateRevision, ModRevision: r.ModRevision})
	}
	return verdicts
}

func (w *world) judge(stage run.Step, outcome journal.Outcome, verdicts ...journal.Verdict) {
	w.t.Helper()
	for i := range verdicts {
		verdicts[i].Outcome = outcome
	}
	w.note(journal.Frame{Judged: &journal.Judged{Stage: string(stage), Keys: verdicts}})
}

func (w *world) del(keys ...string) {
	w.t.Helper()
	for _, key := range keys {
		response, err := w.etcd.Delete(w.t.Context(), key)
		must(w.t, err)
		if response.Deleted != 1 {
			w.t.Fatalf("%s was not there", key)
		}
	}
}

// sweep archives keys and deletes them, as a run does. It returns them as they were.
func (w *world) sweep(stage run.Step, keys ...string) map[string]decode.Record {
	w.t.Helper()
	before := map[string]decode.Record{}
	for _, key := range keys {
		before[key] = *w.get(key)
	}
	verdicts := w.keep(stage, keys...)
	w.del(keys...)
	w.judge(stage, journal.Deleted, verdicts...)
	return before
}

// cluster is a client with the facts of a healthy cluster. The hook, if there is one, stands before each write.
type cluster struct {
	*etcdops.Client
	facts run.Facts
	write func(key string, write func() (int64, *decode.Record, error)) (int64, *decode.Record, error)
}

func (c *cluster) Facts(context.Context) (run.Facts, error) { return c.facts, nil }

func (c *cluster) CreateIf(ctx context.Context, key string, value []byte, lease int64) (int64, *decode.Record, error) {
	write := func() (int64, *decode.Record, error) { return c.Client.CreateIf(ctx, key, value, lease) }
	if c.write == nil {
		return write()
	}
	return c.write(key, write)
}

// config is an unpaced undo.
func (w *world) config(change ...func(*undo.Config)) undo.Config {
	w.t.Helper()
	cfg := undo.Config{
		Plan:        w.plan,
		Cluster:     &cluster{Client: w.client, facts: w.facts},
		Dir:         w.dir,
		Opened:      journal.Opened{Command: "undo", Plan: w.plan.ID},
		Concurrency: 8,

		LeaseDuration: 8 * time.Millisecond,

		Now: time.Now,
	}
	for _, c := range change {
		c(&cfg)
	}
	return cfg
}

func (w *world) only(words ...string) func(*undo.Config) {
	return func(cfg *undo.Config) {
		only, err := undo.ParseOnly(words, "/registry")
		must(w.t, err)
		cfg.Only = only
	}
}

func dryRun(cfg *undo.Config) { cfg.DryRun = true }

// undo undoes the run, and expects this of it.
func (w *world) undo(want error, change ...func(*undo.Config)) *undo.Report {
	w.t.Helper()
	report, err := undo.Run(w.t.Context(), w.config(change...))
	if !errors.Is(err, want) {
		w.t.Fatalf("error %v, want %v", err, want)
	}
	return report
}

// refused undoes the run, and expects that it is refused for these reasons, no others, and that nothing was put back.
func (w *world) refused(reasons []string, change ...func(*undo.Config)) {
	w.t.Helper()
	cfg := w.config(change...)
	cfg.Cluster.(*cluster).write = func(key string, _ func() (int64, *decode.Record, error)) (int64, *decode.Record, error) {
		w.t.Errorf("%s is put back", key)
		return 0, nil, errors.New("not here")
	}
	_, err := undo.Run(w.t.Context(), cfg)
	var got []string
	if preflight, ok := errors.AsType[*run.PreflightError](err); ok {
		for _, r := range preflight.Refusals {
			got = append(got, r.Reason)
		}
	} else if refused, ok := errors.AsType[*plan.RefusedError](err); ok {
		got = []string{refused.Reason}
	} else {
		w.t.Fatalf("error %v, want a refusal", err)
	}
	if len(got) != len(reasons) {
		w.t.Fatalf("refused for %q, want %q", got, reasons)
	}
	for i := range got {
		if !strings.Contains(got[i], reasons[i]) {
			w.t.Errorf("refused for %q, want %q", got[i], reasons[i])
		}
	}
}

func (w *world) revision() int64 {
	w.t.Helper()
	revision, err := w.client.Revision(w.t.Context(), "/registry/")
	must(w.t, err)
	return revision
}

// back checks that these keys hold the bytes that they held before, and that each was written once, in a revision of its own.
func (w *world) back(before map[string]decode.Record) {
	w.t.Helper()
	revisions := map[int64]string{}
	for key, was := range before {
		r := w.get(key)
		switch {
		case r == nil:
			w.t.Errorf("%s is absent", key)
			continue
		case !bytes.Equal(r.Value, was.Value):
			w.t.Errorf("%s has other bytes", key)
		case r.Version != 1:
			w.t.Errorf("%s was written %d times", key, r.Version)
		}
		if other, ok := revisions[r.ModRevision]; ok {
			w.t.Errorf("%s and %s share revision %d", key, other, r.ModRevision)
		}
		revisions[r.ModRevision] = key
	}
}

// outcomes checks how many keys have which outcome.
func (w *world) outcomes(r *undo.Report, want map[journal.Outcome]int64) {
	w.t.Helper()
	for outcome, n := range r.Objects.Outcomes {
		if n != want[outcome] {
			w.t.Errorf("%d %s, want %d", n, outcome, want[outcome])
		}
	}
	for outcome, n := range want {
		if r.Objects.Outcomes[outcome] != n {
			w.t.Errorf("%d %s, want %d", r.Objects.Outcomes[outcome], outcome, n)
		}
	}
}

// reasons checks the reasons of something that is counted by reason.
func (w *world) reasons(got []plan.KeptOut, want map[string]int64) {
	w.t.Helper()
	counts := map[string]int64{}
	for _, k := range got {
		counts[k.Reason] = k.Count
	}
	for reason, n := range want {
		if counts[reason] != n {
			w.t.Errorf("%q: %d, want %d, of %v", reason, counts[reason], n, counts)
		}
		delete(counts, reason)
	}
	if len(counts) > 0 {
		w.t.Errorf("and beside that %v", counts)
	}
}

func (w *world) warned(r *undo.Report, want string) {
	w.t.Helper()
	if !slices.ContainsFunc(r.Warnings, func(text string) bool { return strings.Contains(text, want) }) {
		w.t.Errorf("warnings %q, want one that says %q", r.Warnings, want)
	}
}

// alive makes a holder write kube-controller-manager's lease until the test ends, or it is stopped.
func (w *world) alive(holder string) (stop func()) {
	w.t.Helper()
	value := fmt.Sprintf(`{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","spec":{"holderIdentity":%q}}`, holder)
	return w.renew(value, "/registry/leases/kube-system/kube-controller-manager")
}

// patient makes the undo look for long enough to see what renew does.
func patient(cfg *undo.Config) { cfg.LeaseDuration = 500 * time.Millisecond }

// renew writes a key again and again until the test ends, or it is stopped.
func (w *world) renew(value string, key string) (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for ctx.Err() == nil {
			if _, err := w.etcd.Put(ctx, key, value); err != nil && ctx.Err() == nil {
				w.t.Error(err)
			}
			select {
			case <-ticker.C:
			case <-ctx.Done():
			}
		}
	})
	stop = func() {
		cancel()
		group.Wait()
	}
	w.t.Cleanup(stop)
	return stop
}

// on makes something happen when a step begins.
func on(step run.Step, do func()) func(*undo.Config) {
	return func(cfg *undo.Config) {
		once := sync.OnceFunc(do)
		cfg.Observe = func(e run.Event) {
			if began, ok := e.(run.StepBegan); ok && began.Step == step {
				once()
			}
		}
	}
}

// verified undoes the run, and expects that it ends with these words.
func (w *world) verified(want error, words string, change ...func(*undo.Config)) *undo.Report {
	w.t.Helper()
	var got string
	report := w.undo(want, append(change, func(cfg *undo.Config) {
		cfg.Observe = func(e run.Event) {
			if ended, ok := e.(run.StepEnded); ok && ended.Step == run.StepVerify {
				got = ended.Words
			}
		}
	})...)
	if got != words {
		w.t.Errorf("it ends with %q, want %q", got, words)
	}
	return report
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
