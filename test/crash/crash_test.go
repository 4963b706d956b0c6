// Package crash_test kills the real binary, again and again, and looks whether anything was lost.
package crash_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"etcdsweep/plan"
	"etcdsweep/plan/archive"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/run"
	"etcdsweep/test/lab"
	"etcdsweep/test/lab/labtest"
)

func TestMain(m *testing.M) {
	os.Exit(labtest.Run(m))
}

const (
	pods     = 1050 // two pages
	instants = 50
)

// A run, and an undo of it, that are killed at every step of their journals and at random instants, go on where they were:
// exactly what was planned goes, all of it is in the archive, and all of it comes back, byte for byte.
func TestKilled(t *testing.T) {
	w := start(t)
	t.Run("at every step", func(t *testing.T) {
		for step, killed := 1, true; killed; step++ {
			killed = w.round(t, func() killer { return atFrame(step) })
		}
	})
	t.Run("at any instant", func(t *testing.T) {
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		random := rand.New(rand.NewPCG(seed, 0))
		for range instants {
			w.round(t, func() killer { return after(time.Duration(random.Int64N(int64(w.longest) + 1))) })
		}
	})
}

// world is a cluster with a runaway Job, and the binary.
type world struct {
	lab     *lab.Cluster
	etcd    *clientv3.Client
	bin     string
	job     lab.Job
	env     []string
	longest time.Duration // that an apply or an undo took which was not killed
}

func start(t *testing.T) *world {
	t.Helper()
	w := &world{bin: filepath.Join(t.TempDir(), "etcdsweep")}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", w.bin, "etcdsweep/cmd/etcdsweep")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, out)
	}
	var err error
	if w.lab, err = lab.Start(t.Context(), lab.Config{Dir: t.TempDir(), NoFsync: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.lab.Close() })
	if w.etcd, err = w.lab.Client(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.etcd.Close() })
	jobs, err := lab.Fill(t.Context(), w.etcd, lab.Incident{Jobs: 1, Pods: pods, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	w.job = jobs[0]
	w.env = append(os.Environ(), "ETCDCTL_ENDPOINTS="+strings.Join(w.lab.Endpoints(), ","),
		"ETCDCTL_CACERT="+w.lab.CA.Path(), "ETCDCTL_CERT="+w.lab.Cert, "ETCDCTL_KEY="+w.lab.Key)
	return w
}

// round plans, applies and undoes, each killed once and then left to go on. It reports whether any of them was killed.
func (w *world) round(t *testing.T, next func() killer) (killed bool) {
	t.Helper()
	dir := t.TempDir()
	w.compact(t)
	before := w.state(t)
	file := filepath.Join(dir, "p.plan")
	w.run(t, nil, "", "plan", "-n", w.job.Namespace, "--job", w.job.Name, "-o", file)
	p, err := plan.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	run := filepath.Join(dir, "runs", p.ID)

	apply := []string{"apply", file, "--confirm", p.ID, "--state-dir", dir, "--rate", "0", "--settle", "1ms", "--lease-duration", "100ms"}
	killed = w.killedOnce(t, next(), filepath.Join(run, "journal"), apply)
	want := maps.Clone(before)
	for entry, err := range p.Entries("") {
		if err != nil {
			t.Fatal(err)
		}
		delete(want, entry.Key)
	}
	same(t, "after apply", want, w.state(t))
	archived := state{}
	for record, err := range archive.ReadFile(filepath.Join(run, "archive.zst")) {
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := archived[record.Key]; twice {
			t.Errorf("%s was archived twice", record.Key)
		}
		archived[record.Key] = held{record.Value, record.ModRevision}
	}
	gone := maps.Clone(before)
	maps.DeleteFunc(gone, func(key string, _ held) bool { _, stays := want[key]; return stays })
	same(t, "in the archive", gone, archived)

	undo := []string{"undo", run, "--confirm", p.ID, "--rate", "0", "--lease-duration", "100ms"}
	killed = w.killedOnce(t, next(), filepath.Join(run, "undo.journal"), undo) || killed
	now := w.state(t)
	for key, h := range now {
		if _, back := gone[key]; back {
			now[key] = held{h.value, before[key].modRevision} // what was put back has a new one
		}
	}
	same(t, "after undo", before, now)
	if t.Failed() {
		t.FailNow()
	}
	return killed
}

// compact keeps the history of the rounds before out of the next snapshot.
func (w *world) compact(t *testing.T) {
	t.Helper()
	now, err := w.etcd.Get(t.Context(), "now")
	if err == nil {
		_, err = w.etcd.Compact(t.Context(), now.Header.Revision, clientv3.WithCompactPhysical())
	}
	if err == nil {
		_, err = w.etcd.Defragment(t.Context(), w.lab.Endpoints()[0])
	}
	if err != nil {
		t.Fatal(err)
	}
}

// killedOnce runs a command that is killed, and gives it again until it comes to its end.
func (w *world) killedOnce(t *testing.T, kill killer, journal string, args []string) (killed bool) {
	t.Helper()
	killed = w.run(t, kill, journal, args...)
	if killed && !finished(journal) {
		w.run(t, nil, "", args...)
	}
	return killed
}

// run runs the binary to its end, or until kill returns, and reports whether it was killed.
func (w *world) run(t *testing.T, kill killer, journal string, args ...string) (killed bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), w.bin, args...)
	cmd.Env = w.env
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	defer cancel()
	strike := make(chan struct{})
	go func() {
		defer close(strike)
		if kill != nil && kill(ended, journal) {
			_ = cmd.Process.Kill() // it may have ended by itself
		}
	}()
	err := cmd.Wait()
	cancel()
	<-strike
	if failed := new(exec.ExitError); errors.As(err, &failed) && failed.ExitCode() == -1 {
		return true
	}
	if err != nil {
		t.Fatalf("etcdsweep %s: %v\n%s", strings.Join(args, " "), err, &out)
	}
	w.longest = max(w.longest, time.Since(began))
	return false
}

// killer waits for the moment to kill, and reports false if ctx has ended before it.
type killer func(ctx context.Context, journal string) bool

// after kills at an instant.
func after(d time.Duration) killer {
	return func(ctx context.Context, _ string) bool { return run.Wait(ctx, d) }
}

// atFrame kills as soon as the journal has so many frames.
func atFrame(n int) killer {
	return func(ctx context.Context, journal string) bool {
		tick := time.NewTicker(200 * time.Microsecond)
		defer tick.Stop()
		for frames(journal) < n {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return false
			}
		}
		return true
	}
}

func frames(path string) (n int) {
	for _, err := range journal.ReadFile(path) {
		if err == nil {
			n++
		}
	}
	return n
}

// finished reports whether a journal says that its run went to its end: it was killed when it had nothing left to do.
func finished(path string) bool {
	history := &journal.History{}
	for frame, err := range journal.ReadFile(path) {
		if err == nil {
			history.Add(frame)
		}
	}
	return history.State().Finished()
}

// state is what a cluster holds, by key. Keys with a lease expire by themselves, and are left out.
type state map[string]held

type held struct {
	value       []byte
	modRevision int64
}

func (w *world) state(t *testing.T) state {
	t.Helper()
	response, err := w.etcd.Get(t.Context(), "\x00", clientv3.WithFromKey())
	if err != nil {
		t.Fatal(err)
	}
	s := state{}
	for _, kv := range response.Kvs {
		if kv.Lease == 0 {
			s[string(kv.Key)] = held{kv.Value, kv.ModRevision}
		}
	}
	return s
}

func same(t *testing.T, when string, want, got state) {
	t.Helper()
	var wrong []string
	for key, was := range want {
		if now, ok := got[key]; !ok {
			wrong = append(wrong, key+" is missing")
		} else if !bytes.Equal(now.value, was.value) || now.modRevision != was.modRevision {
			wrong = append(wrong, fmt.Sprintf("%s has changed: mod revision %d, was %d", key, now.modRevision, was.modRevision))
		}
	}
	for key := range got {
		if _, ok := want[key]; !ok {
			wrong = append(wrong, key+" is there")
		}
	}
	if len(wrong) > 0 {
		slices.Sort(wrong)
		t.Errorf("%s %d keys are not as they should be: %s", when, len(wrong), fmt.Sprint(wrong[:min(len(wrong), 10)]))
	}
}
