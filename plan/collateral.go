package plan

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"etcdsweep/decode"
)

// dependents finds what goes with the roots and is no entry: all that has a root among its owners, or something that goes
// with a root. The methods of a nil *dependents do nothing.
//
// It keeps in memory what has owners, of all kinds but Pod, and pods that are owned by pods. All other pods pass by once,
// in the order of their keys; they pass again only if an object turned out to go that a pod which had passed depends on.
type dependents struct {
	b     *builder
	owned map[string][]*owned // by the UID of an owner
	names map[string]string   // of these owners
	byUID map[string]*owned
	goes  map[string]moment // UIDs of the roots, of the entries that are no pods, and of what goes with these among byUID

	now    moment
	again  bool
	count  int64
	claims []*owned
	sum    keptOut // by kind
	unread keptOut
}

// moment is a point in the passes over the pods: behind the pod of a key in one of them.
type moment struct {
	pass int
	key  string
}

// passOf returns the pass in which a pod learns of something that went at a moment.
func (m moment) passOf(key string) int {
	if m.key < key {
		return m.pass
	}
	return m.pass + 1
}

// owned is an object that has owners.
type owned struct {
	line   Entry
	volume string // of a PersistentVolumeClaim
	goes   bool
	passed bool // a pod that depends on it has passed when it did not go
}

// mayHaveDependents reports whether anything may depend on objects of a resource: the garbage collector ignores Events
// (k8s.io/kubernetes pkg/controller/garbagecollector/graph_builder.go). What depends on an object in no namespace may be
// anywhere, and is not looked for.
func mayHaveDependents(r decode.Resource) bool {
	return r.Namespaced && r.GroupKind != schema.GroupKind{Kind: "Event"}
}

func newDependents(b *builder) *dependents {
	d := &dependents{
		b: b, owned: map[string][]*owned{}, names: map[string]string{}, byUID: map[string]*owned{}, goes: map[string]moment{},
		now: moment{pass: 1}, sum: keptOut{}, unread: keptOut{},
	}
	for _, root := range b.roots {
		d.goes[root.object.UID] = d.now
	}
	return d
}

// goesToo says of an entry that is no pod that it goes.
func (d *dependents) goesToo(uid string) {
	if d != nil {
		d.goes[uid] = d.now
	}
}

// namespaces returns those in which something goes.
func (d *dependents) namespaces() []string {
	var all []string
	for _, root := range d.b.roots {
		all = append(all, root.object.Namespace)
	}
	if !d.b.header.Selection.OfPods() {
		all = append(all, d.b.header.Selection.Namespaces...)
	}
	return inKeyOrder(all)
}

// podPrefixes returns where the pods are that may depend on something that goes.
func (d *dependents) podPrefixes() (prefixes []string) {
	for _, namespace := range d.namespaces() {
		prefixes = append(prefixes, decode.Pods().NamespacePrefix(d.b.opts.Prefix, namespace))
	}
	return prefixes
}

// look reads the other resources of the namespaces in which something goes, all but pods, and writes down what goes with it.
func (d *dependents) look(ctx context.Context) error {
	if d == nil {
		return nil
	}
	custom, err := d.b.definitions(ctx)
	if err != nil {
		return err
	}
	for class, unreadable := range custom.unreadable {
		d.unread[class] = unreadable
	}
	resources := slices.DeleteFunc(slices.Concat(decode.BuiltIns(), custom.resources), func(r decode.Resource) bool {
		return r == decode.Pods() || !mayHaveDependents(r)
	})
	places, err := d.b.places(ctx, d.namespaces(), resources)
	if err != nil {
		return err
	}
	for _, p := range places {
		if err := d.read(ctx, p); err != nil {
			return err
		}
	}
	for _, uid := range slices.Sorted(maps.Keys(d.owned)) {
		if _, goes := d.goes[uid]; goes && d.byUID[uid] == nil { // what is in byUID goes with something that is not
			if err := d.takeAll(uid, d.names[uid]); err != nil {
				return err
			}
		}
	}
	return nil
}

// read keeps what has owners of one resource in one namespace.
func (d *dependents) read(ctx context.Context, p Place) error {
	for record, err := range d.b.source.Scan(ctx, p.Prefix) {
		if err != nil {
			return err
		}
		d.b.sum.summary.Collateral.Scanned++
		object, class, err := d.b.read(p.Resource, &record)
		if err != nil {
			return err
		}
		if class != "" {
			d.unread.add(class, "", record.Key)
			continue
		}
		if _, root := d.goes[object.UID]; !root && len(object.Owners) > 0 {
			d.keep(&record, &object)
		}
	}
	return nil
}

// keep keeps an object that has owners. Its strings are cloned, because they hold those of the whole object.
func (d *dependents) keep(record *decode.Record, object *decode.Object) *owned {
	o := &owned{line: newEntry(StageCollateral, record, object, ""), volume: strings.Clone(object.VolumeName)}
	for _, s := range []*string{&o.line.Kind, &o.line.Group, &o.line.Namespace, &o.line.Name, &o.line.UID} {
		*s = strings.Clone(*s)
	}
	d.byUID[o.line.UID] = o
	for i := range object.Owners {
		ref := &object.Owners[i]
		uid := strings.Clone(ref.UID)
		if _, known := d.names[uid]; !known {
			d.names[uid] = objectName(ref.Kind, o.line.Namespace, ref.Name)
		}
		d.owned[uid] = append(d.owned[uid], o)
	}
	return o
}

// doom says of a pod that it goes, planned or not.
func (d *dependents) doom(key string, pod *decode.Object) error {
	if d == nil || len(d.owned[pod.UID]) == 0 {
		return nil
	}
	d.now.key = key
	return d.takeAll(pod.UID, objectName("Pod", pod.Namespace, pod.Name))
}

// pass judges a pod that is no entry.
func (d *dependents) pass(record *decode.Record, pod *decode.Object) error {
	if d == nil {
		return nil
	}
	d.now.key = record.Key
	kept := d.byUID[pod.UID]
	if kept != nil && kept.goes { // written down already
		return d.doom(record.Key, pod)
	}
	pass, by := d.ownerOf(pod, record.Key)
	switch {
	case by == nil:
		d.wait(record, pod, kept == nil)
		return nil
	case pass < d.now.pass: // written down in that one
	case kept != nil:
		if err := d.take(kept, objectName(by.Kind, pod.Namespace, by.Name)); err != nil {
			return err
		}
	default:
		line := newEntry(StageCollateral, record, pod, "owned by "+objectName(by.Kind, pod.Namespace, by.Name))
		if err := d.write(&line); err != nil {
			return err
		}
	}
	return d.doom(record.Key, pod)
}

// ownerOf returns the owner by which a pod goes, and the pass in which that was known first when it passed; nil if there
// is none so far.
func (d *dependents) ownerOf(pod *decode.Object, key string) (pass int, by *decode.OwnerReference) {
	for i := range pod.Owners {
		went, ok := d.goes[pod.Owners[i].UID]
		if !ok || went.passOf(key) > d.now.pass {
			continue
		}
		if p := went.passOf(key); by == nil || p < pass {
			pass, by = p, &pod.Owners[i]
		}
	}
	return pass, by
}

// wait remembers on what a pod that does not go depends.
func (d *dependents) wait(record *decode.Record, pod *decode.Object, first bool) {
	for i := range pod.Owners {
		ref := &pod.Owners[i]
		if o := d.byUID[ref.UID]; o != nil {
			o.passed = true
		}
		if !first || ref.Kind != "Pod" || ref.GroupKind() != decode.Pods().GroupKind {
			continue
		}
		// Pods that go are not remembered, so this one is. If its owner has passed already, it has to pass again.
		d.keep(record, pod)
		if decode.Pods().Key(d.b.opts.Prefix, pod.Namespace, ref.Name) < record.Key {
			d.again = true
		}
		first = false
	}
}

// takeAll writes down what goes with something, and with that in turn.
func (d *dependents) takeAll(uid, name string) error {
	type gone struct{ uid, name string }
	for queue := []gone{{uid, name}}; len(queue) > 0; queue = queue[1:] {
		for _, o := range d.owned[queue[0].uid] {
			if o.goes {
				continue
			}
			if err := d.take(o, queue[0].name); err != nil {
				return err
			}
			queue = append(queue, gone{o.line.UID, objectName(o.line.Kind, o.line.Namespace, o.line.Name)})
		}
	}
	return nil
}

// take writes down one object that was kept.
func (d *dependents) take(o *owned, owner string) error {
	o.goes = true
	d.goes[o.line.UID] = d.now
	d.again = d.again || o.passed
	o.line.Why = "owned by " + owner
	if o.line.Kind == claimKind && o.line.Group == "" && len(d.claims) < maxTallies {
		d.claims = append(d.claims, o)
	}
	return d.write(&o.line)
}

func (d *dependents) write(line *Entry) error {
	if err := d.b.opts.checkPlace(line.Key); err != nil {
		return err
	}
	d.count++
	kind := schema.GroupKind{Group: line.Group, Kind: line.Kind}
	d.sum.add(kind.String(), "", line.Key)
	return d.b.out.Write(line)
}

// nextPass reports whether the pods have to pass again; or for the first time, if they have not passed as what is selected.
func (d *dependents) nextPass(first bool) bool {
	if d == nil || first {
		return d != nil
	}
	if !d.again {
		return false
	}
	d.now, d.again = moment{pass: d.now.pass + 1}, false
	return true
}

func (d *dependents) lines() int64 {
	if d == nil {
		return 0
	}
	return d.count
}

// finish fills in the summary, and refuses a plan that takes with its roots what was not allowed to go.
func (d *dependents) finish(ctx context.Context) error {
	if d == nil {
		return nil
	}
	c := &d.b.sum.summary.Collateral
	c.Kinds, c.Unreadable = d.sum.sorted(), d.unread.sorted()
	var err error
	if c.Claims, err = d.b.namedClaims(ctx, d.claims); err != nil {
		return err
	}
	return c.check(d.b.opts.Allow)
}

// check refuses what was not allowed to go.
func (c *Collateral) check(allowed []string) error {
	var missing []string
	if len(c.Kinds) > 0 && !slices.Contains(allowed, AllowCollateral) {
		missing = append(missing, AllowCollateral)
	}
	if len(c.Claims) > 0 && !slices.Contains(allowed, guardDataLoss) {
		missing = append(missing, guardDataLoss)
	}
	if len(missing) == 0 {
		return nil
	}
	var words []string
	for _, kind := range c.Kinds {
		words = append(words, fmt.Sprintf("%d %s, such as %s", kind.Count, kind.Reason, kind.Examples[0]))
	}
	reason := "the roots take with them what the plan leaves out (" + strings.Join(words, "; ") +
		"): once they are gone, the garbage collector of a running kube-controller-manager deletes it as well"
	if len(c.Claims) > 0 {
		reason += "; " + claimWords(c.Claims, c.claims())
	}
	return &RefusedError{
		Reason: reason,
		Advice: "--keep-roots leaves the owners, --allow " + strings.Join(missing, ",") + " accepts the loss, a wider selection plans its pods",
	}
}
