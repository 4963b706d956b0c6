package plan

import (
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"etcdsweep/decode"
)

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
	// Below says that nobody named the owner: one that was named controls it, or another one below.
	Below bool `json:"below,omitempty"`
}

func (o *Owner) String() string { return objectName(o.Kind, o.Namespace, o.Name) }

func (o *Owner) groupKind() schema.GroupKind { return schema.GroupKind{Group: o.Group, Kind: o.Kind} }

// refers reports whether a reference from a namespace names the owner, whatever the UID. A reference to another namespace
// means nothing.
func (o *Owner) refers(ref *decode.OwnerReference, namespace string) bool {
	return ref.Kind == o.Kind && ref.Name == o.Name && (o.Namespace == "" || o.Namespace == namespace) &&
		sameKind(ref.GroupKind(), o.groupKind())
}

// sameKind reports whether two kinds are one: Kubernetes has served some under several groups.
func sameKind(a, b schema.GroupKind) bool {
	if a == b {
		return true
	}
	one, ok := decode.Lookup(a)
	other, too := decode.Lookup(b)
	return ok && too && one == other
}

// owners finds the owner of an object among many.
type owners struct {
	byUID  map[string]*Owner
	absent map[string][]*Owner // by name
}

func newOwners(all []Owner) owners {
	index := owners{byUID: make(map[string]*Owner, len(all)), absent: map[string][]*Owner{}}
	for i := range all {
		for _, uid := range all[i].UIDs {
			index.byUID[uid] = &all[i]
		}
		if all[i].Absent {
			index.absent[all[i].Name] = append(index.absent[all[i].Name], &all[i])
		}
	}
	return index
}

// of returns the owner that is the object's controller; nil if none is.
func (o owners) of(object *decode.Object) *Owner {
	ref := object.Controller()
	if ref == nil {
		return nil
	}
	if owner := o.byUID[ref.UID]; owner != nil && owner.refers(ref, object.Namespace) {
		return owner
	}
	absent := o.absent[ref.Name]
	if i := slices.IndexFunc(absent, func(owner *Owner) bool { return owner.refers(ref, object.Namespace) }); i >= 0 {
		return absent[i]
	}
	return nil
}
