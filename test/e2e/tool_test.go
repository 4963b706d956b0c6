package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// tool is the real etcdsweep, as an operator of a control plane has it.
type tool struct {
	t    testing.TB
	path string
	dir  string // for plans and runs
	env  []string
}

// tool builds etcdsweep, and connects it to the control plane's etcd.
func (c *control) tool() *tool {
	c.t.Helper()
	w := &tool{t: c.t, dir: c.t.TempDir()}
	keepLogs(c.t, w.dir, "state/runs/*/log")
	w.path = filepath.Join(w.dir, "etcdsweep")
	build := exec.CommandContext(c.t.Context(), "go", "build", "-C", "../..", "-o", w.path, "./cmd/etcdsweep")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		c.t.Fatalf("%v: %v\n%s", build, err, out)
	}
	w.env = append(os.Environ(),
		"ETCDCTL_ENDPOINTS="+strings.Join(c.etcd.Endpoints(), ","),
		"ETCDCTL_CACERT="+c.etcd.CA.Path(), "ETCDCTL_CERT="+c.etcd.Cert, "ETCDCTL_KEY="+c.etcd.Key,
	)
	return w
}

// state is where the tool keeps its runs.
func (w *tool) state() string { return filepath.Join(w.dir, "state") }

// result is what a command line has come to.
type result struct {
	status      int
	out, errout string
}

// try runs a command line to its end.
func (w *tool) try(args ...string) result {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), w.path, args...)
	cmd.Env = w.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out, errout bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errout
	err := cmd.Run()
	if cmd.ProcessState == nil {
		w.t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errout.String()}
}

// run runs a command line that must end well.
func (w *tool) run(args ...string) result {
	w.t.Helper()
	r := w.try(args...)
	if r.status != 0 {
		w.t.Fatalf("etcdsweep %s: exit status %d\n%s%s", strings.Join(args, " "), r.status, r.out, r.errout)
	}
	return r
}

// plan is a plan file, read.
type plan struct {
	path, id, runDir string
	keys             map[string]bool // of its entries
}

// plan plans, and reads what was planned.
func (w *tool) plan(name string, args ...string) *plan {
	w.t.Helper()
	p := &plan{path: filepath.Join(w.dir, name+".plan"), keys: map[string]bool{}}
	w.run(append(append([]string{"plan"}, args...), "-o", p.path)...)
	for key := range strings.Lines(w.run("show", p.path, "--keys").out) {
		p.keys[strings.TrimSpace(key)] = true
	}
	var shown struct{ ID string }
	must(w.t, json.Unmarshal([]byte(w.run("show", p.path, "-o", "json").out), &shown))
	p.id = shown.ID
	p.runDir = filepath.Join(w.state(), "runs", p.id)
	return p
}

// apply carries a plan out, to its end.
func (w *tool) apply(p *plan, args ...string) result {
	w.t.Helper()
	return w.run(append(append(w.applying(p), atOnce()...), args...)...)
}

// applying is the command line that carries a plan out, at the pace that the tool has by default.
func (w *tool) applying(p *plan) []string {
	return []string{"apply", p.path, "--confirm", p.id, "--state-dir", w.state(), "--lease-duration", leaseDuration.String()}
}

// atOnce is a pace that does not go down for the sake of a control plane on the same machine, where nobody watches that.
func atOnce() []string {
	return []string{"--baseline", "1s", "--start-rate", "200", "--min-rate", "200"}
}

// undo puts back what a plan's run has deleted.
func (w *tool) undo(p *plan, args ...string) result {
	w.t.Helper()
	return w.run(append(append([]string{"undo", p.runDir, "--confirm", p.id, "--lease-duration", leaseDuration.String()}, atOnce()...), args...)...)
}
