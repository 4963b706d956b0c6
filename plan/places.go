package plan

import (
	"context"
	"slices"

	"etcdsweep/decode"
)

// Place is a resource in a namespace.
type Place struct {
	Resource decode.Resource
	Prefix   string // of its keys
	Keys     int64
}

// counter counts the keys under each of many prefixes.
type counter interface {
	CountEach(ctx context.Context, prefixes []string) ([]int64, error)
}

// stocked returns the places where there is anything. Most have nothing, which counting tells for less than a scan of each.
func stocked(ctx context.Context, source counter, places []Place) ([]Place, error) {
	prefixes := make([]string, len(places))
	for i := range places {
		prefixes[i] = places[i].Prefix
	}
	counts, err := source.CountEach(ctx, prefixes)
	if err != nil {
		return nil, err
	}
	for i := range places {
		places[i].Keys = counts[i]
	}
	return slices.DeleteFunc(places, func(p Place) bool { return p.Keys == 0 }), nil
}

// places returns where there is anything of the resources in the namespaces.
func (b *builder) places(ctx context.Context, namespaces []string, resources []decode.Resource) ([]Place, error) {
	var all []Place
	for _, namespace := range namespaces {
		for _, resource := range resources {
			if resource.Namespaced {
				all = append(all, Place{Resource: resource, Prefix: resource.NamespacePrefix(b.opts.Prefix, namespace)})
			}
		}
	}
	return stocked(ctx, b.source, all)
}
