package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	startAttempts = 3                // with other ports, when something else took one first
	stopTimeout   = 20 * time.Second // after SIGTERM, before SIGKILL
	logTail       = 4 << 10          // of a server that ended by itself, in the error
)

// process is a server under way.
type process struct {
	cmd  *exec.Cmd
	name string
	log  string        // path
	done chan struct{} // closed once it has ended
}

// startProcess starts a server whose output goes to a file in dir. It dies with the test, at the latest.
func startProcess(path, dir string, flags []string) (*process, error) {
	p := &process{name: filepath.Base(path), done: make(chan struct{})}
	log, err := os.CreateTemp(dir, p.name+"-*.log")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.log = log.Name()
	p.cmd = exec.Command(path, flags...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // how it ended is in its ProcessState
	}()
	return p, nil
}

// await calls ready until it returns no error. A server that ends by itself, or does not get ready, is an error.
func (p *process) await(ctx context.Context, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return p.failure()
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w: see %s", p.name, err, p.log)
		case <-tick.C:
		}
	}
}

// failure is how a server that was not told to ended.
func (p *process) failure() error {
	log, err := os.ReadFile(p.log)
	if err != nil {
		return err
	}
	if bytes.Contains(log, []byte(syscall.EADDRINUSE.Error())) {
		return fmt.Errorf("%s: %w", p.name, syscall.EADDRINUSE)
	}
	return fmt.Errorf("%s ended, %v: %s", p.name, p.cmd.ProcessState, log[max(0, len(log)-logTail):])
}

// stop ends the server the way an operator would, and waits until it has ended.
func (p *process) stop() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
		p.kill()
	}
}

// kill ends the server at once, and waits until it has ended.
func (p *process) kill() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	<-p.done
}

// retryPorts calls start with a free port until it does not fail for the port's sake.
func retryPorts(start func(port int) error) error {
	for attempt := 1; ; attempt++ {
		port, err := freePort()
		if err != nil {
			return err
		}
		if err := start(port); !errors.Is(err, syscall.EADDRINUSE) || attempt == startAttempts {
			return err
		}
	}
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// keepLogs keeps the logs of a failed test below a directory, with which they would be removed.
func keepLogs(t testing.TB, dir, pattern string) {
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		kept, err := os.MkdirTemp("", "etcdsweep-e2e-")
		must(t, err)
		logs, _ := filepath.Glob(filepath.Join(dir, pattern))
		for _, log := range logs {
			name, err := filepath.Rel(dir, log)
			if err == nil {
				err = os.Rename(log, filepath.Join(kept, strings.ReplaceAll(name, "/", "-")))
			}
			if err != nil {
				t.Error(err)
			}
		}
		t.Logf("logs are kept in %s", kept)
	})
}
