package plan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"etcdsweep/decode"
)

// Source is what planning needs of a cluster: reads.
type Source interface {
	// Get reads one key; nil if it is absent.
	Get(ctx context.Context, key string) (*decode.Record, error)
	// Scan yields the records under a prefix in the order of their keys; an error is the last pair.
	Scan(ctx context.Context, prefix string) iter.Seq2[decode.Record, error]
	// Revision returns the cluster's newest revision, read linearizably at any key that may be read.
	Revision(ctx context.Context, key string) (int64, error)
}

// Options are the circumstances of a plan.
type Options struct {
	Tool      string // version, for the header
	ClusterID string
	Prefix    string // kube-apiserver's --etcd-prefix, without a trailing slash
	KeepRoots bool   // leave the owners' own records
	Allow     []string
	Now       time.Time
	// Progress, if set, is called now and then with the records read and the entries written so far.
	Progress func(scanned, selected int64)
}

const progressEvery = 1000 // records

// Build reads the cluster and writes a plan for the query to w. It writes nothing to etcd. It fails with a
// *RefusedError if the query is empty or selects nothing, if an owner's record cannot be read, if a guard protects an
// owner, or if roots would take pods with them that are no entries.
func Build(ctx context.Context, source Source, query Query, opts Options, w io.Writer) (id string, header Header, trailer Trailer, err error) {
	b, err := newBuilder(ctx, source, query, opts)
	if err != nil {
		return "", Header{}, Trailer{}, err
	}
	if b.out, err = NewWriter(w, b.header); err != nil {
		return "", Header{}, Trailer{}, err
	}
	for _, root := range b.roots {
		if err := b.write(&root); err != nil {
			return "", Header{}, Trailer{}, err
		}
	}
	if err := b.scan(ctx); err != nil {
		return "", Header{}, Trailer{}, err
	}
	trailer, err = b.trailer()
	if err != nil {
		return "", Header{}, Trailer{}, err
	}
	id, err = b.out.Finish(trailer)
	return id, b.header, trailer, err
}

// builder is a plan in the making.
type builder struct {
	source  Source
	opts    Options
	header  Header
	guards  Guards
	roots   []Entry
	matches func(*decode.Object) (*Owner, bool)

	out     *Writer
	sum     *summarizer
	planned int64 // dependents written
	whys    map[*Owner]string
}

func newBuilder(ctx context.Context, source Source, query Query, opts Options) (*builder, error) {
	if err := query.Validate(); err != nil {
		return nil, err
	}
	guards, err := NewGuards(opts.Allow)
	if err != nil {
		return nil, err
	}
	b := &builder{source: source, opts: opts, guards: guards, sum: newSummarizer(), whys: map[*Owner]string{}}
	b.header = Header{
		Tool:      opts.Tool,
		Created:   opts.Now.UTC().Truncate(time.Second),
		Prefix:    opts.Prefix,
		KeepRoots: opts.KeepRoots,
		Allow:     opts.Allow,
		Selection: Selection{
			Namespaces:  query.namespaces(),
			Phases:      query.Phases,
			Nodes:       query.Nodes,
			Terminating: query.Terminating,
			Limit:       query.Limit,
		},
	}
	if query.Selector != nil {
		b.header.Selection.Selector = query.Selector.String()
	}
	if query.OlderThan > 0 {
		b.header.Selection.CreatedBefore = b.header.Created.Add(-query.OlderThan)
	}
	if b.header.Cluster, err = Identify(ctx, source, opts.ClusterID, opts.Prefix); err != nil {
		return nil, err
	}
	if b.header.Revision, err = source.Revision(ctx, systemNamespaceKey(opts.Prefix)); err != nil {
		return nil, err
	}
	for _, name := range query.Owners {
		if err := b.lookUp(ctx, name); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(b.roots, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
	b.matches, err = b.header.Selection.Matcher()
	return b, err
}

// lookUp reads an owner's own record: its UID tells its dependents from those of another object of the same name.
func (b *builder) lookUp(ctx context.Context, name OwnerName) error {
	owner := Owner{Kind: name.GroupKind.Kind, Group: name.GroupKind.Group, Namespace: name.Namespace, Name: name.Name}
	if slices.ContainsFunc(b.header.Selection.Owners, func(o Owner) bool {
		return o.Kind == owner.Kind && o.Group == owner.Group && o.Namespace == owner.Namespace && o.Name == owner.Name
	}) {
		return nil // named twice
	}
	resource, ok := decode.Lookup(name.GroupKind)
	if !ok {
		return fmt.Errorf("owner %s: it is not known where %s is stored", name, name.GroupKind)
	}
	key := resource.Key(b.opts.Prefix, name.Namespace, name.Name)
	record, err := b.source.Get(ctx, key)
	if err != nil {
		return err
	}
	if record == nil {
		owner.Absent = true
		b.header.Selection.Owners = append(b.header.Selection.Owners, owner)
		return nil
	}
	object, err := decode.Decode(record.Value)
	if err == nil {
		err = resource.Check(b.opts.Prefix, key, &object)
	}
	if err != nil {
		return &RefusedError{
			Reason: fmt.Sprintf("the record of %s cannot be read, so its UID is unknown: %s: %v", name, key, err),
			Advice: "without the UID its pods cannot be told from those of another " + owner.Kind + " of that name; select them in another way, for example with --selector",
		}
	}
	owner.UIDs = []string{object.UID}
	b.header.Selection.Owners = append(b.header.Selection.Owners, owner)
	if b.opts.KeepRoots {
		return nil
	}
	if guard, why := b.guards.RootObjection(&object); guard != "" {
		return &RefusedError{
			Reason: fmt.Sprintf("%s is protected by the guard %s: %s", name, guard, why),
			Advice: "--allow " + guard + " lifts the guard, --keep-roots leaves the " + owner.Kind + " and plans its pods only",
		}
	}
	b.roots = append(b.roots, newEntry(StageRoots, record, &object, "planned owner"))
	return nil
}

// scan reads the namespaces, and writes an entry for each object that is selected and that no guard keeps out.
func (b *builder) scan(ctx context.Context) error {
	pods := decode.Pods()
	for _, namespace := range b.header.Selection.Namespaces {
		for record, err := range b.source.Scan(ctx, pods.NamespacePrefix(b.opts.Prefix, namespace)) {
			if err != nil {
				return err
			}
			if full, err := b.consider(pods, &record); err != nil || full {
				return err
			}
			b.sum.summary.Scanned++
			if b.opts.Progress != nil && b.sum.summary.Scanned%progressEvery == 0 {
				b.opts.Progress(b.sum.summary.Scanned, b.planned)
			}
		}
	}
	return nil
}

// consider decides about one record. It reports full when the selection's limit has been reached before it.
func (b *builder) consider(resource decode.Resource, record *decode.Record) (full bool, err error) {
	object, err := decode.Decode(record.Value)
	if unreadable, ok := errors.AsType[*decode.UnreadableError](err); ok {
		b.sum.unreadable.add(unreadable.Class(), "", record.Key)
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", record.Key, err)
	}
	if err := resource.Check(b.opts.Prefix, record.Key, &object); err != nil {
		b.sum.unreadable.add("key and object disagree", "", record.Key)
		return false, nil
	}
	owner, selected := b.matches(&object)
	if !selected {
		b.leave(owner, record.Key)
		return false, nil
	}
	if guard, why := b.guards.Objection(&object); guard != "" {
		b.sum.kept.add(guard, why, record.Key)
		b.leave(owner, record.Key)
		return false, nil
	}
	if limit := b.header.Selection.Limit; limit > 0 && b.planned >= int64(limit) {
		b.sum.summary.Collateral.AtLeast = true
		b.leave(owner, record.Key)
		return true, nil
	}
	why := "meets the selection"
	if owner != nil {
		why = b.controlledBy(owner)
		b.meet(owner, &object)
	}
	b.planned++
	b.sum.dependent(&object, len(record.Value))
	entry := newEntry(StagePods, record, &object, why)
	return false, b.write(&entry)
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

// leave notes an object that is no entry. It is collateral if its owner is a root of this plan.
func (b *builder) leave(owner *Owner, key string) {
	if owner != nil && !owner.Absent && !b.opts.KeepRoots {
		b.sum.collateral(key)
	}
}

// meet notes the UID that a dependent has for an owner whose own record is absent.
func (b *builder) meet(owner *Owner, dependent *decode.Object) {
	if uid := dependent.Controller().UID; owner.Absent && !slices.Contains(owner.UIDs, uid) {
		owner.UIDs = append(owner.UIDs, uid)
	}
}

func (b *builder) write(e *Entry) error {
	b.sum.entry(e)
	return b.out.Write(e)
}

// trailer ends the plan, or refuses it for what only the scan could show.
func (b *builder) trailer() (Trailer, error) {
	summary := b.sum.finish()
	if b.planned == 0 {
		return Trailer{}, nothingSelected(&b.header.Selection, &summary)
	}
	if c := summary.Collateral; c.Count > 0 && !slices.Contains(b.opts.Allow, AllowCollateral) {
		return Trailer{}, &RefusedError{
			Reason: "the plan leaves out pods of its owners" + c.words() + "; once their owner is gone, the garbage collector of a running kube-controller-manager deletes them as well",
			Advice: "--keep-roots leaves the owners, --allow " + AllowCollateral + " accepts the loss, a wider selection plans them",
		}
	}
	return Trailer{Entries: b.sum.entries, Bytes: b.sum.bytes, Owners: b.header.Selection.Owners, Summary: summary}, nil
}

func (c *Collateral) words() string {
	if c.AtLeast {
		return fmt.Sprintf(" (%d at least, such as %s)", c.Count, c.Examples[0])
	}
	return fmt.Sprintf(" (%d, such as %s)", c.Count, c.Examples[0])
}

func nothingSelected(s *Selection, summary *Summary) error {
	reason := fmt.Sprintf("nothing to delete among %d records: no %s", summary.Scanned, strings.Join(s.Words(), ", "))
	for i := range s.Owners {
		if s.Owners[i].Absent {
			reason += fmt.Sprintf("; there is no %s", &s.Owners[i])
		}
	}
	advice := "check the namespace, the owner's name and --etcd-prefix"
	for _, kept := range summary.KeptOut {
		reason += fmt.Sprintf("; %d kept out by %s", kept.Count, kept.Reason)
		advice = "--allow lifts a guard by its name, if you are sure"
	}
	for _, class := range summary.Unreadable {
		reason += fmt.Sprintf("; %d unreadable: %s", class.Count, class.Reason)
	}
	return &RefusedError{Reason: reason, Advice: advice}
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

// Identify reads what tells this cluster from others. Where Namespace kube-system cannot be found or read there is no
// Kubernetes under the prefix, and nothing to plan: a *RefusedError.
func Identify(ctx context.Context, source Source, clusterID, prefix string) (Identity, error) {
	key := systemNamespaceKey(prefix)
	record, err := source.Get(ctx, key)
	if err != nil {
		return Identity{}, err
	}
	if record == nil {
		return Identity{}, &RefusedError{
			Reason: "there is no " + key + ", so this is no Kubernetes cluster, or not under this prefix",
			Advice: "compare --etcd-prefix with kube-apiserver's",
		}
	}
	object, err := decode.Decode(record.Value)
	if err != nil {
		return Identity{}, &RefusedError{
			Reason: fmt.Sprintf("the cluster's identity cannot be read: %s: %v", key, err),
			Advice: "the UID of Namespace kube-system tells this cluster from others; without it nothing is planned or deleted",
		}
	}
	return Identity{ClusterID: clusterID, SystemUID: object.UID}, nil
}

func systemNamespaceKey(prefix string) string {
	namespaces, _ := decode.Lookup(schema.GroupKind{Kind: "Namespace"})
	return namespaces.Key(prefix, "", "kube-system")
}
