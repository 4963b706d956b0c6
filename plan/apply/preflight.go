package apply

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/semver"

	"etcdsweep/plan"
)

// MaxPlanAge is how old a plan may be when it is applied for the first time: what was reviewed an hour ago says little
// about a cluster that a controller runs away in.
const MaxPlanAge = time.Hour

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

// Alarm is an alarm that a member raised: "NOSPACE" or "CORRUPT".
type Alarm struct {
	Member string
	Kind   string
}

// AllowDegraded lifts the refusal to work on a cluster with a member down.
const AllowDegraded = "degraded"

// Allowances returns the names that --allow of apply takes.
func Allowances() []string { return []string{AllowDegraded} }

// Check returns every reason not to apply the plan, all at once. First says that the plan was never applied before: its
// age counts only then.
func Check(p *plan.File, facts Facts, allow []string, first bool, now time.Time) []*plan.RefusedError {
	var refusals []*plan.RefusedError
	refuse := func(advice, format string, args ...any) {
		refusals = append(refusals, &plan.RefusedError{Reason: fmt.Sprintf(format, args...), Advice: advice})
	}
	header := p.Header
	switch {
	case facts.Quorum != nil: // nobody can say which cluster this is
	case header.Cluster != facts.Identity:
		refuse("connect to the cluster that the plan was made for, or plan again",
			"the plan is for another cluster: %s of etcd cluster %s, here is %s of %s",
			header.Cluster.SystemUID, header.Cluster.ClusterID, facts.Identity.SystemUID, facts.Identity.ClusterID)
	case facts.Revision < header.Revision:
		refuse("plan again",
			"the cluster is at revision %d, below the plan's %d: it was restored from a backup since", facts.Revision, header.Revision)
	}
	age := now.Sub(header.Created)
	if first && age > MaxPlanAge {
		refuse("plan again", "the plan is %s old; after %s it no longer tells what is there", age.Round(time.Minute), MaxPlanAge)
	}
	if age < -time.Minute {
		refuse("compare the clocks", "the plan was made %s in the future of this machine's clock", (-age).Round(time.Second))
	}
	if facts.Quorum != nil {
		refuse("bring a majority of the members back first", "there is no quorum: %v", facts.Quorum)
	}
	for _, m := range facts.Members {
		if m.Err != nil && !m.Learner && !slices.Contains(allow, AllowDegraded) {
			refuse("bring it back, or accept the risk with --allow "+AllowDegraded, "member %s does not answer: %v", m.Name, m.Err)
		}
	}
	for _, alarm := range facts.Alarms {
		switch alarm.Kind {
		case "NOSPACE":
			for _, m := range facts.Members {
				if !passesNoSpace(m.Version) {
					refuse("delete the roots by single plain deletes (etcdctl del KEY), stop kube-controller-manager, then compact, defragment and disarm, and apply again",
						"member %s has the alarm NOSPACE, and etcd %s of member %s then refuses every transaction", alarm.Member, m.Version, m.Name)
				}
			}
		default:
			refuse("mend the cluster first: its members do not hold the same data", "member %s has the alarm %s", alarm.Member, alarm.Kind)
		}
	}
	return refusals
}

// passesNoSpace reports whether a server lets transactions that only delete pass under the alarm NOSPACE: 3.4.20, 3.5.7
// and all later lines do (etcd#14884 and its backports). A member that did not tell its version is not counted against.
func passesNoSpace(version string) bool {
	if version == "" {
		return true
	}
	v := "v" + strings.TrimPrefix(version, "v")
	switch semver.MajorMinor(v) {
	case "v3.4":
		return semver.Compare(v, "v3.4.20") >= 0
	case "v3.5":
		return semver.Compare(v, "v3.5.7") >= 0
	default:
		return semver.Compare(v, "v3.6.0") >= 0
	}
}
