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
	// GroupKind is the owner's. Without a group it means the built-in kind of that name or, if there is none, the only custom
	// one; in any case, and by the plural if somebody prefers that.
	GroupKind schema.GroupKind
	Namespace string // "" if the kind has none
	Name      string
}

func (n OwnerName) String() string { return objectName(n.GroupKind.Kind, n.Namespace, n.Name) }

// Query is what the operator asked for. An object must meet every field that is set.
type Query struct {
	// Resource is what to look for, as kubectl calls it: "events", "reports.policy.example.com"; "" for pods.
	Resource    string
	Namespaces  []string    // to look in; those of Owners are added
	Owners      []OwnerName // the controller must be one of these, or something that one of these controls
	Selector    labels.Selector
	Phases      []string
	Nodes       []string
	OlderThan   time.Duration // by metadata.creationTimestamp, at the time of planning
	Terminating bool          // only what has a deletionTimestamp
	Limit       int           // the most dependents in a plan, 0 for all
	WithEvents  bool          // the events of the planned pods, too
	// WholeNamespace is a namespace to be planned with all that is in it. Then nothing else is said.
	WholeNamespace string
}

// Validate reports what makes a query unusable: a query that does not narrow a namespace is empty, and never means "all".
func (q *Query) Validate() error {
	if q.WholeNamespace != "" {
		return q.validateWhole()
	}
	if len(q.Owners) == 0 && (q.Selector == nil || q.Selector.Empty()) && len(q.Phases) == 0 && len(q.Nodes) == 0 &&
		q.OlderThan == 0 && !q.Terminating {
		return &RefusedError{
			Reason: "the selection is empty: it names no owner, selector, phase, node, age or terminating pods",
			Advice: "say which pods are meant; a namespace alone never means all of its pods",
		}
	}
	if len(q.Namespaces) == 0 && len(q.Owners) == 0 && q.Resource == "" {
		return errors.New("the selection names no namespace")
	}
	for _, owner := range q.Owners {
		if owner.GroupKind.Kind == "" || owner.Name == "" {
			return fmt.Errorf("owner %q has no kind or no name", owner)
		}
	}
	if q.Resource != "" && !decode.Pods().Called(q.Resource) && (len(q.Phases) > 0 || len(q.Nodes) > 0 || q.WithEvents) {
		return fmt.Errorf("phases, nodes and events are asked for, and %s have none: pods do", q.Resource)
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
	if q.WholeNamespace != "" {
		all = append(all, q.WholeNamespace)
	}
	for _, owner := range q.Owners {
		if owner.Namespace != "" {
			all = append(all, owner.Namespace)
		}
	}
	return inKeyOrder(all)
}

// inKeyOrder sorts namespaces as their keys are, and leaves each once.
func inKeyOrder(namespaces []string) []string {
	slices.SortFunc(namespaces, func(a, b string) int { return strings.Compare(a+"/", b+"/") })
	return slices.Compact(namespaces)
}

// Selection is a query after the owners were looked up, as it stands in a plan: it decides the same way again when
// an object has drifted.
type Selection struct {
	// Whole is the namespace that is planned with all that is in it; nil if none is. Then nothing else counts.
	Whole         *Namespace `json:"whole_namespace,omitempty"`
	Resource      *Resource  `json:"resource,omitempty"` // nil for Pods
	Namespaces    []string   `json:"namespaces"`
	Owners        []Owner    `json:"owners,omitempty"`
	Selector      string     `json:"selector,omitempty"`
	Phases        []string   `json:"phases,omitempty"`
	Nodes         []string   `json:"nodes,omitempty"`
	CreatedBefore time.Time  `json:"created_before,omitzero"`
	Terminating   bool       `json:"terminating,omitempty"`
	Limit         int        `json:"limit,omitempty"`
	WithEvents    bool       `json:"with_events,omitempty"`
}

// Resource says where the objects of a selection are stored.
type Resource struct {
	Kind       string `json:"kind"`
	Group      string `json:"group,omitempty"`
	Path       string `json:"path"`
	Namespaced bool   `json:"namespaced"`
}

// narrowed reports that not all is meant that the owners control.
func (s *Selection) narrowed() bool {
	return s.Selector != "" || len(s.Phases) > 0 || len(s.Nodes) > 0 || !s.CreatedBefore.IsZero() || s.Terminating
}

// Target returns the resource that the selection is about.
func (s *Selection) Target() decode.Resource {
	if r := s.Resource; r != nil {
		return decode.Resource{GroupKind: schema.GroupKind{Group: r.Group, Kind: r.Kind}, Path: r.Path, Namespaced: r.Namespaced}
	}
	return decode.Pods()
}

// OfPods reports whether the selection is about pods.
func (s *Selection) OfPods() bool { return s.Resource == nil }

// Stage returns the stage of what is selected.
func (s *Selection) Stage() string {
	if s.OfPods() {
		return StagePods
	}
	return StageObjects
}

// Prefixes returns what the keys of all that may be selected begin with, in their order. The prefix is kube-apiserver's
// --etcd-prefix.
func (s *Selection) Prefixes(prefix string) []string {
	target := s.Target()
	if !target.Namespaced {
		return []string{target.NamespacePrefix(prefix, "")}
	}
	var all []string
	for _, namespace := range s.Namespaces {
		all = append(all, target.NamespacePrefix(prefix, namespace))
	}
	return all
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
	owners, namespaced := newOwners(s.Owners), s.Target().Namespaced
	if s.Whole != nil {
		return func(o *decode.Object) (*Owner, bool) { return nil, s.Whole.holds(o) }, nil
	}
	return func(o *decode.Object) (*Owner, bool) {
		var owner *Owner
		if len(s.Owners) > 0 {
			if owner = owners.of(o); owner == nil {
				return nil, false
			}
		}
		selected := (!namespaced || slices.Contains(s.Namespaces, o.Namespace)) &&
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
	if s.Whole != nil {
		return []string{"the namespace " + s.Whole.Name + ", whole"}
	}
	words := []string{s.Target().Name() + " in " + strings.Join(s.Namespaces, ", ")}
	if !s.Target().Namespaced {
		words = []string{s.Target().Name()}
	}
	below := 0
	for i := range s.Owners {
		switch {
		case s.Owners[i].Below:
			below++
		case i == 0:
			words = append(words, "controlled by "+s.Owners[i].String())
		default:
			words = append(words, "or by "+s.Owners[i].String())
		}
	}
	add := func(set bool, format string, args ...any) {
		if set {
			words = append(words, fmt.Sprintf(format, args...))
		}
	}
	add(below > 0, "or by what these control: %d owners", below)
	add(s.Selector != "", "with labels %s", s.Selector)
	add(len(s.Phases) > 0, "in phase %s", strings.Join(s.Phases, " or "))
	add(len(s.Nodes) > 0, "on node %s", strings.Join(s.Nodes, " or "))
	add(!s.CreatedBefore.IsZero(), "made before %s", s.CreatedBefore.UTC().Format(time.RFC3339))
	add(s.Terminating, "terminating")
	add(s.Limit > 0, "%d at most", s.Limit)
	add(s.WithEvents, "and their events")
	return words
}
