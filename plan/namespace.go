package plan

import (
	"errors"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"etcdsweep/decode"
)

// Namespace is a namespace that is planned whole.
type Namespace struct {
	Name string `json:"name"`
	// UID is that of the Namespace. It is "" if its own record is absent, and what it has left behind is planned: then no other one
	// of that name may stand.
	UID string `json:"uid,omitempty"`
	// Elsewhere is what the keys begin with that are kept in other etcds.
	Elsewhere []string `json:"elsewhere,omitempty"`
}

// Key returns the key of the Namespace itself.
func (n *Namespace) Key(prefix string) string {
	namespaces, _ := decode.Lookup(schema.GroupKind{Kind: "Namespace"})
	return namespaces.Key(prefix, "", n.Name)
}

// holds reports whether an object is in the namespace, or is the Namespace that was planned.
func (n *Namespace) holds(o *decode.Object) bool {
	if o.GroupKind() == (schema.GroupKind{Kind: "Namespace"}) {
		return o.Name == n.Name && o.UID == n.UID
	}
	return o.Namespace == n.Name
}

// names reports whether an entry may stand in the namespace's plan.
func (n *Namespace) names(e *Entry) bool {
	if e.Stage == StageNamespace {
		return e.Kind == "Namespace" && e.Group == "" && e.Namespace == "" && e.Name == n.Name && e.UID == n.UID
	}
	return e.Namespace == n.Name
}

func (n *Namespace) elsewhere(key string) bool {
	for _, prefix := range n.Elsewhere {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

// validateWhole refuses what is said beside a whole namespace, and namespaces that the cluster cannot be without.
func (q *Query) validateWhole() error {
	if len(q.Namespaces) > 0 || len(q.Owners) > 0 || q.Resource != "" || q.Selector != nil || len(q.Phases) > 0 || len(q.Nodes) > 0 ||
		q.OlderThan != 0 || q.Terminating || q.Limit != 0 || q.WithEvents {
		return errors.New("a whole namespace is asked for, and something else beside it; a namespace is planned whole or not at all")
	}
	if strings.Contains(q.WholeNamespace, "/") {
		return errors.New("a namespace has no slash in its name")
	}
	if protected(q.WholeNamespace) || q.WholeNamespace == "default" {
		return &RefusedError{
			Reason: "the namespace " + q.WholeNamespace + " holds the cluster itself",
			Advice: "nothing lifts this; plan what is to go of it by its owner, or with --resource",
		}
	}
	return nil
}
