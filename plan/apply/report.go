package apply

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"etcdsweep/plan"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/pace"
	"etcdsweep/plan/run"
)

// Report is what a run did in all of its attempts, and what it left.
type Report struct {
	Plan      string        `json:"plan"` // ID
	Directory string        `json:"directory"`
	Started   time.Time     `json:"started"` // of the first attempt
	Ended     time.Time     `json:"ended"`
	Attempts  int           `json:"attempts"`
	State     journal.State `json:"state"`
	Error     string        `json:"error,omitempty"` // why it stopped, if it did

	Snapshot journal.Proof `json:"snapshot"`
	// Archived is the number of keys whose raw bytes are in the archive: all that was deleted, and collateral.
	Archived int64 `json:"archived"`
	// OlderInSnapshot is how many of these the snapshot holds in an older version than the archive, and MissingInSnapshot
	// how many were made after it.
	OlderInSnapshot   int64 `json:"older_in_snapshot"`
	MissingInSnapshot int64 `json:"missing_in_snapshot"`

	Collateral journal.Tally `json:"collateral,omitzero"`
	Roots      journal.Tally `json:"roots"`
	Pods       journal.Tally `json:"pods"`
	Objects    journal.Tally `json:"objects,omitzero"`
	Namespace  journal.Tally `json:"namespace,omitzero"` // of a plan of a whole one: the Namespace itself
	Newcomers  journal.Tally `json:"newcomers"`

	FirstRevision int64   `json:"first_revision,omitempty"` // of a delete
	LastRevision  int64   `json:"last_revision,omitempty"`
	PausedSeconds float64 `json:"paused_seconds,omitempty"` // what two pauses have in common counts once

	Pauses    []journal.Pause `json:"pauses,omitempty"`   // each in which the run stood still
	Told      []journal.Told  `json:"told,omitempty"`     // by people, while it was under way
	Latencies pace.Latencies  `json:"latencies,omitzero"` // of the last attempt

	Births        int64     `json:"births"` // by planned owners since the roots went
	LastBirth     time.Time `json:"last_birth,omitzero"`
	RootsReturned []string  `json:"roots_returned,omitempty"` // keys of roots that were made again

	Controllers Controllers `json:"controllers"`

	Left Left `json:"left"`
}

// Left says what stands after the run.
type Left struct {
	Selected int64          `json:"selected"` // what the selection still meets, and no guard keeps
	Examples []string       `json:"examples,omitempty"`
	Kept     []plan.KeptOut `json:"kept,omitempty"` // by a guard
	Unread   []plan.KeptOut `json:"unreadable,omitempty"`
}

// words tells what became of the plan's entries below the roots.
func (r *Report) words() string {
	if r.Pods.Total() == 0 && r.Objects.Total() > 0 {
		return r.Objects.Words()
	}
	return r.Pods.Words()
}

func readReport(dir *run.Dir) (*Report, error) {
	data, err := os.ReadFile(dir.Report())
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	report := new(Report)
	if err := json.Unmarshal(data, report); err != nil {
		return nil, fmt.Errorf("report %s: %w", dir.Report(), err)
	}
	return report, nil
}

// fillReport takes from the history what the report tells of all attempts.
func (r *sweeper) fillReport(closed *journal.Closed) {
	h := r.history
	attempts := h.Attempts
	r.report.Started, r.report.Ended = attempts[0].Began, r.Now().UTC()
	r.report.Attempts = len(attempts)
	r.report.State, r.report.Error = closed.State, closed.Error
	if h.Proof != nil {
		r.report.Snapshot = *h.Proof
	}
	r.report.Archived, r.report.OlderInSnapshot, r.report.MissingInSnapshot = h.Archived, h.Newer, h.Missing
	capped := r.report.Newcomers.Capped
	r.report.Collateral = r.tally(run.StepCollateral)
	r.report.Roots = r.tally(run.StepRoots)
	r.report.Pods = r.tally(run.StepPods)
	r.report.Objects = r.tally(run.StepObjects)
	r.report.Namespace = r.tally(run.StepNamespace)
	r.report.Newcomers = r.tally(run.StepNewcomers)
	r.report.Newcomers.Capped = capped
	r.report.FirstRevision, r.report.LastRevision = h.FirstRevision, h.LastRevision
	r.report.PausedSeconds = h.Paused.Seconds()
	r.report.Told = h.Told
	r.report.Pauses, r.report.Latencies = h.Pauses, r.Pace.Latencies()
}
