package faults_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"etcdsweep/durable"
	"etcdsweep/etcdops"
	"etcdsweep/etcdops/snapshot"
	"etcdsweep/plan"
	"etcdsweep/plan/archive"
	"etcdsweep/plan/control"
	"etcdsweep/plan/pace"
	"etcdsweep/plan/run"
	"etcdsweep/test/lab"
	"etcdsweep/test/lab/labtest"
)

func TestMain(m *testing.M) {
	os.Exit(labtest.Run(m))
}

// podsVariable is how many pods the runaway Job has.
const podsVariable = "ETCDSWEEP_FAULT_PODS"

// ground is what all faults have in common.
type ground struct {
	pods  int
	etcd  string // binaries
	tool  string
	image string // snapshot of a cluster with the incident
	job   lab.Job
}

func prepare(t *testing.T) *ground {
	t.Helper()
	g := &ground{pods: 600, tool: filepath.Join(t.TempDir(), "etcdsweep"), image: filepath.Join(t.TempDir(), "image.db")}
	if text := os.Getenv(podsVariable); text != "" {
		var err error
		g.pods, err = strconv.Atoi(text)
		must(t, err)
	}
	var err error
	g.etcd, err = lab.BuildServer(t.Context())
	must(t, err)
	build := exec.CommandContext(t.Context(), "go", "build", "-o", g.tool, "etcdsweep/cmd/etcdsweep")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, out)
	}

	cluster, err := lab.Start(t.Context(), lab.Config{Dir: t.TempDir(), NoFsync: true, PlainText: true})
	must(t, err)
	defer cluster.Close()
	etcd, err := cluster.Client()
	must(t, err)
	defer etcd.Close()
	jobs, err := lab.Fill(t.Context(), etcd, lab.Incident{Jobs: 1, Pods: g.pods, Seed: 1})
	must(t, err)
	g.job = jobs[0]
	client, _, err := etcdops.Connect(t.Context(), etcdops.Config{Endpoints: cluster.Endpoints()})
	must(t, err)
	defer client.Close()
	stream, err := client.Snapshot(t.Context(), cluster.Endpoints()[0])
	must(t, err)
	defer stream.Close()
	_, err = snapshot.Save(t.Context(), stream, g.image, snapshot.Options{})
	must(t, err)
	return g
}

// world is a cluster under attack.
type world struct {
	t      *testing.T
	ground *ground
	lab    *lab.Cluster
	etcd   *clientv3.Client
	dir    string // of state, plan and labs

	newcomers []string // keys of pods that the Job has made since the plan
}

func (g *ground) start(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, ground: g, dir: t.TempDir()}
	config := lab.Config{Dir: filepath.Join(w.dir, "lab"), Members: 3, Snapshot: g.image, Binary: g.etcd, Wires: true}
	must(t, os.Mkdir(config.Dir, 0o700))
	var err error
	w.lab, err = lab.Start(t.Context(), config)
	must(t, err)
	t.Cleanup(func() { must(t, w.lab.Close()) })
	w.etcd, err = w.lab.Client()
	must(t, err)
	t.Cleanup(func() { w.etcd.Close() })
	return w
}

// leader returns the number of the member that leads. Each of the others follows it.
func (w *world) leader() int {
	w.t.Helper()
	for tick := time.NewTicker(50 * time.Millisecond); ; <-tick.C {
		for i, endpoint := range w.lab.Endpoints() {
			ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
			s, err := w.etcd.Status(ctx, endpoint)
			cancel()
			if w.t.Context().Err() != nil {
				w.t.Fatal("no leader")
			}
			if err == nil && s.Leader == s.Header.MemberId {
				return i
			}
		}
	}
}

// followers returns the others.
func (w *world) followers() []int {
	w.t.Helper()
	leader := w.leader()
	return slices.DeleteFunc([]int{0, 1, 2}, func(i int) bool { return i == leader })
}

// restart starts members that were killed.
func (w *world) restart(members ...int) {
	w.t.Helper()
	group, ctx := errgroup.WithContext(w.t.Context())
	for _, i := range members {
		group.Go(func() error { return w.lab.StartMember(ctx, i) })
	}
	must(w.t, group.Wait())
}

// kill kills members, and returns them.
func (w *world) kill(members ...int) []int {
	w.t.Helper()
	for _, i := range members {
		must(w.t, w.lab.KillMember(i))
	}
	return members
}

// plan plans the runaway Job by the tool.
func (w *world) plan() *plan.File {
	w.t.Helper()
	path := filepath.Join(w.dir, "p.plan")
	cmd := w.command("plan", "-n", w.ground.job.Namespace, "--job", w.ground.job.Name, "-o", path)
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	p, err := plan.Open(path)
	must(w.t, err)
	return p
}

// addNewcomers makes the Job have a third as many pods again.
func (w *world) addNewcomers(p *plan.File) {
	w.t.Helper()
	for entry, err := range p.Entries(plan.StagePods) {
		must(w.t, err)
		n := len(w.newcomers)
		if n == w.ground.pods/3 {
			return
		}
		held, err := w.etcd.Get(w.t.Context(), entry.Key)
		must(w.t, err)
		name := entry.Key[strings.LastIndex(entry.Key, "/")+1:]
		other := fmt.Sprintf("%s%05d", name[:len(name)-5], n)
		value := strings.NewReplacer(name, other, entry.UID, fmt.Sprintf("%08d", n)+entry.UID[8:]).Replace(string(held.Kvs[0].Value))
		key := strings.TrimSuffix(entry.Key, name) + other
		_, err = w.etcd.Put(w.t.Context(), key, value)
		must(w.t, err)
		w.newcomers = append(w.newcomers, key)
	}
}

// command is the tool, told of all members unless its arguments name some.
func (w *world) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(w.t.Context(), w.ground.tool, args...)
	cmd.Env = append(os.Environ(),
		"ETCDCTL_ENDPOINTS="+strings.Join(w.lab.Endpoints(), ","), "ETCDCTL_DIAL_TIMEOUT=1s",
		"ETCDCTL_CACERT="+w.lab.CA.Path(), "ETCDCTL_CERT="+w.lab.Cert, "ETCDCTL_KEY="+w.lab.Key)
	return cmd
}

// run is the directory of the plan's run.
func (w *world) run(p *plan.File) *run.Dir { return run.DirOf(durable.OS(), w.dir, p) }

// slowsDown waits until the run that is under way goes slower than it may, for a reason that an expression meets.
func (w *world) slowsDown(reason string) {
	w.t.Helper()
	why := regexp.MustCompile(reason)
	w.sees(func(s *control.Status) bool {
		p := s.Pace
		return p != nil && p.State == pace.Holding && p.Allowed < p.Ceiling && why.MatchString(p.Reason)
	})
}

// sees waits until the run that is under way shows what is wanted.
func (w *world) sees(wanted func(*control.Status) bool) {
	w.t.Helper()
	var socket string
	for tick := time.NewTicker(10 * time.Millisecond); socket == ""; <-tick.C {
		sockets, err := filepath.Glob(filepath.Join(w.dir, "runs", "*", "control"))
		must(w.t, err)
		if len(sockets) > 1 || w.t.Context().Err() != nil {
			w.t.Fatalf("sockets of runs: %q", sockets)
		}
		socket = strings.Join(sockets, "")
	}
	var seen []string
	for answer, err := range control.Watch(w.t.Context(), socket) {
		must(w.t, err)
		if answer.Status == nil {
			continue
		}
		if wanted(answer.Status) {
			return
		}
		told := fmt.Sprintf("%s %d", answer.Status.Step, answer.Status.Done)
		if p := answer.Status.Pace; p != nil {
			told = fmt.Sprintf("%s %s at %g/s: %s", answer.Status.Step, p.State, p.Allowed, p.Reason)
		}
		if !slices.Contains(seen, told) {
			seen = append(seen, told)
		}
	}
	w.t.Fatalf("ended without what was wanted:\n%s", strings.Join(seen, "\n"))
}

// deletesAtMost watches half of the pods go, and checks that no more than so many went in a second.
func (w *world) deletesAtMost(perSecond int) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(w.t.Context()))
	defer cancel()
	var first time.Time
	seen, want := 0, w.ground.pods/2
	for response := range w.etcd.Watch(ctx, "/registry/pods/", clientv3.WithPrefix(), clientv3.WithFilterPut()) {
		must(w.t, response.Err())
		if first.IsZero() {
			first = time.Now()
			continue // what came with the first event may have waited for it
		}
		if seen += len(response.Events); seen < want {
			continue
		}
		if rate := float64(seen) / time.Since(first).Seconds(); rate > 1.1*float64(perSecond) {
			w.t.Errorf("%.0f pods a second went, want %d at most", rate, perSecond)
		}
		return
	}
	w.t.Fatal("the watch ended")
}

// state is every key but those with a lease, which expire by themselves.
type state map[string]held

type held struct {
	value                string
	created, modRevision int64
}

// state returns the state, and its revision.
func (w *world) state() (state, int64) {
	w.t.Helper()
	var response *clientv3.GetResponse
	for tick := time.NewTicker(50 * time.Millisecond); ; <-tick.C { // there may be an election still
		ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Second)
		var err error
		response, err = w.etcd.Get(ctx, "\x00", clientv3.WithFromKey())
		cancel()
		if err == nil {
			break
		}
		if !etcdops.NoAnswer(err) {
			w.t.Fatal(err)
		}
	}
	s := state{}
	for _, kv := range response.Kvs {
		if kv.Lease == 0 {
			s[string(kv.Key)] = held{string(kv.Value), kv.CreateRevision, kv.ModRevision}
		}
	}
	return s, response.Header.Revision
}

// nothingLost checks that exactly what was planned, and the newcomers, are gone, each key by a revision of its own, that all of it is in the
// archive, byte for byte, and that nothing else has changed.
func (w *world) nothingLost(p *plan.File, before state, revision int64) {
	w.t.Helper()
	want, planned := maps.Clone(before), state{}
	for entry, err := range p.Entries("") {
		must(w.t, err)
		planned[entry.Key] = before[entry.Key]
		delete(want, entry.Key)
	}
	for _, key := range w.newcomers {
		planned[key] = before[key]
		delete(want, key)
	}
	after, now := w.state()
	same(w.t, "in etcd", want, after)
	if now != revision+int64(len(planned)) {
		w.t.Errorf("%d revisions for %d keys", now-revision, len(planned))
	}
	archived := state{}
	for record, err := range archive.ReadFile(w.run(p).Archive()) {
		must(w.t, err)
		archived[record.Key] = held{string(record.Value), record.CreateRevision, record.ModRevision}
	}
	same(w.t, "in the archive", planned, archived)
}

// allBack checks that every key that was planned is there with its value of before, put back by a revision of its own, and that
// nothing else has changed.
func (w *world) allBack(p *plan.File, before state, revision int64) {
	w.t.Helper()
	after, now := w.state()
	for entry, err := range p.Entries("") {
		must(w.t, err)
		if got := after[entry.Key]; got.value == before[entry.Key].value {
			after[entry.Key] = before[entry.Key]
		}
	}
	same(w.t, "in etcd", before, after)
	if now != revision+p.Trailer.Entries {
		w.t.Errorf("%d revisions for %d keys", now-revision, p.Trailer.Entries)
	}
}

func same(t *testing.T, where string, want, got state) {
	t.Helper()
	wrong := 0
	for key, h := range want {
		if got[key] != h {
			wrong++
			t.Logf("%s: %s: revision %d, want %d", where, key, got[key].modRevision, h.modRevision)
		}
	}
	for key := range got {
		if _, ok := want[key]; !ok {
			wrong++
			t.Logf("%s: %s is there", where, key)
		}
	}
	if wrong > 0 {
		t.Errorf("%s: %d keys are not as they should be", where, wrong)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
