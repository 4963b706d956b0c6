package faults_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"etcdsweep/plan"
	"etcdsweep/plan/journal"
)

// attempt is an apply or an undo under way.
type attempt struct {
	w      *world
	plan   *plan.File
	report string            // path
	only   clientv3.OpOption // of what a watch sees: what the attempt writes
	cmd    *exec.Cmd
	logged int64 // bytes of the log that are older
	said   bytes.Buffer
	done   chan error
}

func (w *world) apply(p *plan.File, args ...string) *attempt {
	w.t.Helper()
	a := &attempt{report: w.run(p).Report(), only: clientv3.WithFilterPut()}
	return w.begin(a, p, append([]string{"apply", p.Path(), "--state-dir", w.dir, "--settle", "50ms"}, args...))
}

func (w *world) undo(p *plan.File, args ...string) *attempt {
	w.t.Helper()
	a := &attempt{report: w.run(p).UndoReport(), only: clientv3.WithFilterDelete()}
	return w.begin(a, p, append([]string{"undo", w.run(p).Path}, args...))
}

func (w *world) begin(a *attempt, p *plan.File, args []string) *attempt {
	w.t.Helper()
	a.w, a.plan, a.done = w, p, make(chan error, 1)
	if log, err := os.Stat(w.run(p).Log()); err == nil {
		a.logged = log.Size()
	}
	a.cmd = w.command(append(args, "--confirm", p.ID,
		"--rate", "250", "--start-rate", "250", "--min-rate", "100", "--baseline", "500ms", "--lease-duration", "100ms")...)
	a.cmd.Stdout, a.cmd.Stderr = &a.said, &a.said
	must(w.t, a.cmd.Start())
	go func() { a.done <- a.cmd.Wait() }()
	return a
}

// wrote waits until so many pods are gone, or back, counted by who is asked.
func (a *attempt) wrote(from int64, n int) {
	t := a.w.t
	t.Helper()
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(t.Context()))
	defer cancel()
	seen := 0
	for response := range a.w.etcd.Watch(ctx, "/registry/pods/", clientv3.WithPrefix(), clientv3.WithRev(from+1), a.only) {
		must(t, response.Err())
		if seen += len(response.Events); seen >= n {
			return
		}
	}
	t.Fatal("the watch ended")
}

// next waits for the next key that goes, or comes back, and returns how long that took. It fails if the run ends before.
func (a *attempt) next() time.Duration {
	t := a.w.t
	t.Helper()
	began := time.Now()
	for tick := time.NewTicker(50 * time.Millisecond); ; <-tick.C { // there may be an election still
		ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(t.Context()))
		defer cancel()
		events := a.w.etcd.Watch(ctx, "/registry/", clientv3.WithPrefix(), a.only)
		for open := true; open; {
			select {
			case response, ok := <-events:
				if len(response.Events) > 0 {
					return time.Since(began)
				}
				open = ok && response.Err() == nil
			case err := <-a.done:
				a.done <- err
				t.Fatalf("ended without another write: %v\n%s", err, &a.said)
			}
		}
	}
}

// says waits until the log of the run says something, and fails if the run ends before.
func (a *attempt) says(words string) {
	t := a.w.t
	t.Helper()
	log := a.w.run(a.plan).Log()
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		text, err := os.ReadFile(log)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if int64(len(text)) > a.logged && strings.Contains(string(text[a.logged:]), words) {
			return
		}
		select {
		case <-tick.C:
		case err := <-a.done:
			a.done <- err
			t.Fatalf("ended without %q: %v\n%s", words, err, &a.said)
		}
	}
}

// outcome is what the reports of both an apply and an undo say.
type outcome struct {
	Error  string          `json:"error"`
	Pauses []journal.Pause `json:"pauses"`
}

func (o *outcome) paused() (all time.Duration) {
	for _, pause := range o.Pauses {
		all += time.Duration(pause.Seconds * float64(time.Second))
	}
	return all
}

// end waits for the end, and returns what the report says. The exit status must be this one.
func (a *attempt) end(status int) *outcome {
	t := a.w.t
	t.Helper()
	err := <-a.done
	if got := a.cmd.ProcessState.ExitCode(); got != status {
		t.Fatalf("exit status %d, want %d: %v\n%s", got, status, err, &a.said)
	}
	data, err := os.ReadFile(a.report)
	must(t, err)
	told := new(outcome)
	must(t, json.Unmarshal(data, told))
	return told
}
