package apply

import (
	"errors"
	"fmt"
	"strings"

	"etcdsweep/plan"
)

// ErrInterrupted says that the run ended because its context did. It can be applied again.
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
