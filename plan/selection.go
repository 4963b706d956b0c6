package plan

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"etcdsweep/decode"
)

// OwnerName names an object whose dependents are to go, before anybody looked for it.
type OwnerName struct {
	GroupKind schema.GroupKind
	Namespace string
	Name      string
}

func (n OwnerName) String() string {
	return n.GroupKind.Kind + " " + n.Namespace + "/" + n.Name
}

// Query is what the operator asked for. An object must meet every field that is set.
type Query struct {
	Namespaces  []string    // to look in; those of Owners are added
	Owners      []OwnerName // the controller must be one of these
	Selector    labels.Selector
	Phases      []string
	Nodes       []string
	OlderThan   time.Duration // by metadata.creationTimestamp, at the time of planning
	Terminating bool          // only what has a deletionTimestamp
	Limit       int           // the most dependents in a plan, 0 for all
}

// Validate reports what makes a query unusable: a query that does not narrow a namespace is empty, and never means "all".
func (q *Query) Validate() error {
	if len(q.Owners) == 0 && (q.Selector == nil || q.Selector.Empty()) && len(q.Phases) == 0 && len(q.Nodes) == 0 &&
		q.OlderThan == 0 && !q.Terminating {
		return &RefusedError{
			Reason: "the selection is empty: it names no owner, selector, phase, node, age or terminating pods",
			Advice: "say which pods are meant; a namespace alone never means all of its pods",
		}
	}
	if len(q.Namespaces) == 0 && len(q.Owners) == 0 {
		return errors.New("the selection names no namespace")
	}
	for _, owner := range q.Owners {
		if owner.Namespace == "" || owner.Name == "" {
			return fmt.Errorf("owner %q has no namespace or no name", owner)
		}
	}
	for _, phase := range q.Phases {
		if !slices.Contains([]string{"Pending", "Running", "Succeeded", "Failed", "Unknown"}, phase) {
			return fmt.Errorf("phase %q is none of Pending, Running, Succeeded, Failed, Unknown", phase)
		}
	}
	return nil
}

// namespaces returns the namespaces to scan, each once, in the order of their keys, so that the keys of a plan ascend:
// those of batch-2 come before those of batch, because "batch-2/" comes before "batch/".
func (q *Query) namespaces() []string {
	all := slices.Clone(q.Namespaces)
	for _, owner := range q.Owners {
		all = append(all, owner.Namespace)
	}
	slices.SortFunc(all, func(a, b string) int { return strings.Compare(a+"/", b+"/") })
	return slices.Compact(all)
}

// Owner is an owner as it was found in the cluster.
type Owner struct {
	Kind      string `json:"kind"`
	Group     string `json:"group,omitempty"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// UIDs has one entry if the owner's own record was read. If that record is absent, it has every UID that
	// dependents of that name carry, known only after the scan.
	UIDs []string `json:"uids,omitempty"`
	// Absent says that the owner has no record of its own: dependents are matched by its name.
	Absent bool `json:"absent,omitempty"`
}

func (o *Owner) String() string { return o.Kind + " " + o.Namespace + "/" + o.Name }

// owns reports whether the object's controller is this owner.
func (o *Owner) owns(object *decode.Object) bool {
	ref := object.Controller()
	if ref == nil || ref.Kind != o.Kind || ref.Name != o.Name || object.Namespace != o.Namespace {
		return false
	}
	if ref.GroupKind().Group != o.Group {
		return false
	}
	return o.Absent || slices.Contains(o.UIDs, ref.UID)
}

// Selection is a query after the owners were looked up, as it stands in a plan: it decides the same way again when
// an object has drifted.
type Selection struct {
	Namespaces    []string  `json:"namespaces"`
	Owners        []Owner   `json:"owners,omitempty"`
	Selector      string    `json:"selector,omitempty"`
	Phases        []string  `json:"phases,omitempty"`
	Nodes         []string  `json:"nodes,omitempty"`
	CreatedBefore time.Time `json:"created_before,omitzero"`
	Terminating   bool      `json:"terminating,omitempty"`
	Limit         int       `json:"limit,omitempty"`
}

// ByUID returns the selection with other owners, as a plan's trailer has them, of which each is matched by UID: those
// without a record of their own too, now that their UIDs are known.
func (s *Selection) ByUID(owners []Owner) Selection {
	byUID := *s
	byUID.Owners = slices.Clone(owners)
	for i := range byUID.Owners {
		byUID.Owners[i].Absent = false
	}
	return byUID
}

// Matcher returns a function that reports whether an object is selected, and by which owner; the owner is nil if
// the selection names none. It fails on a selector that cannot be parsed.
func (s *Selection) Matcher() (func(*decode.Object) (*Owner, bool), error) {
	selector, err := labels.Parse(s.Selector)
	if err != nil {
		return nil, fmt.Errorf("selector %q: %w", s.Selector, err)
	}
	return func(o *decode.Object) (*Owner, bool) {
		var owner *Owner
		if len(s.Owners) > 0 {
			i := slices.IndexFunc(s.Owners, func(candidate Owner) bool { return candidate.owns(o) })
			if i < 0 {
				return nil, false
			}
			owner = &s.Owners[i]
		}
		selected := slices.Contains(s.Namespaces, o.Namespace) &&
			(len(s.Phases) == 0 || slices.Contains(s.Phases, o.Phase)) &&
			(len(s.Nodes) == 0 || slices.Contains(s.Nodes, o.NodeName)) &&
			(s.CreatedBefore.IsZero() || o.Created.Before(s.CreatedBefore)) &&
			(!s.Terminating || o.Terminating()) &&
			(selector.Empty() || selector.Matches(o.Labels))
		return owner, selected
	}, nil
}

// Words tells the selection, a condition in each string.
func (s *Selection) Words() []string {
	words := []string{"pods in " + strings.Join(s.Namespaces, ", ")}
	for i := range s.Owners {
		if i == 0 {
			words = append(words, "controlled by "+s.Owners[i].String())
		} else {
			words = append(words, "or by "+s.Owners[i].String())
		}
	}
	add := func(set bool, format string, args ...any) {
		if set {
			words = append(words, fmt.Sprintf(format, args...))
		}
	}
	add(s.Selector != "", "with labels %s", s.Selector)
	add(len(s.Phases) > 0, "in phase %s", strings.Join(s.Phases, " or "))
	add(len(s.Nodes) > 0, "on node %s", strings.Join(s.Nodes, " or "))
	add(!s.CreatedBefore.IsZero(), "made before %s", s.CreatedBefore.UTC().Format(time.RFC3339))
	add(s.Terminating, "terminating")
	add(s.Limit > 0, "%d at most", s.Limit)
	return words
}
