package plan

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"etcdsweep/decode"
)

// scan reads what the selection is about, and writes an entry for each object that is selected and that no guard keeps out. It
// also writes down what goes with the roots and with the entries. Pods are read once; for that they are read again if something
// above a pod that has passed turned out to go.
//
// Of pods that go, what depends on them is looked for on the way. Of other objects it is when all of them are known: then the pods
// pass as what may depend on them.
func (b *builder) scan(ctx context.Context) error {
	pods := b.header.Selection.OfPods()
	if len(b.roots) > 0 || !pods && mayHaveDependents(b.target) {
		b.around = newDependents(b)
	}
	if pods {
		if err := b.around.look(ctx); err != nil {
			return err
		}
	}
	if err := b.each(ctx, b.header.Selection.Prefixes(b.opts.Prefix), func(record *decode.Record) (full bool, err error) {
		return b.consider(ctx, record)
	}); err != nil {
		return err
	}
	if !pods {
		if err := b.around.look(ctx); err != nil {
			return err
		}
	}
	for first := !pods; b.around.nextPass(first); first = false {
		for record, err := range b.records(ctx, b.around.podPrefixes()) {
			if err != nil {
				return err
			}
			if err := b.considerAgain(&record); err != nil {
				return err
			}
		}
	}
	if !b.header.Selection.WithEvents {
		return nil
	}
	return b.scanEvents(ctx)
}

// each calls do for each record under the prefixes until it says that it is full, and tells how far it has come.
func (b *builder) each(ctx context.Context, prefixes []string, do func(*decode.Record) (full bool, err error)) error {
	for record, err := range b.records(ctx, prefixes) {
		if err != nil {
			return err
		}
		if full, err := do(&record); err != nil || full {
			return err
		}
		b.sum.summary.Scanned++
		if b.opts.Progress != nil && b.sum.summary.Scanned%progressEvery == 0 {
			b.opts.Progress(b.sum.summary.Scanned, b.planned)
		}
	}
	return nil
}

// records yields what stands under each of the prefixes, in the order of the keys; an error is the last pair.
func (b *builder) records(ctx context.Context, prefixes []string) iter.Seq2[decode.Record, error] {
	return func(yield func(decode.Record, error) bool) {
		for _, prefix := range prefixes {
			for record, err := range b.source.Scan(ctx, prefix) {
				if !yield(record, err) || err != nil {
					return
				}
			}
		}
	}
}

func (b *builder) read(resource decode.Resource, record *decode.Record) (object decode.Object, class string, err error) {
	return readObject(b.opts.Prefix, resource, record)
}

// readObject decodes a record and holds it against its key. If it cannot be judged, class says why.
func readObject(prefix string, resource decode.Resource, record *decode.Record) (object decode.Object, class string, err error) {
	object, err = record.Decode()
	if unreadable, ok := errors.AsType[*decode.UnreadableError](err); ok {
		return object, unreadable.Class(), nil
	}
	if err != nil {
		return object, "", fmt.Errorf("%s: %w", record.Key, err)
	}
	if err := resource.Check(prefix, record.Key, &object); err != nil {
		return object, "key and object disagree", nil
	}
	if object.UID == "" { // which every object has, and by which its dependents are found
		return object, "no UID", nil
	}
	return object, "", nil
}

// consider decides about one object that may be selected. It reports full when the selection's limit has been reached before it, and nothing
// has to be known of the others.
func (b *builder) consider(ctx context.Context, record *decode.Record) (full bool, err error) {
	object, class, err := b.read(b.target, record)
	if err != nil {
		return false, err
	}
	if class != "" {
		b.sum.unreadable.add(class, "", record.Key)
		return false, nil
	}
	if b.rooted[object.UID] { // such as a Job of a CronJob whose Jobs are selected: it goes, and before the others
		if _, selected := b.matches(&object); selected {
			b.planned++
		}
		return false, nil
	}
	owner, selected := b.matches(&object)
	if limit := b.header.Selection.Limit; selected && limit > 0 && b.planned >= int64(limit) {
		if b.around == nil {
			return true, nil
		}
		selected = false
	}
	if selected {
		guard, why, err := b.objection(ctx, &object)
		if err != nil {
			return false, err
		}
		if guard != "" {
			b.sum.kept.add(guard, why, record.Key)
			selected = false
		}
	}
	ofPods := b.header.Selection.OfPods()
	if !selected {
		if !ofPods {
			return false, nil
		}
		return false, b.around.pass(record, &object)
	}
	why := "meets the selection"
	if owner != nil {
		why = b.controlledBy(owner)
		b.meet(owner, &object)
	}
	b.planned++
	b.last = record.Key
	b.sum.dependent(&object, len(record.Value))
	if running(&object, b.guards.nodes) {
		b.sum.summary.Running.Planned++
	}
	entry := newEntry(b.header.Selection.Stage(), record, &object, why)
	if err := b.write(&entry); err != nil {
		return false, err
	}
	if !ofPods {
		b.around.goesToo(object.UID)
		return false, nil
	}
	if b.header.Selection.WithEvents {
		b.pods.add(&object)
	}
	return false, b.around.doom(record.Key, &object)
}

// considerAgain decides about one pod in a pass that is for collateral only. Which pods are entries was decided in the first pass,
// and is decided here in the same way.
func (b *builder) considerAgain(record *decode.Record) error {
	object, class, err := b.read(decode.Pods(), record)
	if err != nil || class != "" || b.rooted[object.UID] {
		return err
	}
	if !b.header.Selection.OfPods() {
		return b.around.pass(record, &object)
	}
	_, selected := b.matches(&object)
	if guard, _ := b.guards.Objection(&object); selected && guard == "" && record.Key <= b.last {
		return b.around.doom(record.Key, &object)
	}
	return b.around.pass(record, &object)
}

// objection is that of the guards. If it depends on whether a node is alive, that is measured first: once for a plan,
// and only when it matters.
func (b *builder) objection(ctx context.Context, o *decode.Object) (guard, why string, err error) {
	guard, why = b.guards.Objection(o)
	matters := guard == GuardRunning || guard == "" && running(o, Nodes{}) // the guard was lifted, and the share counts
	if b.measured || !matters {
		return guard, why, nil
	}
	left := b.watch.Left(b.opts.LeaseDuration)
	if left > 0 {
		b.waiting(left)
	}
	nodes, err := b.watch.Finish(ctx, b.opts.LeaseDuration)
	if err != nil {
		return "", "", err
	}
	if left > 0 {
		b.waiting(0)
	}
	b.measured = true
	b.guards = b.guards.With(nodes)
	b.sum.summary.NodeStates = NodeStates{
		Measured: b.opts.LeaseDuration.Seconds(), Live: nodes.Count(NodeLive), Dead: nodes.Count(NodeDead), Unknown: nodes.Count(NodeUnknown),
	}
	guard, why = b.guards.Objection(o)
	return guard, why, nil
}

// controlledBy says why an owner's dependents are entries: for each owner once.
func (b *builder) controlledBy(owner *Owner) string {
	why, ok := b.whys[owner]
	if !ok {
		why = "controlled by " + owner.String()
		b.whys[owner] = why
	}
	return why
}

// meet notes the UID that a dependent has for an owner whose own record is absent.
func (b *builder) meet(owner *Owner, dependent *decode.Object) {
	if uid := dependent.Controller().UID; owner.Absent && !slices.Contains(owner.UIDs, uid) {
		owner.UIDs = append(owner.UIDs, uid)
	}
}

// write writes an entry.
func (b *builder) write(e *Entry) error {
	if err := b.opts.checkPlace(e.Key); err != nil {
		return err
	}
	if err := b.neverRefused(e.Key); err != nil {
		return err
	}
	b.sum.entry(e)
	return b.out.Write(e)
}

// neverRefused refuses a key that is never deleted.
func (b *builder) neverRefused(key string) error {
	why := Never(b.opts.Prefix, key)
	if why == "" {
		return nil
	}
	refused := &RefusedError{
		Reason: fmt.Sprintf("%s is never deleted: %s", key, why),
		Advice: "nothing lifts this; --keep-roots leaves the owners",
	}
	if whole := b.header.Selection.Whole; whole != nil {
		refused.Advice = "nothing lifts this, so the namespace " + whole.Name + " cannot go whole; plan what is to go of it by its owner, or with --resource"
	}
	return refused
}

func newEntry(stage string, r *decode.Record, o *decode.Object, why string) Entry {
	return Entry{
		Stage:          stage,
		Key:            r.Key,
		Kind:           o.Kind,
		Group:          o.GroupKind().Group,
		Namespace:      o.Namespace,
		Name:           o.Name,
		UID:            o.UID,
		CreateRevision: r.CreateRevision,
		ModRevision:    r.ModRevision,
		Bytes:          len(r.Value),
		Why:            why,
	}
}
