package apply

import (
	"slices"
	"time"

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
			if refused := run.RefusesDeletes(alarm.Member, m.Name, m.Version); refused != nil {
				r = append(r, refused)
			}
		}
	}
	return r
}

func (r *sweeper) allows(name string) bool { return slices.Contains(r.Allow, name) }
