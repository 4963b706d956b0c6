package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
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
	"etcdsweep/plan/control"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/pace"
	"etcdsweep/plan/run"
)

// session is a run that this process works on: its cluster is locked, and all that is said is in the log of its directory,
// whether there is a terminal to say it on or not.
type session struct {
	streams
	dir    *run.Dir
	opened journal.Opened
	screen *screen

	lock    *run.Lock
	log     *os.File
	control *control.Server // nil while nobody can look at the run
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

// steer lets etcdsweep ctl look at the run, and slow, pause or end it, until it has ended. A run that cannot be looked at goes on.
func (s *session) steer(ctx context.Context, pacer *pace.Pacer) {
	server, err := control.Serve(ctx, s.dir.Control(), func() control.Status { return s.status(pacer) }, pacer)
	if err != nil {
		s.screen.warn("etcdsweep ctl cannot reach this run: " + err.Error())
		return
	}
	s.control = server
	s.screen.hear(server.Say)
}

// status is what the screen shows, and the pace as it is now: whoever has given a word sees at once what came of it.
func (s *session) status(pacer *pace.Pacer) control.Status {
	paced := pacer.Status()
	status := s.screen.status(&paced)
	status.Command, status.Plan, status.PID = s.opened.Command, s.opened.Plan, s.opened.PID
	return status
}

// ended tells those who look at the run how it has ended; began says that there is a report. Nobody can look at it any more.
func (s *session) ended(err error, began bool) {
	if s.control == nil {
		return
	}
	s.screen.hear(nil)
	ended := control.Ended{State: string(run.StateOf(err, began)), Status: exitStatus(err)}
	if err != nil {
		ended.Error = err.Error()
	}
	if err := s.control.Close(ended); err != nil {
		s.screen.warn("the run's socket is left behind: " + err.Error())
	}
	s.control = nil
}

// warnWhenInterrupted says what is waited for once ctx has ended. The returned function ends that.
func (s *session) warnWhenInterrupted(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		s.screen.warn("interrupted: waiting for what is under way; Ctrl-C again ends at once, and leaves it in doubt")
	})
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
type snapshots struct {
	client *etcdops.Client
	pace   *pace.Pacer
}

func (s snapshots) Save(ctx context.Context, path string, minRevision int64, progress func(done, total int64)) (apply.Snapshot, error) {
	file, err := saveSnapshot(ctx, s.client, s.pace, path, minRevision, progress)
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
