package census

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"etcdsweep/decode"
	"etcdsweep/plan"
)

// resources tells where kinds are stored and what is stored where, built in or custom.
type resources struct {
	prefix string
	custom []decode.Resource // of CustomResourceDefinitions that can be read
	known  bool              // they were
	paths  map[string]*decode.Resource
}

// readDefinitions reads the CustomResourceDefinitions, once.
func (r *resources) readDefinitions(ctx context.Context, source Source) error {
	if r.known {
		return nil
	}
	definitions, _ := decode.Lookup(schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"})
	for record, err := range source.Scan(ctx, definitions.NamespacePrefix(r.prefix, "")) {
		if err != nil {
			return err
		}
		object, err := record.Decode()
		if err != nil || definitions.Check(r.prefix, record.Key, &object) != nil {
			continue // what it defines is counted by its path
		}
		if resource, err := object.Resource(); err == nil {
			r.custom = append(r.custom, resource)
		}
	}
	r.known = true
	r.paths = map[string]*decode.Resource{}
	for _, all := range [][]decode.Resource{decode.BuiltIns(), r.custom} {
		for i := range all {
			r.paths[all[i].Path] = &all[i]
		}
	}
	return nil
}

// at returns the resource of a key. One that nobody has defined has a path and no kind.
func (r *resources) at(key string) *decode.Resource {
	tail := strings.TrimPrefix(strings.TrimPrefix(key, r.prefix), "/")
	first, rest, _ := strings.Cut(tail, "/")
	second, _, _ := strings.Cut(rest, "/")
	two := tail[:min(len(first)+1+len(second), len(tail))]
	for _, path := range [...]string{two, first} {
		if resource := r.paths[path]; resource != nil {
			return resource
		}
	}
	path := first
	if strings.Contains(first, ".") || first == "services" { // a group, and a path of two segments
		path = two
	}
	resource := &decode.Resource{Path: strings.Clone(path)}
	if len(r.paths) < mostPaths {
		r.paths[resource.Path] = resource
	}
	return resource
}

const mostPaths = 10_000

// find returns where a kind is stored.
func (r *resources) find(ctx context.Context, source Source, kind schema.GroupKind) (decode.Resource, bool, error) {
	if resource, ok := decode.Lookup(kind); ok {
		return resource, true, nil
	}
	if err := r.readDefinitions(ctx, source); err != nil {
		return decode.Resource{}, false, err
	}
	for _, resource := range r.custom {
		if resource.GroupKind == kind {
			return resource, true, nil
		}
	}
	return decode.Resource{}, false, nil
}

// named finds the resource that people mean by a name, as kubectl takes it.
func (r *resources) named(ctx context.Context, source Source, name string) (decode.Resource, error) {
	if resource, ok := decode.LookupName(name); ok {
		return resource, nil
	}
	if err := r.readDefinitions(ctx, source); err != nil {
		return decode.Resource{}, err
	}
	var called []decode.Resource
	var names []string
	for _, resource := range r.custom {
		if resource.Called(name) {
			called, names = append(called, resource), append(names, resource.Name())
		}
	}
	switch len(called) {
	case 1:
		return called[0], nil
	case 0:
		return decode.Resource{}, &plan.RefusedError{
			Reason: fmt.Sprintf("there is no resource %s: it is not built in, and no CustomResourceDefinition that can be read defines it", name),
			Advice: "it is the name that kubectl api-resources shows, with its group behind a dot if it is a custom one; --all counts them all",
		}
	default:
		return decode.Resource{}, &plan.RefusedError{
			Reason: fmt.Sprintf("resource %s may be any of %s", name, strings.Join(names, ", ")),
			Advice: "add the group: " + names[0],
		}
	}
}

func notInNamespaces(resource decode.Resource) error {
	return &plan.RefusedError{Reason: resource.Name() + " are in no namespace", Advice: "leave --namespace out"}
}
