package plan

import (
	"context"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"etcdsweep/decode"
)

// workloads are the built-in kinds whose objects make pods, or others of these kinds.
func workloads() []schema.GroupKind {
	return []schema.GroupKind{
		{Kind: "ReplicationController"},
		{Group: "apps", Kind: "DaemonSet"},
		{Group: "apps", Kind: "Deployment"},
		{Group: "apps", Kind: "ReplicaSet"},
		{Group: "apps", Kind: "StatefulSet"},
		{Group: "batch", Kind: "CronJob"},
		{Group: "batch", Kind: "Job"},
	}
}

// ownsOwners reports whether what objects of a kind control may control others: of the built-in ones a Deployment's ReplicaSets and
// a CronJob's Jobs, of custom ones nobody knows.
func ownsOwners(kind schema.GroupKind) bool {
	resource, builtIn := decode.Lookup(kind)
	switch resource.GroupKind {
	case schema.GroupKind{Group: "apps", Kind: "Deployment"}, schema.GroupKind{Group: "batch", Kind: "CronJob"}:
		return true
	default:
		return !builtIn
	}
}

// findBelow finds what the named owners control and what may control others in turn, and so on downward: workloads and custom
// resources. These are planned owners as well: the Jobs of a CronJob, the ReplicaSets of a Deployment.
//
// It keeps in memory what of these kinds has such a controller, and of it what a root needs.
func (b *builder) findBelow(ctx context.Context) error {
	named := b.header.Selection.Owners
	if !slices.ContainsFunc(named, func(o Owner) bool { return ownsOwners(o.groupKind()) }) {
		return nil
	}
	controlled, err := b.readControlled(ctx)
	if err != nil {
		return err
	}
	for next := named; len(next) > 0; {
		index := newOwners(next)
		next = nil
		controlled = slices.DeleteFunc(controlled, func(f *found) bool {
			owner := index.of(&f.object)
			if owner == nil {
				return false
			}
			if owner.Absent {
				b.meet(owner, &f.object)
			}
			if b.byUID[f.object.UID] != nil {
				return true // named as well
			}
			f.entry.Why = "controlled by " + owner.String()
			b.plant(f)
			next = append(next, Owner{
				Kind: f.entry.Kind, Group: f.entry.Group, Namespace: f.entry.Namespace, Name: f.entry.Name,
				UIDs: []string{f.entry.UID}, Below: true,
			})
			return true
		})
		b.header.Selection.Owners = append(b.header.Selection.Owners, next...)
	}
	return nil
}

// readControlled reads the workloads and custom resources of the namespaces, and returns those whose controller is of a kind
// that owns owners.
func (b *builder) readControlled(ctx context.Context) (all []*found, err error) {
	var resources []decode.Resource
	for _, kind := range workloads() {
		resource, _ := decode.Lookup(kind)
		resources = append(resources, resource)
	}
	custom, err := b.definitions(ctx)
	if err != nil {
		return nil, err
	}
	places, err := b.places(ctx, b.header.Selection.Namespaces, append(resources, custom.resources...))
	if err != nil {
		return nil, err
	}
	for _, p := range places {
		for record, err := range b.source.Scan(ctx, p.Prefix) {
			if err != nil {
				return nil, err
			}
			object, class, err := b.read(p.Resource, &record)
			if err != nil {
				return nil, err
			}
			if class != "" {
				if b.opts.KeepRoots { // else it is told with what depends on the roots
					b.sum.unreadable.add(class, "", record.Key)
				}
				continue
			}
			if ref := object.Controller(); ref != nil && ownsOwners(ref.GroupKind()) {
				all = append(all, newFound(&record, &object))
			}
		}
	}
	return all, nil
}

// newFound keeps of an object what a root needs. Its strings are cloned, because they hold those of the whole object.
func newFound(record *decode.Record, object *decode.Object) *found {
	f := &found{entry: newEntry(StageRoots, record, object, "")}
	for _, s := range []*string{&f.entry.Kind, &f.entry.Group, &f.entry.Namespace, &f.entry.Name, &f.entry.UID} {
		*s = strings.Clone(*s)
	}
	f.object = decode.Object{
		APIVersion: strings.Clone(object.APIVersion), Kind: f.entry.Kind, Namespace: f.entry.Namespace, Name: f.entry.Name, UID: f.entry.UID,
	}
	if ref := object.Controller(); ref != nil {
		f.object.Owners = []decode.OwnerReference{{
			APIVersion: strings.Clone(ref.APIVersion), Kind: strings.Clone(ref.Kind), Name: strings.Clone(ref.Name), UID: strings.Clone(ref.UID),
			Controller: true,
		}}
	}
	for _, finalizer := range object.Finalizers {
		f.object.Finalizers = append(f.object.Finalizers, strings.Clone(finalizer))
	}
	return f
}
