package census

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"

	"etcdsweep/decode"
)

// Source is what a census needs of a cluster: reads.
type Source interface {
	// Scan yields the records under a prefix in the order of their keys; an error is the last pair.
	Scan(ctx context.Context, prefix string) iter.Seq2[decode.Record, error]
	// GetAll reads many keys, with nil for each that is absent.
	GetAll(ctx context.Context, keys []string) ([]*decode.Record, error)
}

// Options say what is counted.
type Options struct {
	Prefix     string    // kube-apiserver's --etcd-prefix, without a trailing slash
	By         Dimension // "" for owners
	Resource   string    // as kubectl calls it, "" for pods
	All        bool      // of all resources
	Namespaces []string  // to look in; none for all. Not with All

	// MostGroups bounds the groups in memory, of which each takes some 500 bytes; 0 for DefaultMostGroups.
	MostGroups int
	// Progress, if set, is called now and then with the number of objects that were counted, and with a function that tells
	// what was counted so far.
	Progress func(counted int64, soFar func() *Report)
}

const progressEvery = 500 // objects

// DefaultMostGroups is how many groups are told apart at most.
const DefaultMostGroups = 50_000

// Take counts what a cluster holds.
func Take(ctx context.Context, source Source, opts Options) (*Report, error) {
	if opts.By == "" {
		opts.By = ByOwner
	}
	if opts.MostGroups == 0 {
		opts.MostGroups = DefaultMostGroups
	}
	c := newCounter(opts)
	places, err := c.places(ctx, source)
	if err != nil {
		return nil, err
	}
	for _, p := range places {
		if err := c.scan(ctx, source, p); err != nil {
			return nil, err
		}
	}
	if opts.By == ByOwner {
		if err := c.climb(ctx, source); err != nil {
			return nil, err
		}
	}
	return c.report(), nil
}

// counter is a census under way.
type counter struct {
	opts      Options
	resources *resources

	groups     map[id]*Group
	total      Tally
	folded     Folded
	unreadable map[string]*Unreadable
}

func newCounter(opts Options) *counter {
	return &counter{opts: opts, resources: &resources{prefix: opts.Prefix}, groups: map[id]*Group{}, unreadable: map[string]*Unreadable{}}
}

// place is what one scan reads.
type place struct {
	prefix   string
	resource *decode.Resource // nil for whatever stands at a key
}

// places returns what is to be scanned.
func (c *counter) places(ctx context.Context, source Source) ([]place, error) {
	if c.opts.All {
		return []place{{prefix: c.opts.Prefix + "/"}}, c.resources.readDefinitions(ctx, source)
	}
	resource := decode.Pods()
	if c.opts.Resource != "" {
		var err error
		if resource, err = c.resources.named(ctx, source, c.opts.Resource); err != nil {
			return nil, err
		}
	}
	if len(c.opts.Namespaces) == 0 {
		return []place{{resource.NamespacePrefix(c.opts.Prefix, ""), &resource}}, nil
	}
	if !resource.Namespaced {
		return nil, notInNamespaces(resource)
	}
	var places []place
	for _, namespace := range slices.Compact(slices.Sorted(slices.Values(c.opts.Namespaces))) {
		places = append(places, place{resource.NamespacePrefix(c.opts.Prefix, namespace), &resource})
	}
	return places, nil
}

func (c *counter) scan(ctx context.Context, source Source, p place) error {
	for record, err := range source.Scan(ctx, p.prefix) {
		if err != nil {
			return err
		}
		resource := p.resource
		if resource == nil {
			resource = c.resources.at(record.Key)
		}
		c.add(resource, &record)
		if c.opts.Progress != nil && c.total.Count%progressEvery == 0 {
			c.opts.Progress(c.total.Count, c.report)
		}
	}
	return nil
}

// add counts one record.
func (c *counter) add(resource *decode.Resource, record *decode.Record) {
	bytes := int64(len(record.Key) + len(record.Value))
	object, err := record.Decode()
	class, hint := "", ""
	if unreadable, ok := errors.AsType[*decode.UnreadableError](err); ok {
		class, hint = unreadable.Class(), unreadable.Hint()
	} else if err == nil && resource.GroupKind.Kind != "" && resource.Check(c.opts.Prefix, record.Key, &object) != nil {
		class = "key and object disagree"
	}
	if class != "" {
		c.addUnreadable(class, hint, record.Key, bytes)
		object = decode.Object{}
	}
	c.total.add(&object, bytes)
	if class == "" || c.opts.By == ByResource { // which the key tells
		c.group(resource, &object).add(&object, bytes)
	}
}

// group returns the group of an object.
func (c *counter) group(resource *decode.Resource, o *decode.Object) *Group {
	var is id
	var owner *decode.OwnerReference
	if c.opts.By != ByOwner {
		is.text = c.opts.By.value(resource, o)
	} else if owner = o.Controller(); owner != nil {
		is = uidOf(owner.UID)
	} else {
		is.text = "namespace " + o.Namespace
	}
	if g, ok := c.groups[is]; ok {
		return g
	}
	if len(c.groups) >= c.opts.MostGroups {
		c.fold()
	}
	is.text = strings.Clone(is.text)
	g := &Group{Name: is.text}
	switch {
	case owner != nil:
		g.Owner = newOwner(owner, o.Namespace)
		g.Name = g.Owner.String()
	case c.opts.By == ByOwner:
		g.Name, g.Namespace = "", strings.Clone(o.Namespace)
	case c.opts.By == ByResource:
		g.Name = resource.Name()
	}
	c.groups[is] = g
	return g
}

// fold counts the smaller half of the groups together.
func (c *counter) fold() {
	type entry struct {
		id
		*Group
	}
	var all []entry
	for is, g := range c.groups {
		all = append(all, entry{is, g})
	}
	slices.SortFunc(all, func(a, b entry) int { return compareGroups(a.Group, b.Group) })
	for _, e := range all[len(all)/2:] {
		c.folded.Groups++
		c.folded.merge(&e.Tally)
		delete(c.groups, e.id)
	}
}

func (c *counter) addUnreadable(class, hint, example string, bytes int64) {
	u := c.unreadable[class]
	if u == nil {
		if len(c.unreadable) >= mostClasses {
			class, hint = "of other classes", ""
			u = c.unreadable[class]
		}
		if u == nil {
			u = &Unreadable{Class: class, Hint: hint, Example: example}
			c.unreadable[class] = u
		}
	}
	u.Count++
	u.Bytes += bytes
}
