package apply

import (
	"time"

	"etcdsweep/plan"
)

// Outcome says what became of one key, as reports name it. See [Outcome.Words].
type Outcome string

// The outcomes.
const (
	Deleted        Outcome = "deleted"
	DriftedDeleted Outcome = "drifted_deleted"
	AlreadyGone    Outcome = "already_gone"
	// GoneUnknown is a key that was absent when it was read again after a delete whose answer was lost: it was either
	// this run that deleted it, or somebody else.
	GoneUnknown Outcome = "gone_unknown"
	Skipped     Outcome = "skipped"
	// Unresolved is a key whose delete got no answer, and that could not be read again either.
	Unresolved Outcome = "unresolved"
)

// Words says an outcome to people.
func (o Outcome) Words() string {
	switch o {
	case DriftedDeleted:
		return "drifted and deleted"
	case AlreadyGone:
		return "already gone"
	case GoneUnknown:
		return "gone, by this run or another"
	default:
		return string(o)
	}
}

// Outcomes lists all outcomes in the order in which they are shown.
func Outcomes() []Outcome {
	return []Outcome{Deleted, DriftedDeleted, AlreadyGone, GoneUnknown, Skipped, Unresolved}
}

// Report is what a run did, and what it left.
type Report struct {
	Plan     string    `json:"plan"` // ID
	Started  time.Time `json:"started"`
	Ended    time.Time `json:"ended"`
	State    State     `json:"state"`
	Error    string    `json:"error,omitempty"` // why it stopped, if it did
	Snapshot Proof     `json:"snapshot"`
	Archived int64     `json:"archived"` // records that the snapshot did not hold

	Roots     Tally `json:"roots"`
	Pods      Tally `json:"pods"`
	Newcomers Tally `json:"newcomers"`

	FirstRevision int64 `json:"first_revision,omitempty"` // of a delete
	LastRevision  int64 `json:"last_revision,omitempty"`

	Births        int64     `json:"births"` // by planned owners since the roots went
	LastBirth     time.Time `json:"last_birth,omitzero"`
	RootsReturned []string  `json:"roots_returned,omitempty"` // keys of roots that were made again

	Left Left `json:"left"`
}

// State says how far a run came.
type State string

// The states of a run.
const (
	StateRefused     State = "refused"     // before anything was written to etcd
	StateInterrupted State = "interrupted" // by its operator
	StateStopped     State = "stopped"     // by the cluster
	StateFailed      State = "failed"
	StateDone        State = "done"
	StateLeft        State = "done, but something is left"
)

// Proof says what the snapshot holds of the plan.
type Proof struct {
	Path     string `json:"path"`
	Revision int64  `json:"revision"`
	Bytes    int64  `json:"bytes"`
	SHA256   string `json:"sha256"`

	Planned  int64          `json:"proved_as_planned"`
	Drifted  int64          `json:"proved_as_drifted"` // found at the revision they had when read again
	Since    int64          `json:"drifted_since"`     // since the snapshot: archived before they are deleted
	Gone     int64          `json:"gone"`              // absent from the cluster, so there is nothing to keep
	Unproved []plan.KeptOut `json:"unproved,omitempty"`
}

// Tally counts the outcomes of a step.
type Tally struct {
	Outcomes map[Outcome]int64 `json:"outcomes"`
	Skipped  []plan.KeptOut    `json:"skipped,omitempty"` // by reason
	Capped   bool              `json:"capped,omitempty"`  // of newcomers: --chase-max was reached
}

func (t *Tally) add(outcome Outcome, reason, key string) {
	if t.Outcomes == nil {
		t.Outcomes = map[Outcome]int64{}
	}
	t.Outcomes[outcome]++
	if reason != "" {
		t.Skipped = addReason(t.Skipped, reason, key)
	}
}

// Total returns the number of keys judged.
func (t *Tally) Total() int64 {
	var total int64
	for _, n := range t.Outcomes {
		total += n
	}
	return total
}

// Remaining returns the number of keys that are still there, or may be.
func (t *Tally) Remaining() int64 { return t.Outcomes[Skipped] + t.Outcomes[Unresolved] }

// Left says what stands after the run.
type Left struct {
	Selected int64          `json:"selected"` // what the selection still meets, and no guard keeps
	Examples []string       `json:"examples,omitempty"`
	Kept     []plan.KeptOut `json:"kept,omitempty"` // by a guard
	Unread   []plan.KeptOut `json:"unreadable,omitempty"`
}

const maxExamples = 3

func addReason(all []plan.KeptOut, reason, key string) []plan.KeptOut {
	for i := range all {
		if all[i].Reason == reason {
			all[i].Count++
			if len(all[i].Examples) < maxExamples {
				all[i].Examples = append(all[i].Examples, key)
			}
			return all
		}
	}
	return append(all, plan.KeptOut{Reason: reason, Count: 1, Examples: []string{key}})
}
