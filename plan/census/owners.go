package census

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"etcdsweep/decode"
)

// State says what is known of an owner's own record.
type State string

const (
	Standing State = "standing"
	Gone     State = "gone"       // absent, or another one has its name
	Sealed   State = "unreadable" // it is there, and cannot be read
	Unknown  State = "unknown"    // nothing says where its kind is stored
)

// Owner is an owner of objects.
type Owner struct {
	Kind      string `json:"kind"`
	Group     string `json:"group,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
	State     State  `json:"state"`
	// Through counts the owners between this one and the objects by their kind, such as the Jobs of a CronJob.
	Through map[string]int64 `json:"through,omitempty"`
	// Above is what controls the owner, if that is neither standing nor gone.
	Above *Owner `json:"above,omitempty"`

	above id // what controls it; zero if nothing does
}

func (o *Owner) String() string {
	if o.Namespace == "" {
		return o.Kind + " " + o.Name
	}
	return o.Kind + " " + o.Namespace + "/" + o.Name
}

// GroupKind returns the owner's API group and kind.
func (o *Owner) GroupKind() schema.GroupKind { return schema.GroupKind{Group: o.Group, Kind: o.Kind} }

// newOwner returns the owner that an object in a namespace refers to. Its strings are its own: those of the reference hold the
// whole object.
func newOwner(ref *decode.OwnerReference, namespace string) *Owner {
	o := &Owner{
		Kind:  strings.Clone(ref.Kind),
		Group: strings.Clone(ref.GroupKind().Group),
		Name:  strings.Clone(ref.Name),
		UID:   strings.Clone(ref.UID),
		State: Unknown,
	}
	if resource, ok := decode.Lookup(ref.GroupKind()); !ok || resource.Namespaced {
		o.Namespace = strings.Clone(namespace)
	}
	return o
}

const (
	mostSteps = 16  // from an object up to its highest owner
	readOnce  = 256 // records of owners
)

// climb looks for what is above the owners, and counts what has one highest owner together.
func (c *counter) climb(ctx context.Context, source Source) error {
	met := map[id]*Owner{}
	var level []*Owner
	for is, g := range c.groups {
		if g.Owner != nil {
			met[is] = g.Owner
			level = append(level, g.Owner)
		}
	}
	for range mostSteps {
		refs, err := c.lookUp(ctx, source, level)
		if err != nil {
			return err
		}
		var next []*Owner
		for i, ref := range refs {
			if ref == nil {
				continue
			}
			is := uidOf(ref.UID)
			if met[is] == nil {
				above := newOwner(ref, level[i].Namespace)
				met[is], next = above, append(next, above)
			}
			level[i].above = is
		}
		if level = next; len(level) == 0 {
			break
		}
	}
	c.groups = gather(c.groups, met)
	return nil
}

// lookUp reads the records of owners, and returns what controls each.
func (c *counter) lookUp(ctx context.Context, source Source, owners []*Owner) ([]*decode.OwnerReference, error) {
	type query struct {
		owner    int
		resource decode.Resource
		key      string
	}
	var queries []query
	for i, o := range owners {
		resource, ok, err := c.resources.find(ctx, source, o.GroupKind())
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if !resource.Namespaced {
			o.Namespace = ""
		}
		queries = append(queries, query{i, resource, resource.Key(c.opts.Prefix, o.Namespace, o.Name)})
	}
	slices.SortFunc(queries, func(a, b query) int { return strings.Compare(a.key, b.key) })
	refs := make([]*decode.OwnerReference, len(owners))
	for some := range slices.Chunk(queries, readOnce) {
		keys := make([]string, len(some))
		for i := range some {
			keys[i] = some[i].key
		}
		records, err := source.GetAll(ctx, keys)
		if err != nil {
			return nil, err
		}
		for i, record := range records {
			q := &some[i]
			o := owners[q.owner]
			o.State, refs[q.owner] = judge(o, q.resource, c.opts.Prefix, record)
		}
	}
	return refs, nil
}

// judge tells what an owner's record says.
func judge(o *Owner, resource decode.Resource, prefix string, record *decode.Record) (State, *decode.OwnerReference) {
	if record == nil {
		return Gone, nil
	}
	object, err := record.Decode()
	if err != nil || resource.Check(prefix, record.Key, &object) != nil {
		return Sealed, nil
	}
	if object.UID != o.UID {
		return Gone, nil
	}
	return Standing, object.Controller()
}

// gather merges the groups of owners into those of the highest ones that stand.
func gather(groups map[id]*Group, met map[id]*Owner) map[id]*Group {
	gathered := make(map[id]*Group, len(groups))
	for is, g := range groups {
		root := is
		if g.Owner != nil {
			root = highest(is, met)
		}
		into := gathered[root]
		if into == nil {
			into = &Group{Name: g.Name, Namespace: g.Namespace, Owner: g.Owner}
			if root != is {
				into.Owner = met[root]
			}
			gathered[root] = into
		}
		into.merge(&g.Tally)
		if root != is {
			into.Name = into.Owner.String()
			if into.Owner.Through == nil {
				into.Owner.Through = map[string]int64{}
			}
			into.Owner.Through[g.Owner.Kind]++
		}
	}
	for _, g := range gathered {
		if g.Owner == nil {
			continue
		}
		g.Name = g.Owner.String()
		if above := met[g.Owner.above]; above != nil && above.State != Standing && above.State != Gone {
			g.Owner.Above = above
		}
	}
	return gathered
}

// highest follows an owner up, as long as what controls it stands.
func highest(is id, met map[id]*Owner) id {
	for range mostSteps {
		above, ok := met[met[is].above]
		if !ok || above.State != Standing {
			break
		}
		is = met[is].above
	}
	return is
}

// protected reports whether a namespace is one of Kubernetes' own.
func protected(namespace string) bool {
	return slices.Contains([]string{"kube-system", "kube-public", "kube-node-lease"}, namespace)
}

const (
	culpritCount = 100 // objects
	culpritShare = 5   // percent
)

// Culprits returns the groups that are likely those of a controller that has run away, the largest first: a hundred objects at least,
// and a twentieth of all; in no namespace of Kubernetes' own, and of no owner that has a pod for each node or names its pods.
// Pods that run are what they are for: of these groups a tenth does, at most.
func (r *Report) Culprits() []*Group {
	if r.By != ByOwner {
		return nil
	}
	var culprits []*Group
	for _, g := range r.Groups {
		o := g.Owner
		switch {
		case o == nil, g.Count < culpritCount, g.Share < culpritShare, 10*g.Running > g.Count, protected(o.Namespace):
		case slices.Contains([]string{"Node", "DaemonSet", "StatefulSet"}, o.Kind):
		default:
			culprits = append(culprits, g)
		}
	}
	return culprits
}

// Direct returns the kinds of the owners between the highest one and its objects, the most frequent first.
func (o *Owner) Direct() []string {
	kinds := make([]string, 0, len(o.Through))
	for kind := range o.Through {
		kinds = append(kinds, kind)
	}
	slices.SortFunc(kinds, func(a, b string) int {
		return cmp.Or(cmp.Compare(o.Through[b], o.Through[a]), strings.Compare(a, b))
	})
	return kinds
}
