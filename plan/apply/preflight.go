package apply

import (
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/semver"

	"etcdsweep/plan"
	"etcdsweep/plan/run"
)

// MaxPlanAge is how old a plan may be when it is applied for the first time: what was reviewed an hour ago says little
// about a cluster that a controller runs away in.
const MaxPlanAge = time.Hour

// AllowUnproved deletes entries that the snapshot should hold and does not. Their bytes are in the archive all the same.
const AllowUnproved = "unproved"

// Allowances returns the names that --allow of apply takes.
func Allowances() []string { return []string{run.AllowDegraded, AllowUnproved} }

// Check returns every reason not to apply the plan, all at once. First says that no run of it has come to deleting yet:
// its age counts only then.
func Check(p *plan.File, facts run.Facts, allow []string, first bool, now time.Time) run.Refusals {
	header := &p.Header
	if refused := header.NotApplicable(); refused != nil {
		return run.Refusals{refused}
	}
	r := run.Check(header, facts, allow)
	age := now.Sub(header.Created)
	if first && age > MaxPlanAge {
		r.Refuse("plan again", "the plan is %s old; after %s it no longer tells what is there", age.Round(time.Minute), MaxPlanAge)
	}
	if age < -time.Minute {
		r.Refuse("compare the clocks", "the plan was made %s in the future of this machine's clock", (-age).Round(time.Second))
	}
	for _, alarm := range facts.Alarms {
		if alarm.Kind != run.NoSpace {
			continue
		}
		for _, m := range facts.Members {
			if !passesNoSpace(m.Version) {
				r.Refuse("delete the roots by single plain deletes (etcdctl del KEY), stop kube-controller-manager, then compact, defragment and disarm, and apply again",
					"member %s has the alarm NOSPACE, and etcd %s of member %s then refuses every transaction", alarm.Member, m.Version, m.Name)
			}
		}
	}
	return r
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

func (r *sweeper) allows(name string) bool { return slices.Contains(r.Allow, name) }
