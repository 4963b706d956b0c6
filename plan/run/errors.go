package run

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"etcdsweep/plan"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/pace"
)

// ErrInterrupted says that the run ended because its context did. The same command goes on.
var ErrInterrupted = errors.New("interrupted")

// ErrLeft says that the run went to its end, but something is left. The report names it.
var ErrLeft = errors.New("done, but something is left")

// PreflightError holds every reason why a run does not start, each with its own advice.
type PreflightError struct{ Refusals []*plan.RefusedError }

func (e *PreflightError) Error() string {
	var lines []string
	for _, refusal := range e.Refusals {
		lines = append(lines, refusal.Error())
	}
	return strings.Join(lines, "\n")
}

// HealthError says that the run was stopped by the cluster's state, not by its operator.
type HealthError struct {
	Err    error
	Advice string
}

func (e *HealthError) Error() string { return fmt.Sprintf("stopped: %v", e.Err) }

// Unwrap returns what stopped the run.
func (e *HealthError) Unwrap() error { return e.Err }

// Hint returns the advice.
func (e *HealthError) Hint() string { return e.Advice }

// Interrupted says of an error that its run ended because ctx did, if it has ended: stopped, if it was the pace that ended it,
// else interrupted; and what else went wrong, if anything did.
func Interrupted(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil || errors.Is(err, ErrLeft) { // it came to its end all the same
		return err
	}
	why := ErrInterrupted
	if ended, ok := errors.AsType[*pace.EndedError](context.Cause(ctx)); ok {
		why = &HealthError{Err: ended, Advice: goOn}
		if ended.By != "" {
			why = &HealthError{Err: ended, Advice: "give the same command again: it goes on where it stood"}
		}
	} else if errors.Is(err, ErrInterrupted) {
		return err
	}
	if errors.Is(err, ErrInterrupted) || errors.Is(err, context.Canceled) || is[*pace.EndedError](err) {
		return why
	}
	return fmt.Errorf("%w: %w", why, err)
}

func is[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}

const goOn = "look at etcd's members and their logs; once they are well, give the same command again: it goes on where it stood"

// Unhealthy says that the run was stopped because etcd gave no answer.
func Unhealthy(err error) error {
	return &HealthError{
		Err:    err,
		Advice: goOn,
	}
}

// Unfinished adds to a run's error why it could not be written down how it ended: it is not done then, whatever it did.
func Unfinished(err, cause error) error {
	if errors.Is(err, ErrLeft) {
		return fmt.Errorf("%v: %w", err, cause)
	}
	return errors.Join(err, cause)
}

// StateOf says how a run ended that ended with err; began says that keys may have been written to.
func StateOf(err error, began bool) journal.State {
	var health *HealthError
	var preflight *PreflightError
	var refused *plan.RefusedError
	switch {
	case err == nil:
		return journal.StateDone
	case errors.Is(err, ErrLeft):
		return journal.StateLeft
	case errors.Is(err, ErrInterrupted):
		return journal.StateInterrupted
	case errors.As(err, &preflight), errors.As(err, &refused) && !began:
		return journal.StateRefused
	case errors.As(err, &health), errors.As(err, &refused):
		return journal.StateStopped
	default:
		return journal.StateFailed
	}
}
