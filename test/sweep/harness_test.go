// Package sweep_test plans and applies against real etcd servers that hold real clusters.
package sweep_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"etcdsweep/decode"
	"etcdsweep/durable"
	"etcdsweep/etcdops"
	"etcdsweep/etcdops/encryption"
	"etcdsweep/etcdops/snapshot"
	"etcdsweep/plan"
	"etcdsweep/plan/apply"
	"etcdsweep/plan/archive"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/run"
	"etcdsweep/test/fixtures"
	"etcdsweep/test/lab"
	"etcdsweep/test/lab/labtest"
)

func TestMain(m *testing.M) {
	os.Exit(labtest.Run(m))
}

// world is a cluster under test, seen by the tool and, beside it, by an ordinary client.
type world struct {
	t      *testing.T
	lab    *lab.Cluster
	etcd   *clientv3.Client
	client *etcdops.Client
	dir    string
}

// restore starts a cluster from a fixture.
func restore(t *testing.T, name fixtures.Name, config lab.Config) *world {
	t.Helper()
	path, err := fixtures.Unpack(name, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	config.Snapshot = path
	return start(t, config)
}

func start(t *testing.T, config lab.Config) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir()}
	config.Dir = filepath.Join(w.dir, "lab")
	must(t, os.Mkdir(config.Dir, 0o700))
	var err error
	w.lab, err = lab.Start(t.Context(), config)
	must(t, err)
	t.Cleanup(func() { must(t, w.lab.Close()) })
	w.etcd, err = w.lab.Client()
	must(t, err)
	t.Cleanup(func() { w.etcd.Close() })
	w.client = w.connect(w.lab.Endpoints()...)
	return w
}

// fill fills the cluster with a runaway incident.
func (w *world) fill(pods, jobs int) []lab.Job {
	w.t.Helper()
	filled, err := lab.Fill(w.t.Context(), w.etcd, lab.Incident{Jobs: jobs, Pods: pods, Seed: 1})
	must(w.t, err)
	return filled
}

func (w *world) connect(endpoints ...string) *etcdops.Client {
	w.t.Helper()
	return w.connectWith(nil, endpoints...)
}

// unlock gives the tool the keys of a fixture's encrypted values.
func (w *world) unlock(name fixtures.Name) {
	w.t.Helper()
	text, err := fixtures.EncryptionConfig(name)
	must(w.t, err)
	path := filepath.Join(w.t.TempDir(), "encryption.yaml")
	must(w.t, os.WriteFile(path, text, 0o600))
	keys, err := encryption.Load(path, "/registry")
	must(w.t, err)
	w.client = w.connectWith(keys, w.lab.Endpoints()...)
}

func (w *world) connectWith(opener etcdops.Opener, endpoints ...string) *etcdops.Client {
	w.t.Helper()
	client, dead, err := etcdops.Connect(w.t.Context(), etcdops.Config{
		Endpoints: endpoints, CACert: w.lab.CA.Path(), Cert: w.lab.Cert, Key: w.lab.Key, Opener: opener,
	})
	must(w.t, err)
	if len(dead) > 0 {
		w.t.Fatalf("dead endpoints: %v", dead)
	}
	w.t.Cleanup(func() { must(w.t, client.Close()) })
	return client
}

func jobs(namespace string, names ...string) plan.Query {
	q := plan.Query{}
	for _, name := range names {
		q.Owners = append(q.Owners, plan.OwnerName{GroupKind: schema.GroupKind{Group: "batch", Kind: "Job"}, Namespace: namespace, Name: name})
	}
	return q
}

func (w *world) options() plan.Options {
	status, err := w.client.Status(w.t.Context())
	must(w.t, err)
	return plan.Options{Tool: "test", ClusterID: strconv.FormatUint(status.ClusterID, 16), Prefix: "/registry", Now: time.Now()}
}

// plan writes a plan to a file of its own, and opens it.
func (w *world) plan(query plan.Query, change ...func(*plan.Options)) *plan.File {
	w.t.Helper()
	p, err := w.tryPlan(query, change...)
	must(w.t, err)
	return p
}

func (w *world) tryPlan(query plan.Query, change ...func(*plan.Options)) (*plan.File, error) {
	w.t.Helper()
	opts := w.options()
	for _, c := range change {
		c(&opts)
	}
	var out bytes.Buffer
	if _, _, _, err := plan.Build(w.t.Context(), w.client, query, opts, &out); err != nil {
		return nil, err
	}
	path := filepath.Join(w.t.TempDir(), "p.plan")
	must(w.t, os.WriteFile(path, out.Bytes(), 0o600))
	return plan.Open(path)
}

// live is a client with the facts of a healthy cluster: preflight is tested for itself.
type live struct {
	*etcdops.Client
	facts run.Facts
}

func (l live) Facts(context.Context) (run.Facts, error) { return l.facts, nil }

// config is an unpaced run of the plan that settles at once, in a real directory.
func (w *world) config(p *plan.File) apply.Config { return w.configIn(w.dir, p) }

func (w *world) configIn(stateDir string, p *plan.File) apply.Config {
	w.t.Helper()
	cfg, err := w.tryConfig(durable.OS(), stateDir, p)
	must(w.t, err)
	return cfg
}

// tryConfig is a run whose files are all written through a file system.
func (w *world) tryConfig(fsys durable.FS, stateDir string, p *plan.File) (apply.Config, error) {
	dir, err := run.MakeDir(fsys, stateDir, p)
	if err != nil {
		return apply.Config{}, err
	}
	if p, err = dir.KeepPlan(p); err != nil {
		return apply.Config{}, err
	}
	return apply.Config{
		Plan:        p,
		Cluster:     w.live(p),
		Snapshots:   snapshots{w, fsys},
		Dir:         dir,
		Opened:      journal.Opened{Command: "apply", Plan: p.ID},
		Concurrency: 16,
		Settle:      50 * time.Millisecond,
		SettleMax:   time.Minute,
		Now:         time.Now,

		LeaseDuration: 100 * time.Millisecond,
	}, nil
}

func (w *world) live(p *plan.File) live {
	return live{w.client, run.Facts{Identity: p.Header.Cluster, Revision: p.Header.Revision}}
}

// archived returns what a run has archived, by key: the last record of each.
func (w *world) archived(cfg apply.Config) map[string]decode.Record {
	w.t.Helper()
	all := map[string]decode.Record{}
	for record, err := range archive.ReadFile(cfg.Dir.Archive()) {
		must(w.t, err)
		all[record.Key] = record
	}
	return all
}

// archivedRecords counts the records of the archive: a key that stands in it twice counts twice.
func (w *world) archivedRecords(cfg apply.Config) (n int) {
	w.t.Helper()
	for _, err := range archive.ReadFile(cfg.Dir.Archive()) {
		must(w.t, err)
		n++
	}
	return n
}

// snapshots are real ones.
type snapshots struct {
	w    *world
	fsys durable.FS
}

func (s snapshots) Save(ctx context.Context, path string, minRevision int64, progress func(done, total int64)) (apply.Snapshot, error) {
	member, err := s.w.client.SnapshotSource(ctx, minRevision)
	if err != nil {
		return nil, err
	}
	stream, err := s.w.client.Snapshot(ctx, member.Endpoint)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	info, err := snapshot.Save(ctx, stream, path, snapshot.Options{FS: s.fsys, Progress: func(bytes int64) { progress(bytes, 0) }})
	if err != nil {
		return nil, err
	}
	return s.open(path, info)
}

func (s snapshots) Open(ctx context.Context, path string) (apply.Snapshot, error) {
	info, err := snapshot.Verify(ctx, path)
	if err != nil {
		return nil, err
	}
	return s.open(path, info)
}

func (s snapshots) open(path string, info snapshot.Info) (apply.Snapshot, error) {
	file, err := snapshot.Open(path)
	if err != nil {
		return nil, err
	}
	revision, err := file.Revision()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return held{file, journal.Proof{Path: path, Revision: revision, Bytes: info.Bytes, SHA256: info.SHA256}}, nil
}

type held struct {
	*snapshot.File
	proof journal.Proof
}

func (h held) Describe() journal.Proof { return h.proof }

// withSnapshots are snapshots of which something is done with each that was taken.
type withSnapshots struct {
	apply.Snapshots
	taken func(apply.Snapshot) apply.Snapshot
}

func (s withSnapshots) Save(ctx context.Context, path string, minRevision int64, progress func(done, total int64)) (apply.Snapshot, error) {
	snapshot, err := s.Snapshots.Save(ctx, path, minRevision, progress)
	if err != nil {
		return nil, err
	}
	return s.taken(snapshot), nil
}

// afterSnapshot makes the run do something once its snapshot was taken.
func afterSnapshot(cfg *apply.Config, do func()) {
	cfg.Snapshots = withSnapshots{cfg.Snapshots, func(s apply.Snapshot) apply.Snapshot {
		do()
		return s
	}}
}

// state is every key of a cluster. Keys with a lease expire by themselves, and are left out.
type state map[string]decode.Record

func (w *world) state() state {
	w.t.Helper()
	response, err := w.etcd.Get(w.t.Context(), "\x00", clientv3.WithFromKey())
	must(w.t, err)
	s := state{}
	for _, kv := range response.Kvs {
		if kv.Lease == 0 {
			s[string(kv.Key)] = decode.Record{Key: string(kv.Key), Value: kv.Value, CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision}
		}
	}
	return s
}

// keys returns the keys of a plan.
func keys(t *testing.T, p *plan.File) []string {
	t.Helper()
	var all []string
	for entry, err := range p.Entries("") {
		must(t, err)
		all = append(all, entry.Key)
	}
	return all
}

// onlyGone checks that exactly these keys are gone, and that every other key has the bytes and the revisions that it had.
func onlyGone(t *testing.T, before, after state, gone []string) {
	t.Helper()
	want := maps.Clone(before)
	for _, key := range gone {
		if _, ok := want[key]; !ok {
			t.Errorf("%s was not there before", key)
		}
		delete(want, key)
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		got, ok := after[key]
		switch {
		case !ok:
			t.Errorf("%s is gone, and was not planned", key)
		case !bytes.Equal(got.Value, want[key].Value) || got.ModRevision != want[key].ModRevision || got.CreateRevision != want[key].CreateRevision:
			t.Errorf("%s has changed: mod revision %d, was %d", key, got.ModRevision, want[key].ModRevision)
		}
	}
	for key := range after {
		if _, ok := want[key]; !ok {
			t.Errorf("%s is there, and should not be", key)
		}
	}
}

// deletes watches for deletes from now on. The returned function ends the watch once it has seen as many keys as
// expected, and returns how many keys each revision deleted.
func (w *world) deletes(expected int) func() map[int64]int {
	w.t.Helper()
	now, err := w.client.Revision(w.t.Context(), "/registry")
	must(w.t, err)
	ctx, cancel := context.WithCancel(w.t.Context())
	events := w.etcd.Watch(ctx, "/", clientv3.WithPrefix(), clientv3.WithRev(now+1), clientv3.WithFilterPut())
	seen := make(chan map[int64]int, 1)
	go func() {
		perRevision, keys := map[int64]int{}, 0
		for response := range events {
			for _, event := range response.Events {
				perRevision[event.Kv.ModRevision]++
				keys++
			}
			if keys >= expected {
				break
			}
		}
		seen <- perRevision
	}()
	return func() map[int64]int {
		w.t.Helper()
		defer cancel()
		select {
		case perRevision := <-seen:
			return perRevision
		case <-time.After(30 * time.Second):
			cancel()
			w.t.Errorf("the watcher saw fewer than %d deletes", expected)
			return <-seen
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
