package plan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"time"

	"etcdsweep/decode"
)

// Source is what planning needs of a cluster: reads.
type Source interface {
	NodeSource
	// Get reads one key; nil if it is absent.
	Get(ctx context.Context, key string) (*decode.Record, error)
	// Scan yields the records under a prefix in the order of their keys; an error is the last pair.
	Scan(ctx context.Context, prefix string) iter.Seq2[decode.Record, error]
	// Count returns the number of keys under a prefix, and CountEach those under each of many.
	Count(ctx context.Context, prefix string) (int64, error)
	CountEach(ctx context.Context, prefixes []string) ([]int64, error)
	// Revision returns the cluster's newest revision, read linearizably at any key that may be read.
	Revision(ctx context.Context, key string) (int64, error)
}

// DefaultMaxRunningShare is the percentage of all pods on live or unknown nodes that a plan takes at most.
const DefaultMaxRunningShare = 20

// Options are the circumstances of a plan.
type Options struct {
	Tool          string // version, for the header
	ClusterID     string
	Prefix        string // kube-apiserver's --etcd-prefix, without a trailing slash
	KeepRoots     bool   // leave the owners' own records
	IncludeOwners bool   // plan what controls the owners as well
	Allow         []string
	Now           time.Time

	// MaxRunningShare is the most that a plan may take of the cluster's pods that run on live or unknown nodes, in percent;
	// 0 for DefaultMaxRunningShare.
	MaxRunningShare float64
	// LeaseDuration is how long a node's lease must stand still to count as dead; 0 for DefaultLeaseDuration.
	LeaseDuration time.Duration

	// Progress, if set, is called now and then with the records read and the entries written so far.
	Progress func(scanned, selected int64)
	// Waiting, if set, is called with the time that is left when Build begins to wait for nodes' leases to move, because
	// a running pod is selected; and with 0 when it goes on.
	Waiting func(left time.Duration)
}

const progressEvery = 1000 // records

// Build reads the cluster and writes a plan for the query to w. It writes nothing to etcd. It fails with a
// *RefusedError if the query is empty or selects nothing, if an owner's record or what stands above it cannot be read,
// if a guard protects an owner, if something above an owner still stands, if roots would take more with them than
// entries, or if the plan takes too many running pods; unless Options allow it.
func Build(ctx context.Context, source Source, query Query, opts Options, w io.Writer) (id string, header Header, trailer Trailer, err error) {
	b, err := newBuilder(ctx, source, query, opts)
	if err != nil {
		return "", Header{}, Trailer{}, err
	}
	if b.out, err = NewWriter(w, b.header); err != nil {
		return "", Header{}, Trailer{}, err
	}
	for i := range b.roots {
		if err := b.write(&b.roots[i].entry); err != nil {
			return "", Header{}, Trailer{}, err
		}
	}
	if len(b.roots) > 0 {
		if err := b.lookAround(ctx); err != nil {
			return "", Header{}, Trailer{}, err
		}
	}
	if err := b.scan(ctx); err != nil {
		return "", Header{}, Trailer{}, err
	}
	trailer, err = b.trailer(ctx)
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
	named   []*found // owners by name, of which the records are there
	roots   []*found // these, and what was included above them
	matches func(*decode.Object) (*Owner, bool)

	watch    *NodeWatch
	measured bool // the guards know the nodes
	custom   *customResources
	around   *dependents // nil without roots

	out     *Writer
	sum     *summarizer
	planned int64  // dependents written
	last    string // key of the last of them
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
	opts.IncludeOwners = opts.IncludeOwners && !opts.KeepRoots
	opts.MaxRunningShare = cmp.Or(opts.MaxRunningShare, DefaultMaxRunningShare)
	opts.LeaseDuration = cmp.Or(opts.LeaseDuration, DefaultLeaseDuration)
	b := &builder{source: source, opts: opts, guards: guards, sum: newSummarizer(), whys: map[*Owner]string{}}
	b.header = Header{
		Tool:          opts.Tool,
		Created:       opts.Now.UTC().Truncate(time.Second),
		Prefix:        opts.Prefix,
		KeepRoots:     opts.KeepRoots,
		IncludeOwners: opts.IncludeOwners,
		Allow:         opts.Allow,
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
	// The first look at the nodes costs little. If a second one is needed, some of the wait is over by then.
	if b.watch, err = WatchNodes(ctx, source, opts.Prefix); err != nil {
		return nil, err
	}
	for _, name := range query.Owners {
		if err := b.lookUp(ctx, name); err != nil {
			return nil, err
		}
	}
	if err := b.gatherRoots(ctx); err != nil {
		return nil, err
	}
	b.matches, err = b.header.Selection.Matcher()
	return b, err
}

// scan reads the namespaces, and writes an entry for each object that is selected and that no guard keeps out. With
// roots it also writes down what goes with them; for that it reads again if something above a pod that it has passed
// turned out to go.
func (b *builder) scan(ctx context.Context) error {
	for record, err := range b.pods(ctx) {
		if err != nil {
			return err
		}
		if full, err := b.consider(ctx, &record); err != nil || full {
			return err
		}
		b.sum.summary.Scanned++
		if b.opts.Progress != nil && b.sum.summary.Scanned%progressEvery == 0 {
			b.opts.Progress(b.sum.summary.Scanned, b.planned)
		}
	}
	for b.around.nextPass() {
		for record, err := range b.pods(ctx) {
			if err != nil {
				return err
			}
			if err := b.considerAgain(&record); err != nil {
				return err
			}
		}
	}
	return nil
}

// pods yields the pods of the selection's namespaces in the order of their keys; an error is the last pair.
func (b *builder) pods(ctx context.Context) iter.Seq2[decode.Record, error] {
	return func(yield func(decode.Record, error) bool) {
		for _, namespace := range b.header.Selection.Namespaces {
			for record, err := range b.source.Scan(ctx, decode.Pods().NamespacePrefix(b.opts.Prefix, namespace)) {
				if !yield(record, err) || err != nil {
					return
				}
			}
		}
	}
}

// read decodes a record and holds it against its key. If it cannot be judged, class says why.
func (b *builder) read(resource decode.Resource, record *decode.Record) (object decode.Object, class string, err error) {
	object, err = decode.Decode(record.Value)
	if unreadable, ok := errors.AsType[*decode.UnreadableError](err); ok {
		return object, unreadable.Class(), nil
	}
	if err != nil {
		return object, "", fmt.Errorf("%s: %w", record.Key, err)
	}
	if err := resource.Check(b.opts.Prefix, record.Key, &object); err != nil {
		return object, "key and object disagree", nil
	}
	if object.UID == "" { // which every object has, and by which its dependents are found
		return object, "no UID", nil
	}
	return object, "", nil
}

// consider decides about one pod. It reports full when the selection's limit has been reached before it, and nothing
// has to be known of the others.
func (b *builder) consider(ctx context.Context, record *decode.Record) (full bool, err error) {
	object, class, err := b.read(decode.Pods(), record)
	if err != nil {
		return false, err
	}
	if class != "" {
		b.sum.unreadable.add(class, "", record.Key)
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
	if !selected {
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
	entry := newEntry(StagePods, record, &object, why)
	if err := b.write(&entry); err != nil {
		return false, err
	}
	return false, b.around.doom(record.Key, &object)
}

// considerAgain decides about one pod in a later pass, which is for collateral only. Which pods are entries was decided in
// the first pass, and is decided here in the same way.
func (b *builder) considerAgain(record *decode.Record) error {
	object, class, err := b.read(decode.Pods(), record)
	if err != nil || class != "" {
		return err
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
	if b.opts.Waiting != nil && left > 0 {
		b.opts.Waiting(left)
	}
	nodes, err := b.watch.Finish(ctx, b.opts.LeaseDuration)
	if err != nil {
		return "", "", err
	}
	if b.opts.Waiting != nil && left > 0 {
		b.opts.Waiting(0)
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
	if why := Never(b.opts.Prefix, e.Key); why != "" {
		return &RefusedError{
			Reason: fmt.Sprintf("%s is never deleted: %s", e.Key, why),
			Advice: "nothing lifts this; --keep-roots leaves the owners",
		}
	}
	b.sum.entry(e)
	return b.out.Write(e)
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
