package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"etcdsweep/apiserver"
	"etcdsweep/etcdops"
	"etcdsweep/etcdops/encryption"
	"etcdsweep/etcdops/locate"
	"etcdsweep/plan"
	"etcdsweep/plan/run"
)

const exitStatuses = `Exit status: 0 done; 1 error; 2 usage; 3 refused by a guard or preflight;
4 stopped by cluster health; 5 done, but something is left; 130 interrupted.`

// usageError is a command line that cannot be understood.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// exitStatus is the one place where errors become exit statuses.
func exitStatus(err error) int {
	if watched, ok := errors.AsType[*watchedError](err); ok {
		return watched.ended.Status
	}
	for _, row := range []struct {
		is     bool
		status int
	}{
		{err == nil, 0},
		{errors.Is(err, run.ErrInterrupted), 130},
		{is[*run.HealthError](err), 4},
		{errors.Is(err, run.ErrLeft) || is[*unprovedError](err) || is[warned](err) || is[*unreadError](err), 5},
		{is[*plan.RefusedError](err) || is[*plan.FileError](err) || is[*run.PreflightError](err), 3},
		{notEtcd(err), 3},
		{is[usageError](err) || misconfigured(err), 2},
	} {
		if row.is {
			return row.status
		}
	}
	return 1
}

// notEtcd reports whether what answers, or what this node's files lead to, is no etcd.
func notEtcd(err error) bool {
	unusable, ok := errors.AsType[*locate.UnusableError](err)
	return ok && unusable.NotEtcd || is[*etcdops.NotEtcdError](err)
}

// misconfigured reports whether a file that says how to reach or read the cluster, or an address, cannot be used.
func misconfigured(err error) bool {
	return is[*etcdops.ConfigError](err) || is[*encryption.ConfigError](err) || is[*locate.UnusableError](err) || is[*apiserver.ConfigError](err)
}

func is[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}

// interrupted says so of an error that is only the end of ctx.
func interrupted(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return run.ErrInterrupted
	}
	return err
}

// explain prints an error of a command: what, where, and what to do.
func explain(w io.Writer, command string, err error) {
	if err == nil {
		return
	}
	if preflight, ok := errors.AsType[*run.PreflightError](err); ok {
		for _, refusal := range preflight.Refusals {
			explain(w, command, refusal)
		}
		return
	}
	fmt.Fprintf(w, "etcdsweep: %s\n", strings.ReplaceAll(err.Error(), "\n", "\n  "))
	var hinting interface{ Hint() string }
	switch {
	case errors.As(err, &hinting) && hinting.Hint() != "":
		for line := range strings.Lines(hinting.Hint()) {
			fmt.Fprintf(w, "hint: %s\n", strings.TrimSuffix(line, "\n"))
		}
	case is[usageError](err):
		fmt.Fprintf(w, "hint: %s --help tells the usage\n", command)
	}
}
