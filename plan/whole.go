package plan

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"etcdsweep/decode"
)

// whole is what is known of a namespace while it is planned.
type whole struct {
	namespace *found // nil if its own record is absent
	places    []Place
	apis      *RevisionWatch // of kube-apiservers; nil unless it matters
	claims    []*owned
}

// beginNamespace looks up the Namespace, and makes it the selection.
func (b *builder) beginNamespace(ctx context.Context, name string) error {
	b.target = decode.Pods()
	b.guards = b.guards.OfNamespace()
	b.sum.resources = tallies{}
	namespace := &Namespace{Name: name}
	for i := range b.opts.Elsewhere {
		namespace.Elsewhere = append(namespace.Elsewhere, b.opts.Elsewhere[i].Prefix)
		b.sum.summary.Namespace.Elsewhere = append(b.sum.summary.Namespace.Elsewhere, b.opts.Elsewhere[i].Prefix+" ("+b.opts.Elsewhere[i].Endpoints+")")
	}
	b.header.Selection.Whole = namespace
	b.whole = &whole{}

	resource, _ := decode.Lookup(schema.GroupKind{Kind: "Namespace"})
	record, err := b.source.Get(ctx, namespace.Key(b.opts.Prefix))
	if err != nil {
		return err
	}
	if record == nil {
		b.sum.summary.Namespace.Absent = true
		return nil
	}
	object, err := b.readOwner(resource, record)
	if err != nil {
		return &RefusedError{
			Reason: fmt.Sprintf("the record of the namespace %s cannot be read, so its UID is unknown: %s: %v", name, record.Key, err),
			Advice: "without the UID it cannot be told from another one of that name",
		}
	}
	namespace.UID = object.UID
	b.whole.namespace = &found{newEntry(StageNamespace, record, &object, "the namespace itself, when it is empty"), object}
	if b.sum.summary.Namespace.Terminating = object.Terminating(); object.Terminating() {
		return nil
	}
	apis, err := WatchRevisions(ctx, b.source, b.opts.Prefix+"/masterleases/")
	if len(apis.first) > 0 {
		b.whole.apis = apis
	}
	return err
}

// writeNamespace writes an entry for every key in the namespace: owners, pods, the rest, and the Namespace itself. It is refused if
// anything is kept out, whatever it is: of a namespace whose record is gone nothing may be left.
//
// One pass over all keys of the registry finds what there is. Then the values are read twice: once to learn which objects are
// owners, once for the entries. The owners are read a third time between these, and kept in memory.
func (b *builder) writeNamespace(ctx context.Context) error {
	namespace := b.header.Selection.Whole
	contents, err := ReadContents(ctx, b.source, b.opts.Prefix, namespace)
	if err != nil {
		return err
	}
	var doubt []KeptOut
	if b.whole.places, doubt, err = contents.Survey(ctx, b.source); err != nil {
		return err
	}
	for _, d := range doubt {
		b.sum.unreadable[d.Reason] = &d
	}
	if err := b.gatherOwners(ctx); err != nil {
		return err
	}
	if err := b.writeRoots(); err != nil {
		return err
	}
	for _, stage := range []string{StagePods, StageObjects} {
		for _, p := range b.whole.places {
			if (p.Resource == decode.Pods()) != (stage == StagePods) {
				continue
			}
			if err := b.writePlace(ctx, stage, p); err != nil {
				return err
			}
		}
	}
	stays := b.stays()
	if n := b.whole.namespace; n != nil && stays > 0 {
		b.sum.summary.Namespace.Stays = stays
	} else if n != nil {
		for guard, why := range b.guards.objections(&n.object) {
			b.sum.kept.add(guard, why, n.entry.Key)
		}
		if err := b.write(&n.entry); err != nil {
			return err
		}
		b.planned++
	}
	return b.concludeNamespace(ctx)
}

// stays counts what is in the namespace and cannot be judged, of resources that are known. The Namespace stays as long as any of that
// does: the next one of its name would be born with it, Secrets and all.
func (b *builder) stays() (n int64) {
	for class, unreadable := range b.sum.unreadable {
		if class != ofNoResource {
			n += unreadable.Count
		}
	}
	return n
}

// gatherOwners makes roots of what controls anything in the namespace, and of all workloads.
func (b *builder) gatherOwners(ctx context.Context) error {
	owners, kinds := newUIDs(), map[schema.GroupKind]bool{}
	for _, kind := range workloads() {
		kinds[kind] = true
	}
	for _, p := range b.whole.places {
		if !mayHaveDependents(p.Resource) {
			continue // an Event has no owner either
		}
		for record, err := range b.source.Scan(ctx, p.Prefix) {
			if err != nil {
				return err
			}
			object, class, err := b.read(p.Resource, &record)
			if err != nil {
				return err
			}
			if ref := object.Controller(); class == "" && ref != nil && ref.Kind != "Pod" {
				owners.add(ref.UID)
				resource, known := decode.Lookup(ref.GroupKind())
				if !known {
					resource.GroupKind = ref.GroupKind()
				}
				kinds[resource.GroupKind] = true
			}
		}
	}
	for _, p := range b.whole.places {
		if !kinds[p.Resource.GroupKind] || p.Resource == decode.Pods() {
			continue
		}
		for record, err := range b.source.Scan(ctx, p.Prefix) {
			if err != nil {
				return err
			}
			object, class, err := b.read(p.Resource, &record)
			if err != nil {
				return err
			}
			if class == "" && (slices.Contains(workloads(), p.Resource.GroupKind) || owners.has(object.UID)) {
				f := newFound(&record, &object)
				f.entry.Why = "an owner in the namespace"
				b.plant(f)
			}
		}
	}
	for _, owner := range b.named {
		if err := b.rank(ctx, owner, map[string]bool{}); err != nil {
			return err
		}
	}
	b.sortRoots()
	return nil
}

// rank makes a root of an owner, behind the one that controls it.
func (b *builder) rank(ctx context.Context, owner *found, below map[string]bool) error {
	uid := owner.object.UID
	if b.rooted[uid] || below[uid] {
		return nil
	}
	below[uid] = true
	root := Root{Name: owner.String(), UID: uid}
	if ref := owner.object.Controller(); ref != nil {
		root.Above = objectName(ref.Kind, owner.object.Namespace, ref.Name)
		if above := b.byUID[ref.UID]; above != nil {
			root.Planned = true
			if err := b.rank(ctx, above, below); err != nil {
				return err
			}
		} else if err := b.lookAbove(ctx, owner, ref, &root); err != nil {
			return err
		}
	}
	b.roots, b.rooted[uid] = append(b.roots, owner), true
	b.sum.summary.Roots = append(b.sum.summary.Roots, root)
	for guard, why := range b.guards.objections(&owner.object) {
		b.sum.kept.add(guard, why, owner.entry.Key)
	}
	return nil
}

// lookAbove says of a root what is known of a controller that is none. Whatever it is, it is no reason to keep the root: all of the
// namespace goes.
func (b *builder) lookAbove(ctx context.Context, owner *found, ref *decode.OwnerReference, root *Root) error {
	above, doubt, err := b.above(ctx, owner, ref)
	if err != nil {
		return err
	}
	root.Unknown = doubt
	if above != nil {
		root.Above = above.String()
		// What is in the namespace goes behind the roots: a pod, or what was made just now.
		root.Behind = above.object.Namespace != "" && b.opts.KeptElsewhere(above.entry.Key) == nil
		root.Stands = !root.Behind
	}
	return nil
}

// writePlace writes the entries of a resource below the roots.
func (b *builder) writePlace(ctx context.Context, stage string, p Place) error {
	return b.each(ctx, []string{p.Prefix}, func(record *decode.Record) (bool, error) {
		object, class, err := b.read(p.Resource, record)
		if err != nil {
			return false, err
		}
		if class != "" {
			b.sum.unreadable.add(class, "", record.Key)
			return false, nil
		}
		if isClaim(&object) && len(b.whole.claims) < maxTallies {
			b.whole.claims = append(b.whole.claims, &owned{line: Entry{Key: record.Key}, volume: strings.Clone(object.VolumeName)})
		}
		if b.rooted[object.UID] { // a claim may be a root as well
			return false, nil
		}
		if _, _, err := b.objection(ctx, &object); err != nil { // which measures nodes when it matters
			return false, err
		}
		kept := false
		for guard, why := range b.guards.objections(&object) {
			b.sum.kept.add(guard, why, record.Key)
			kept = true
		}
		if kept {
			return false, nil
		}
		b.planned++
		if stage == StagePods {
			b.sum.dependent(&object, len(record.Value))
			if running(&object, b.guards.nodes) {
				b.sum.summary.Running.Planned++
			}
		}
		entry := newEntry(stage, record, &object, "in the namespace")
		return false, b.write(&entry)
	})
}

// concludeNamespace says what only the scan could show, and refuses the plan if anything would stay.
func (b *builder) concludeNamespace(ctx context.Context) (err error) {
	if b.sum.summary.Claims, err = b.namedClaims(ctx, b.whole.claims); err != nil {
		return err
	}
	if err := b.checkWhole(); err != nil || b.whole.apis == nil || b.opts.Rehearsal != nil {
		return err
	}
	left := b.whole.apis.Left(b.opts.LeaseDuration)
	b.waiting(left)
	moved, err := b.whole.apis.Finish(ctx, b.opts.LeaseDuration)
	b.waiting(0)
	b.sum.summary.Namespace.Apiservers = moved
	return err
}

func (b *builder) waiting(left time.Duration) {
	if b.opts.Waiting != nil {
		b.opts.Waiting(left)
	}
}

// owners returns the planned owners: of a namespace those in it, by which newly made pods are told.
func (b *builder) owners() []Owner {
	if b.whole == nil {
		return b.header.Selection.Owners
	}
	var all []Owner
	for _, root := range b.roots {
		e := &root.entry
		all = append(all, Owner{Kind: e.Kind, Group: e.Group, Namespace: e.Namespace, Name: e.Name, UIDs: []string{e.UID}, Below: true})
	}
	return all
}

// checkWhole refuses a plan of which anything was kept out, with all that it takes to allow it.
func (b *builder) checkWhole() error {
	var words, missing []string
	for _, kept := range b.sum.kept.sorted() {
		words = append(words, fmt.Sprintf("%d kept out by %s, such as %s: %s", kept.Count, kept.Reason, kept.Examples[0], kept.Why))
		missing = append(missing, kept.Reason)
		if kept.Reason == guardDataLoss {
			words = append(words, claimWords(b.sum.summary.Claims, kept.Count))
		}
	}
	if !slices.Contains(b.opts.Allow, AllowLeftBehind) {
		for _, class := range b.sum.unreadable.sorted() {
			words = append(words, fmt.Sprintf("%d cannot be judged, such as %s: %s", class.Count, class.Examples[0], class.Reason))
			missing = append(missing, AllowLeftBehind)
		}
	}
	if len(words) == 0 {
		return nil
	}
	return &RefusedError{
		Reason: "the namespace " + b.header.Selection.Whole.Name + " goes whole or not at all: " + strings.Join(words, "; "),
		Advice: "--allow " + strings.Join(slices.Compact(missing), ",") + " accepts all of that",
	}
}
