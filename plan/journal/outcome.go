package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"etcdsweep/plan"
)

// Outcome says what became of one key, as journals and reports name it. See [Outcome.Words].
type Outcome string

// The outcomes of a delete.
const (
	Deleted        Outcome = "deleted"
	DriftedDeleted Outcome = "drifted_deleted"
	AlreadyGone    Outcome = "already_gone"
	// GoneUnknown is a key that was absent when it was read again after a delete whose answer was lost, or whose run was
	// killed: it was either this run that deleted it, or somebody else.
	GoneUnknown Outcome = "gone_unknown"
	Skipped     Outcome = "skipped"
	// Unresolved is a key whose write got no answer, and that could not be read again either.
	Unresolved Outcome = "unresolved"
)

// The outcomes of putting back.
const (
	Restored Outcome = "restored"
	// RestoredUnknown is a key that holds exactly what was to be put back, after a write whose answer was lost or whose
	// run was killed.
	RestoredUnknown Outcome = "restored_unknown"
	// Exists is a key that is there: it was made again, or had never gone.
	Exists Outcome = "exists"
	// LeaseExpired is a key whose lease has ended since: it would be gone by now.
	LeaseExpired Outcome = "lease_expired"
)

// Archived is the outcome of a record that was kept, and is not the run's to delete.
const Archived Outcome = "archived"

// Words says an outcome to people.
func (o Outcome) Words() string {
	switch o {
	case DriftedDeleted:
		return "drifted and deleted"
	case AlreadyGone:
		return "already gone"
	case GoneUnknown:
		return "gone, by this run or another"
	case RestoredUnknown:
		return "put back, by this run or another"
	case Restored:
		return "put back"
	case Exists:
		return "exists, left alone"
	case LeaseExpired:
		return "lease expired"
	default:
		return string(o)
	}
}

// Deletions lists the outcomes of deletes in the order in which they are shown.
func Deletions() []Outcome {
	return []Outcome{Deleted, DriftedDeleted, AlreadyGone, GoneUnknown, Skipped, Unresolved}
}

// Restorations lists the outcomes of putting back in the order in which they are shown.
func Restorations() []Outcome {
	return []Outcome{Restored, RestoredUnknown, Exists, LeaseExpired, Skipped, Unresolved}
}

// Tally counts the outcomes of a stage.
type Tally struct {
	Outcomes map[Outcome]int64 `json:"outcomes"`
	Skipped  []plan.KeptOut    `json:"skipped,omitempty"` // by reason
	Capped   bool              `json:"capped,omitempty"`  // of newcomers: --chase-max was reached
}

// Add counts one key.
func (t *Tally) Add(v *Verdict) {
	if t.Outcomes == nil {
		t.Outcomes = map[Outcome]int64{}
	}
	t.Outcomes[v.Outcome]++
	if v.Reason != "" {
		t.Skipped = AddReason(t.Skipped, v.Reason, v.Key)
	}
}

// forget takes an outcome out that is not final.
func (t *Tally) forget(outcome Outcome) {
	delete(t.Outcomes, outcome)
	t.Skipped = slices.DeleteFunc(t.Skipped, func(k plan.KeptOut) bool { return strings.HasPrefix(k.Reason, string(outcome)) })
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

// Words tells the outcomes in one line.
func (t *Tally) Words() string {
	var words []string
	for _, outcome := range append(Deletions(), Restored, RestoredUnknown, Exists, LeaseExpired) {
		if n := t.Outcomes[outcome]; n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, outcome.Words()))
		}
	}
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}

// MaxExamples is the most keys that are named for one reason.
const MaxExamples = 3

// AddReason counts a key under a reason.
func AddReason(all []plan.KeptOut, reason, key string) []plan.KeptOut {
	for i := range all {
		if all[i].Reason == reason {
			all[i].Count++
			if len(all[i].Examples) < MaxExamples {
				all[i].Examples = append(all[i].Examples, key)
			}
			return all
		}
	}
	return append(all, plan.KeptOut{Reason: reason, Count: 1, Examples: []string{key}})
}

// State says how far a run, or an undo of it, came.
type State string

// The states.
const (
	StateRefused     State = "refused"     // before anything was written to etcd
	StateInterrupted State = "interrupted" // by its operator
	StateStopped     State = "stopped"     // by the cluster
	StateFailed      State = "failed"
	StateKilled      State = "killed" // it did not come to closing its journal
	StateDone        State = "done"
	StateLeft        State = "done, but something is left"
)

// Finished reports whether a run went to its end.
func (s State) Finished() bool { return s == StateDone || s == StateLeft }

func strict(payload []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(payload))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the object")
	}
	return nil
}
