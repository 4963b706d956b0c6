package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"etcdsweep/etcdops"
	"etcdsweep/etcdops/snapshot"
	"etcdsweep/plan"
	"etcdsweep/plan/apply"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/run"
)

// session is a run that this process works on: its cluster is locked, and all that is said is in the log of its directory,
// whether there is a terminal to say it on or not.
type session struct {
	streams
	dir    *run.Dir
	opened journal.Opened
	screen *screen

	lock *run.Lock
	log  *os.File
}

// outliveTerminal makes the process go on when its terminal is lost, or is somebody else's: whoever reads what it says may be
// gone, and a question to nobody is as good as answered. SIGHUP is ignored from the beginning.
func outliveTerminal() { signal.Ignore(syscall.SIGPIPE, syscall.SIGTTIN, syscall.SIGTTOU) }

// openSession locks the cluster of the plan, and then makes or finds the directory of its run. The caller closes the session.
func openSession(stateDir string, p *plan.File, opened journal.Opened, s streams, open func() (*run.Dir, error)) (_ *session, err error) {
	lock, err := run.LockCluster(stateDir, p.Header.Cluster.SystemUID, opened, time.Now())
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Close())
		}
	}()
	dir, err := open()
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(dir.Log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	s = s.forgiving()
	screen := newScreen(s.err)
	screen.file = slog.New(slog.NewTextHandler(log, nil))
	screen.file.Info(opened.Command, "plan", opened.Plan, "user", opened.User, "process", opened.PID)
	return &session{
		streams: streams{in: s.in, out: io.MultiWriter(log, s.out), err: s.err},
		dir:     dir, opened: opened, screen: screen, lock: lock, log: log,
	}, nil
}

func (s *session) close() error {
	s.screen.close()
	return errors.Join(s.log.Close(), s.lock.Close())
}

// warnWhenInterrupted says what is waited for once ctx has ended. The returned function ends that.
func (s *session) warnWhenInterrupted(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		s.screen.warn("interrupted: waiting for what is under way; Ctrl-C again ends at once, and leaves it in doubt")
	})
}

// checkWrites checks the flags of a command that writes to etcd.
func checkWrites(rate float64, concurrency int, leaseDuration time.Duration) error {
	switch {
	case !(rate >= 0) || math.IsInf(rate, 0): // NaN is not at least 0 either
		return usagef("--rate %v: want 0, for as fast as etcd can, or more", rate)
	case concurrency < 1:
		return usagef("--concurrency %d: want 1 or more", concurrency)
	case leaseDuration <= 0:
		return usagef("--lease-duration %s: want more than 0s", leaseDuration)
	}
	return nil
}

// checkAllowed refuses what cannot be allowed: a misspelt name must not pass for an accepted risk.
func checkAllowed(names, allowances []string) error {
	for _, name := range names {
		if !slices.Contains(allowances, name) {
			return usagef("nothing to allow is called %q; there is %s", name, strings.Join(allowances, ", "))
		}
	}
	return nil
}

// openedBy says who gives the command, where.
func openedBy(cmd *cobra.Command, args []string, planID string) journal.Opened {
	o := journal.Opened{
		Command:     cmd.Name(),
		Plan:        planID,
		Tool:        version(),
		User:        "unknown",
		Host:        "unknown",
		PID:         os.Getpid(),
		CommandLine: append(append([]string{"etcdsweep", cmd.Name()}, args...), given(cmd.Flags())...),
	}
	if u, err := user.Current(); err == nil {
		o.User = u.Username
	}
	if by := os.Getenv("SUDO_USER"); by != "" {
		o.User += " (sudo by " + by + ")"
	}
	if host, err := os.Hostname(); err == nil {
		o.Host = host
	}
	return o
}

// snapshots takes snapshots for package apply.
type snapshots struct{ client *etcdops.Client }

func (s snapshots) Save(ctx context.Context, path string, minRevision int64, progress func(done, total int64)) (apply.Snapshot, error) {
	file, err := saveSnapshot(ctx, s.client, path, minRevision, progress)
	if full, ok := errors.AsType[*snapshot.NoSpaceError](err); ok && full.Err == nil {
		return nil, &plan.RefusedError{Reason: "no room for the snapshot: " + full.Error(), Advice: "give a directory with more room in --state-dir, best not on etcd's own disk"}
	}
	if err != nil {
		return nil, err // not a nil *snapshotFile in an interface
	}
	return file, nil
}

func (s snapshots) Open(ctx context.Context, path string) (apply.Snapshot, error) {
	info, err := snapshot.Verify(ctx, path)
	if err != nil {
		return nil, err
	}
	file, err := openSnapshot(path, info)
	if err != nil {
		return nil, err
	}
	return file, nil
}

// stateDir returns where runs are kept.
func stateDir(given string) (string, error) {
	if given != "" {
		return filepath.Abs(given)
	}
	if os.Geteuid() == 0 {
		return "/var/lib/etcdsweep", nil
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "etcdsweep"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("--state-dir is not given: %w", err)
	}
	return filepath.Join(home, ".local", "state", "etcdsweep"), nil
}
