package decode

import (
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Object is the projection of a stored Kubernetes object: what selection and guards look at, and nothing else.
// It shares no memory with the value that it was decoded from.
type Object struct {
	Encoding Encoding

	APIVersion string // "batch/v1"
	Kind       string // "Job"

	Namespace  string // empty for a cluster-scoped object
	Name       string
	UID        string
	Created    time.Time // metadata.creationTimestamp, to the second; zero if absent
	Deleted    time.Time // metadata.deletionTimestamp; zero unless the object is terminating
	Labels     Labels
	Owners     []OwnerReference
	Finalizers []string
	Mirror     bool // a static pod's mirror: annotation kubernetes.io/config.mirror

	// What follows is read from Pods only.

	NodeName string
	Phase    string   // Pending, Running, Succeeded, Failed or Unknown; "" if the status has none
	Claims   []string // names of the PersistentVolumeClaims that its volumes use, generic ephemeral volumes included as POD-VOLUME

	VolumeName    string      // of a PersistentVolumeClaim: the PersistentVolume that it is bound to; "" if to none
	ReclaimPolicy string      // of a PersistentVolume: Retain, Delete or Recycle
	Definition    *Definition // of a CustomResourceDefinition: what it defines; nil of all others
	Involved      Involved    // of an Event: the object that it is about

	Reason string // of a Pod why it is in its phase, as "Evicted", mostly ""; of an Event what it tells, as "FailedScheduling"
}

// Involved is what an Event says of the object that it is about. Some writers leave the UID out.
type Involved struct{ Kind, Namespace, Name, UID string }

// Definition is what a CustomResourceDefinition says of where its resources are stored.
type Definition struct {
	Group  string
	Plural string
	Kind   string
	Scope  string // Namespaced or Cluster
}

// GroupKind returns the API group and kind of the object.
func (o *Object) GroupKind() schema.GroupKind {
	return groupKind(o.APIVersion, o.Kind)
}

// Terminating reports whether the object's deletion was asked for through the API.
func (o *Object) Terminating() bool { return !o.Deleted.IsZero() }

// Controller returns the owner reference with controller=true, or nil.
// Kubernetes allows at most one (apimachinery pkg/apis/meta/v1/controller_ref.go).
func (o *Object) Controller() *OwnerReference {
	for i := range o.Owners {
		if o.Owners[i].Controller {
			return &o.Owners[i]
		}
	}
	return nil
}

// OwnerReference is one entry of metadata.ownerReferences. Owners live in the namespace of the dependent, or are cluster-scoped.
type OwnerReference struct {
	APIVersion string
	Kind       string
	Name       string
	UID        string
	Controller bool
}

// GroupKind returns the API group and kind of the owner.
func (r *OwnerReference) GroupKind() schema.GroupKind {
	return groupKind(r.APIVersion, r.Kind)
}

// groupKind takes the group from an API version: "batch/v1", or "v1" of the core group, whose name is empty. It is what
// schema.FromAPIVersionAndKind does, which counts and splits for it, several times for each object.
func groupKind(apiVersion, kind string) schema.GroupKind {
	group, _, ok := strings.Cut(apiVersion, "/")
	if !ok || strings.Count(apiVersion, "/") != 1 {
		group = ""
	}
	return schema.GroupKind{Group: group, Kind: kind}
}

// Label is one entry of metadata.labels.
type Label struct{ Key, Value string }

// Labels are an object's labels, in the order of the stored protobuf, else sorted by key. They satisfy the Labels interface of
// apimachinery's pkg/labels, without a map for each object.
type Labels []Label

// Lookup returns the value of a label, and whether it is there. Of a key that is repeated in the stored bytes the last one counts, as in a map.
func (l Labels) Lookup(key string) (value string, exists bool) {
	for i := len(l) - 1; i >= 0; i-- {
		if l[i].Key == key {
			return l[i].Value, true
		}
	}
	return "", false
}

// Has reports whether the label is there.
func (l Labels) Has(key string) bool {
	_, ok := l.Lookup(key)
	return ok
}

// Get returns the value of a label, "" if it is not there.
func (l Labels) Get(key string) string {
	value, _ := l.Lookup(key)
	return value
}
