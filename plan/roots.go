package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"etcdsweep/decode"
)

// found is an owner whose record was read.
type found struct {
	entry  Entry
	object decode.Object
}

func (f *found) String() string { return objectName(f.entry.Kind, f.entry.Namespace, f.entry.Name) }

func objectName(kind, namespace, name string) string {
	if namespace == "" {
		return kind + " " + name
	}
	return kind + " " + namespace + "/" + name
}

// lookUp reads an owner's own record: its UID tells its dependents from those of another object of the same name.
func (b *builder) lookUp(ctx context.Context, name OwnerName) error {
	resource, err := b.ownerResource(ctx, name)
	if err != nil {
		return err
	}
	owner := Owner{Kind: resource.GroupKind.Kind, Group: resource.GroupKind.Group, Name: name.Name}
	if resource.Namespaced {
		owner.Namespace = name.Namespace
	}
	if slices.ContainsFunc(b.header.Selection.Owners, func(o Owner) bool {
		return o.Kind == owner.Kind && o.Group == owner.Group && o.Namespace == owner.Namespace && o.Name == owner.Name
	}) {
		return nil // named twice
	}
	key := resource.Key(b.opts.Prefix, owner.Namespace, owner.Name)
	record, err := b.source.Get(ctx, key)
	if err != nil {
		return err
	}
	if record == nil {
		owner.Absent = true
		b.header.Selection.Owners = append(b.header.Selection.Owners, owner)
		return nil
	}
	object, err := b.readOwner(resource, record)
	if err != nil {
		return &RefusedError{
			Reason: fmt.Sprintf("the record of %s cannot be read, so its UID is unknown: %s: %v", &owner, key, err),
			Advice: "without the UID its pods cannot be told from those of another " + owner.Kind + " of that name; select them in another way, for example with --selector",
		}
	}
	owner.UIDs = []string{object.UID}
	b.header.Selection.Owners = append(b.header.Selection.Owners, owner)
	b.plant(&found{newEntry(StageRoots, record, &object, "planned owner"), object})
	return nil
}

// plant makes an owner one whose record may become a root.
func (b *builder) plant(owner *found) {
	b.named = append(b.named, owner)
	b.byUID[owner.object.UID] = owner
}

// readOwner decodes the record of an owner and holds it against its key. Whatever is wrong with it is an error.
func (b *builder) readOwner(resource decode.Resource, record *decode.Record) (decode.Object, error) {
	object, err := record.Decode()
	if err == nil {
		err = resource.Check(b.opts.Prefix, record.Key, &object)
	}
	if err == nil && object.UID == "" {
		err = errors.New("it has no UID")
	}
	return object, err
}

// gatherRoots makes roots of the owners, and of what is above them if that was asked for: each behind what controls it, and the
// generations one after the other.
func (b *builder) gatherRoots(ctx context.Context) error {
	if b.opts.KeepRoots {
		return nil
	}
	slices.SortFunc(b.named, func(a, b *found) int { return strings.Compare(a.entry.Key, b.entry.Key) })
	for _, owner := range b.named {
		if err := b.climb(ctx, owner, nil); err != nil {
			return err
		}
	}
	b.sortRoots()
	return nil
}

// sortRoots puts the roots of each generation together.
func (b *builder) sortRoots() {
	generations := b.sum.summary.Generations()
	slices.SortStableFunc(b.roots, func(x, y *found) int { return generations[x.object.UID] - generations[y.object.UID] })
	slices.SortStableFunc(b.sum.summary.Roots, func(x, y Root) int { return generations[x.UID] - generations[y.UID] })
}

// climb makes a root of an owner, behind all that stands above it. The UIDs are those of the owners below.
func (b *builder) climb(ctx context.Context, owner *found, below []string) error {
	if b.rooted[owner.object.UID] {
		return nil
	}
	if slices.Contains(below, owner.object.UID) {
		return &RefusedError{
			Reason: fmt.Sprintf("%s is controlled by itself, over %d owner references: none of them can go first", owner, len(below)),
			Advice: "--keep-roots leaves the owners and plans their pods only",
		}
	}
	if err := b.mayGo(owner); err != nil {
		return err
	}
	root := Root{Name: owner.String(), UID: owner.object.UID}
	if ref := owner.object.Controller(); ref != nil {
		above, doubt, err := b.above(ctx, owner, ref)
		if err != nil {
			return err
		}
		if doubt != "" { // it may stand
			return &RefusedError{
				Reason: fmt.Sprintf("%s is controlled by %s %s, of which it is not known whether it stands: %s", owner, ref.Kind, ref.Name, doubt),
				Advice: "if it does, it may make the " + owner.entry.Kind + " again; --keep-roots leaves the owners and plans their pods only",
			}
		}
		root.Above = objectName(ref.Kind, owner.object.Namespace, ref.Name)
		if above != nil {
			if err := b.include(owner, above); err != nil {
				return err
			}
			if err := b.climb(ctx, above, append(below, owner.object.UID)); err != nil {
				return err
			}
			root.Above, root.Planned = above.String(), true
		}
	}
	b.roots, b.rooted[owner.object.UID] = append(b.roots, owner), true
	b.sum.summary.Roots = append(b.sum.summary.Roots, root)
	return nil
}

// mayGo asks the guards about a root.
func (b *builder) mayGo(root *found) error {
	if err := b.neverRefused(root.entry.Key); err != nil {
		return err
	}
	if root.object.Namespace == "" {
		return &RefusedError{
			Reason: fmt.Sprintf("%s is in no namespace: what else depends on it may be anywhere, and is not looked for", root),
			Advice: "--keep-roots leaves it and plans its pods only",
		}
	}
	guard, why := b.guards.RootObjection(&root.object)
	switch guard {
	case "":
		return nil
	case guardOrphan:
		return &RefusedError{
			Reason: fmt.Sprintf("%s has the finalizer orphan: %s", root, why),
			Advice: "its pods are meant to stay; select them otherwise with --keep-roots if they must go",
		}
	default:
		return &RefusedError{
			Reason: fmt.Sprintf("%s is protected by the guard %s: %s", root, guard, why),
			Advice: "--allow " + guard + " lifts the guard, --keep-roots leaves the " + root.entry.Kind + " and plans its pods only",
		}
	}
}

// include decides whether what stands above a root becomes a root as well.
func (b *builder) include(owner, above *found) error {
	switch {
	case b.byUID[above.object.UID] != nil:
		return nil
	case !b.opts.IncludeOwners:
		return &RefusedError{
			Reason: fmt.Sprintf("%s is controlled by %s, which still stands, and may make it again", owner, above),
			Advice: "--include-owners plans " + above.entry.Kind + " " + above.entry.Name + " as well, --keep-roots leaves both and plans the pods only",
		}
	case above.object.Namespace == "":
		return &RefusedError{
			Reason: fmt.Sprintf("%s is controlled by %s, which is in no namespace: what else depends on it may be anywhere, and is not looked for", owner, above),
			Advice: "--keep-roots leaves the owners and plans their pods only",
		}
	}
	return nil
}

// above reads what controls a root; nil if it is gone. If it cannot be told whether it stands, doubt says why.
func (b *builder) above(ctx context.Context, owner *found, ref *decode.OwnerReference) (above *found, doubt string, err error) {
	if named := b.byUID[ref.UID]; named != nil {
		return named, "", nil
	}
	resource, ok, err := b.resource(ctx, ref.GroupKind())
	if err != nil {
		return nil, "", err
	}
	if !ok {
		return nil, fmt.Sprintf("no CustomResourceDefinition that can be read says where %s is stored", ref.GroupKind()), nil
	}
	key := resource.Key(b.opts.Prefix, owner.object.Namespace, ref.Name)
	record, err := b.source.Get(ctx, key)
	if err != nil || record == nil {
		return nil, "", err
	}
	object, err := b.readOwner(resource, record)
	if err != nil {
		return nil, fmt.Sprintf("%s: %v", key, err), nil
	}
	if object.UID != ref.UID {
		return nil, "", nil // another one of that name
	}
	return &found{newEntry(StageRoots, record, &object, "controls "+owner.String()), object}, "", nil
}
