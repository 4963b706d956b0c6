package plan

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"etcdsweep/decode"
)

// customResources are what the stored CustomResourceDefinitions define.
type customResources struct {
	resources  []decode.Resource
	unreadable keptOut
}

// definitions reads the CustomResourceDefinitions, once for a plan.
func (b *builder) definitions(ctx context.Context) (custom *customResources, err error) {
	if b.custom == nil {
		if custom, err = readDefinitions(ctx, b.source, b.opts.Prefix); err != nil {
			return nil, err
		}
		b.custom = custom
	}
	return b.custom, nil
}

// scanner reads what stands under a prefix.
type scanner interface {
	Scan(ctx context.Context, prefix string) iter.Seq2[decode.Record, error]
}

// readDefinitions reads what the stored CustomResourceDefinitions define.
func readDefinitions(ctx context.Context, source scanner, prefix string) (*customResources, error) {
	crds, _ := decode.Lookup(schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"})
	custom := &customResources{unreadable: keptOut{}}
	for record, err := range source.Scan(ctx, crds.NamespacePrefix(prefix, "")) {
		if err != nil {
			return nil, err
		}
		object, class, err := readObject(prefix, crds, &record)
		if err != nil {
			return nil, err
		}
		var resource decode.Resource
		if class == "" {
			if resource, err = object.Resource(); err != nil {
				class = "incomplete CustomResourceDefinition"
			}
		}
		if class != "" {
			custom.unreadable.add(class, "", record.Key)
			continue
		}
		custom.resources = append(custom.resources, resource)
	}
	return custom, nil
}

// resource tells where a kind is stored, built in or custom.
func (b *builder) resource(ctx context.Context, kind schema.GroupKind) (decode.Resource, bool, error) {
	if resource, ok := decode.Lookup(kind); ok {
		return resource, true, nil
	}
	custom, err := b.definitions(ctx)
	if err != nil {
		return decode.Resource{}, false, err
	}
	i := slices.IndexFunc(custom.resources, func(r decode.Resource) bool { return r.GroupKind == kind })
	if i < 0 {
		return decode.Resource{}, false, nil
	}
	return custom.resources[i], true, nil
}

// named finds the resource that people mean by a name, as kubectl takes it: built in or custom. A name without a group means the
// built-in one, if there is one; ambiguous is every custom resource that it may mean if they are several.
func (b *builder) resourceNamed(ctx context.Context, name string) (resource decode.Resource, ok bool, ambiguous []string, err error) {
	if resource, ok = decode.LookupName(name); ok {
		return resource, true, nil, nil
	}
	custom, err := b.definitions(ctx)
	if err != nil {
		return decode.Resource{}, false, nil, err
	}
	for _, r := range custom.resources {
		if r.Called(name) {
			resource, ambiguous = r, append(ambiguous, r.Name())
		}
	}
	if len(ambiguous) > 1 {
		return decode.Resource{}, false, ambiguous, nil
	}
	return resource, len(ambiguous) == 1, nil, nil
}

// unknown says why a name means no resource.
func unknown(what, name string, ambiguous []string) error {
	if len(ambiguous) > 0 {
		return &RefusedError{
			Reason: fmt.Sprintf("%s %s may be any of %s", what, name, strings.Join(ambiguous, ", ")),
			Advice: "add the group: " + ambiguous[0],
		}
	}
	return &RefusedError{
		Reason: fmt.Sprintf("it is not known where %s %s is stored: it is not built in, and no CustomResourceDefinition that can be read defines it", what, name),
		Advice: "it is the name or the kind that kubectl api-resources shows, with its group behind a dot if it is a custom one",
	}
}

// ownerResource finds where an owner's record is.
func (b *builder) ownerResource(ctx context.Context, name OwnerName) (decode.Resource, error) {
	resource, ok, err := b.resource(ctx, name.GroupKind)
	if err != nil {
		return resource, err
	}
	if !ok {
		var ambiguous []string
		if resource, ok, ambiguous, err = b.resourceNamed(ctx, name.GroupKind.String()); err != nil {
			return resource, err
		}
		if !ok {
			return resource, unknown("owner", name.GroupKind.String(), ambiguous)
		}
	}
	if resource.Namespaced && name.Namespace == "" {
		return resource, &RefusedError{
			Reason: fmt.Sprintf("%s is in a namespace, and none is given", name),
			Advice: "--namespace says in which, or NAMESPACE/KIND/NAME",
		}
	}
	return resource, nil
}

// aim finds the resource that is asked for, "" for pods.
func (b *builder) aim(ctx context.Context, name string) error {
	b.target = decode.Pods()
	if name == "" || b.target.Called(name) {
		if len(b.header.Selection.Namespaces) == 0 {
			return nowhere(b.target)
		}
		return nil
	}
	resource, ok, ambiguous, err := b.resourceNamed(ctx, name)
	if err != nil {
		return err
	}
	if !ok {
		return unknown("resource", name, ambiguous)
	}
	selection := &b.header.Selection
	switch {
	case resource.Namespaced && len(selection.Namespaces) == 0:
		return nowhere(resource)
	case !resource.Namespaced && slices.Contains(decode.BuiltIns(), resource):
		return &RefusedError{
			Reason: resource.Name() + " are the cluster's own: they are in no namespace, and built in",
			Advice: "what is in a namespace can be planned, and custom resources; delete this one by its name, through the API",
		}
	case !resource.Namespaced && !slices.Contains(b.opts.Allow, AllowCollateral):
		return &RefusedError{
			Reason: resource.Name() + " are in no namespace: what depends on them may be anywhere, and is not looked for",
			Advice: "--allow " + AllowCollateral + " accepts that the garbage collector takes it along",
		}
	case !resource.Namespaced && len(selection.Namespaces) > 0:
		return &RefusedError{
			Reason: resource.Name() + " are in no namespace, and " + strings.Join(selection.Namespaces, ", ") + " is given",
			Advice: "leave --namespace out",
		}
	}
	b.target = resource
	selection.Resource = &Resource{Kind: resource.GroupKind.Kind, Group: resource.GroupKind.Group, Path: resource.Path, Namespaced: resource.Namespaced}
	return nil
}

func nowhere(resource decode.Resource) error {
	return &RefusedError{
		Reason: "the selection names no namespace to look for " + resource.Name() + " in",
		Advice: "--namespace says in which; repeat it for more",
	}
}
