package undo

import (
	"maps"
	"slices"
	"time"

	"etcdsweep/plan"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/pace"
)

// Report is what an undo did in all attempts since it went to its end before, if it did, and what it left.
type Report struct {
	Plan      string        `json:"plan"` // ID
	Directory string        `json:"directory"`
	Only      []string      `json:"only,omitempty"`
	DryRun    bool          `json:"dry_run,omitempty"` // nothing was written; Objects says what would become of each
	Attempts  int           `json:"attempts"`
	Started   time.Time     `json:"started"`
	Ended     time.Time     `json:"ended"`
	State     journal.State `json:"state"`
	Error     string        `json:"error,omitempty"` // why it stopped, if it did

	Selected int64         `json:"selected"` // archived objects that this undo is about
	Objects  journal.Tally `json:"objects"`

	FirstRevision int64           `json:"first_revision,omitempty"` // of a write
	LastRevision  int64           `json:"last_revision,omitempty"`
	Leases        []journal.Lease `json:"leases,omitempty"`

	Compared      int64          `json:"compared"` // objects that were put back, and read again
	ComparedBytes int64          `json:"compared_bytes"`
	Differences   []plan.KeptOut `json:"differences,omitempty"` // of these, by what is different

	Pauses    []journal.Pause `json:"pauses,omitempty"`   // in which the undo stood still
	Told      []journal.Told  `json:"told,omitempty"`     // by people, while it was under way
	Latencies pace.Latencies  `json:"latencies,omitzero"` // of the last attempt

	// ControllersStill says that a kube-controller-manager has led once, and that none has led during the undo.
	ControllersStill bool `json:"controllers_still"`

	Warnings []string `json:"warnings,omitempty"`
}

// Different returns how many objects were different when they were read again.
func (r *Report) Different() (n int64) {
	for _, d := range r.Differences {
		n += d.Count
	}
	return n
}

// fillReport takes from the history what the report says of all attempts.
func (u *undoer) fillReport(closed *journal.Closed) {
	u.mu.Lock()
	defer u.mu.Unlock()
	r, h := &u.report, u.history
	r.Plan, r.Directory, r.Only, r.DryRun = u.Plan.ID, u.Dir.Path, u.Only.words, u.DryRun
	r.Selected = u.survey.total
	r.State, r.Error = closed.State, closed.Error
	r.Ended = u.Now().UTC()
	sight := u.controllers.Sight()
	r.ControllersStill = sight.Found && sight.Moves == 0
	if u.DryRun {
		r.Started = r.Ended
		return
	}
	r.Objects = h.Tally(u.stage)
	r.Told = h.Told
	r.Pauses, r.Latencies = h.Pauses, u.Pace.Latencies()
	r.Attempts, r.Leases = 0, nil // it may be filled more than once
	r.FirstRevision, r.LastRevision = h.FirstRevision, h.LastRevision
	ended := false
	for i := range h.Attempts {
		a := &h.Attempts[i]
		if a.Command != u.Opened.Command {
			continue
		}
		if ended {
			r.Attempts = 0 // this begins another look
		}
		ended = u.ended(a)
		if r.Attempts++; r.Attempts == 1 {
			r.Started = a.Began
		}
	}
	for _, old := range slices.Sorted(maps.Keys(h.Leases)) {
		r.Leases = append(r.Leases, h.Leases[old])
	}
}
