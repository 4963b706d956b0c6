package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"etcdsweep/etcdops"
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
	for _, row := range []struct {
		is     bool
		status int
	}{
		{err == nil, 0},
		{errors.Is(err, run.ErrInterrupted), 130},
		{is[*run.HealthError](err), 4},
		{errors.Is(err, run.ErrLeft) || is[*unprovedError](err), 5},
		{is[*plan.RefusedError](err) || is[*plan.FileError](err) || is[*run.PreflightError](err), 3},
		{is[usageError](err) || is[*etcdops.ConfigError](err), 2},
	} {
		if row.is {
			return row.status
		}
	}
	return 1
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
