package plan

import (
	"context"
	"slices"
	"strings"

	"etcdsweep/decode"
)

// ContentsSource is what it takes to find all that is in a namespace.
type ContentsSource interface {
	NodeSource
	scanner
	counter
}

// Contents knows which keys of the registry are those of objects in a namespace: by the scope of their resource, never by the
// looks of a key. Built-in resources have theirs in decode.BuiltIns, custom ones in their stored definitions.
type Contents struct {
	prefix    string
	namespace *Namespace
	resources map[string]decode.Resource // by path
}

// ReadContents reads the definitions of the custom resources. They may change: whoever looks again reads them again. What a
// definition that cannot be read defines is not known, and its keys are doubtful.
func ReadContents(ctx context.Context, source ContentsSource, prefix string, namespace *Namespace) (*Contents, error) {
	custom, err := readDefinitions(ctx, source, prefix)
	if err != nil {
		return nil, err
	}
	c := &Contents{prefix: prefix, namespace: namespace, resources: map[string]decode.Resource{}}
	for _, resource := range slices.Concat(custom.resources, decode.BuiltIns()) {
		c.resources[resource.Path] = resource
	}
	return c, nil
}

// Places returns where there is anything in the namespace, in the order of the keys. It counts the keys of each resource, and
// does not see what is of none: see [Contents.Survey].
func (c *Contents) Places(ctx context.Context, source ContentsSource) ([]Place, error) {
	var places []Place
	for _, resource := range c.resources {
		if prefix := resource.NamespacePrefix(c.prefix, c.namespace.Name); resource.Namespaced && !c.namespace.elsewhere(prefix) {
			places = append(places, Place{Resource: resource, Prefix: prefix})
		}
	}
	slices.SortFunc(places, func(a, b Place) int { return strings.Compare(a.Prefix, b.Prefix) })
	return stocked(ctx, source, places)
}

// ofNoResource is why it cannot be said whether a key is in a namespace.
const ofNoResource = "of no resource that is known"

// Survey passes once over the keys of the registry, all of them, without their values. It returns where the namespace has any,
// in the order of the keys, and the keys of which it cannot be said whether they are in it.
func (c *Contents) Survey(ctx context.Context, source NodeSource) ([]Place, []KeptOut, error) {
	found := map[string]*Place{}
	doubt := keptOut{}
	for record, err := range source.ScanKeys(ctx, c.prefix+"/") {
		if err != nil {
			return nil, nil, err
		}
		switch resource, scope := c.scope(record.Key); scope {
		case inside:
			if found[resource.Path] == nil {
				found[resource.Path] = &Place{Resource: resource, Prefix: resource.NamespacePrefix(c.prefix, c.namespace.Name)}
			}
			found[resource.Path].Keys++
		case doubtful:
			doubt.add(ofNoResource, "", record.Key)
		}
	}
	var places []Place
	for _, p := range found {
		places = append(places, *p)
	}
	slices.SortFunc(places, func(a, b Place) int { return strings.Compare(a.Prefix, b.Prefix) })
	return places, doubt.sorted(), nil
}

// scope says whether a key is that of an object in the namespace.
type scope int

const (
	outside scope = iota
	inside
	doubtful // of no namespaced resource that is known, and it names the namespace where one stands
)

func (c *Contents) scope(key string) (decode.Resource, scope) {
	tail, ok := strings.CutPrefix(key, c.prefix+"/")
	if !ok || !strings.Contains(tail, "/"+c.namespace.Name+"/") || c.namespace.elsewhere(key) {
		return decode.Resource{}, outside
	}
	segments := strings.Split(tail, "/")
	if slices.Contains([]string{"ranges", "masterleases", "peerserverleases"}, segments[0]) {
		return decode.Resource{}, outside // kube-apiserver's own, see Never
	}
	path, at := segments[0], 1
	if strings.Contains(segments[0], ".") || segments[0] == "services" {
		path, at = segments[0]+"/"+segments[1], 2
	}
	resource, known := c.resources[path]
	named := len(segments) > at+1 && segments[at] == c.namespace.Name
	switch {
	case !named:
		return resource, outside
	case known && resource.Namespaced: // in whatever form: kube-apiserver lists all of it as the namespace's
		return resource, inside
	default:
		return resource, doubtful
	}
}
