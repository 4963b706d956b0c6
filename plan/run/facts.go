package run

import (
	"fmt"
	"slices"

	"etcdsweep/plan"
)

// Facts is what preflight looks at.
type Facts struct {
	Identity plan.Identity
	Revision int64
	Members  []Member
	Alarms   []Alarm
	Quorum   error // why there is none; nil if a linearizable read was answered
}

// Member is one member of the etcd cluster.
type Member struct {
	Name    string
	Version string
	Learner bool
	Err     error // why it did not answer
}

// Alarm is an alarm that a member raised.
type Alarm struct {
	Member string
	Kind   string // NoSpace or "CORRUPT"
}

// NoSpace is the alarm under which etcd refuses everything but deletes. See each command for what that means to it; any
// other alarm is refused by Check.
const NoSpace = "NOSPACE"

// AllowDegraded lifts the refusal to work on a cluster with a member down.
const AllowDegraded = "degraded"

// Refusals gathers reasons, to say all of them at once.
type Refusals []*plan.RefusedError

// Refuse adds one.
func (r *Refusals) Refuse(advice, format string, args ...any) {
	*r = append(*r, &plan.RefusedError{Reason: fmt.Sprintf(format, args...), Advice: advice})
}

// Err returns them as a *PreflightError, or nil if there are none.
func (r Refusals) Err() error {
	if len(r) == 0 {
		return nil
	}
	return &PreflightError{Refusals: r}
}

// Check returns every reason not to work on a cluster that has a plan's run or is to have one. What it advises fits both those
// who carry a plan out and those who undo it.
func Check(header *plan.Header, facts Facts, allow []string) Refusals {
	var r Refusals
	switch {
	case facts.Quorum != nil: // nobody can say which cluster this is
		r.Refuse("bring a majority of the members back first", "there is no quorum: %v", facts.Quorum)
	case header.Cluster != facts.Identity:
		r.Refuse("connect to the cluster that the plan was made for: --endpoints and the certificates lead to another one",
			"the plan is for another cluster: %s of etcd cluster %s, here is %s of %s",
			header.Cluster.SystemUID, header.Cluster.ClusterID, facts.Identity.SystemUID, facts.Identity.ClusterID)
	case facts.Revision < header.Revision:
		r.Refuse("what was planned or deleted before a restore says nothing of what is there now: look at that, and make a new plan for what is to go",
			"the cluster is at revision %d, below the plan's %d: it was restored from a backup since", facts.Revision, header.Revision)
	}
	for _, m := range facts.Members {
		if m.Err != nil && !m.Learner && !slices.Contains(allow, AllowDegraded) {
			r.Refuse("bring it back, or accept the risk with --allow "+AllowDegraded, "member %s does not answer: %v", m.Name, m.Err)
		}
	}
	for _, alarm := range facts.Alarms {
		if alarm.Kind != NoSpace {
			r.Refuse("mend the cluster first: its members do not hold the same data", "member %s has the alarm %s", alarm.Member, alarm.Kind)
		}
	}
	return r
}

// Answering returns how many members answered.
func (f *Facts) Answering() (n int) {
	for _, m := range f.Members {
		if m.Err == nil {
			n++
		}
	}
	return n
}
