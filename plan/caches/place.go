package caches

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"etcdsweep/decode"
	"etcdsweep/plan"
)

// Place is where objects of a plan were, and others of the same resource are.
type Place struct {
	Resource  decode.Resource
	Namespace string // empty if the resource has none
}

// Places returns where a plan's entries and its collateral are, each place once, in the plan's order.
func Places(p *plan.File) (places []Place, err error) {
	known := map[Place]bool{}
	for _, stage := range []string{"", plan.StageCollateral} {
		for entry, err := range p.Entries(stage) {
			if err != nil {
				return nil, err
			}
			place, err := placeOf(p.Header.Prefix, &entry)
			if err != nil {
				return nil, err
			}
			if !known[place] {
				known[place] = true
				places = append(places, place)
			}
		}
	}
	return places, nil
}

// placeOf reads from an entry's key where its resource is stored: so it knows custom resources, too.
func placeOf(prefix string, e *plan.Entry) (Place, error) {
	tail := "/" + named(e.Namespace, e.Name)
	path, ok := strings.CutPrefix(e.Key, prefix+"/")
	if ok {
		path, ok = strings.CutSuffix(path, tail)
	}
	if !ok || path == "" {
		return Place{}, fmt.Errorf("the plan's key %s does not end in %s", e.Key, tail)
	}
	return Place{
		Resource:  decode.Resource{GroupKind: schema.GroupKind{Group: e.Group, Kind: e.Kind}, Path: path, Namespaced: e.Namespace != ""},
		Namespace: e.Namespace,
	}, nil
}

// named is an object's name in its resource.
func named(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}
