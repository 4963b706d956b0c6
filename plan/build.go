package plan

import (
	"cmp"
	"context"
	"io"
	"iter"
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

	// Rehearsal, if set, says that the source is a file. Nothing moves in it, so nodes are not waited for: all are unknown.
	Rehearsal *Rehearsal

	// Elsewhere is what is kept in other etcds: it is read there, and never planned.
	Elsewhere []Elsewhere

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
	if err := b.entries(ctx); err != nil {
		return "", Header{}, Trailer{}, err
	}
	trailer, err = b.trailer(ctx)
	if err != nil {
		return "", Header{}, Trailer{}, err
	}
	id, err = b.out.Finish(trailer)
	return id, b.header, trailer, err
}

// entries writes the lines between header and trailer.
func (b *builder) entries(ctx context.Context) error {
	if b.header.Selection.Whole != nil {
		return b.writeNamespace(ctx)
	}
	if err := b.writeRoots(); err != nil {
		return err
	}
	return b.scan(ctx)
}

func (b *builder) writeRoots() error {
	for i := range b.roots {
		if err := b.write(&b.roots[i].entry); err != nil {
			return err
		}
	}
	return nil
}

// builder is a plan in the making.
type builder struct {
	source  Source
	opts    Options
	header  Header
	guards  Guards
	target  decode.Resource // of what is selected
	named   []*found        // planned owners of which the records are there, named or below
	roots   []*found        // these, and what was included above them
	byUID   map[string]*found
	rooted  map[string]bool // UIDs of the roots
	matches func(*decode.Object) (*Owner, bool)

	watch    *NodeWatch
	measured bool // the guards know the nodes
	custom   *customResources
	around   *dependents // nil without roots
	whole    *whole      // nil unless a namespace is planned whole

	out     *Writer
	sum     *summarizer
	planned int64  // dependents written
	last    string // key of the last of them
	whys    map[*Owner]string
	pods    podSet // of these, if their events are to go
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
	b := &builder{source: source, opts: opts, guards: guards, sum: newSummarizer(), whys: map[*Owner]string{},
		byUID: map[string]*found{}, rooted: map[string]bool{}, pods: newPodSet()}
	b.header = Header{
		Tool:          opts.Tool,
		Created:       opts.Now.UTC().Truncate(time.Second),
		Prefix:        opts.Prefix,
		KeepRoots:     opts.KeepRoots,
		IncludeOwners: opts.IncludeOwners,
		Allow:         opts.Allow,
		Rehearsal:     opts.Rehearsal,
		Selection: Selection{
			Namespaces:  query.namespaces(),
			Phases:      query.Phases,
			Nodes:       query.Nodes,
			Terminating: query.Terminating,
			Limit:       query.Limit,
			WithEvents:  query.WithEvents,
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
	b.measured = opts.Rehearsal != nil
	// The first look at the nodes costs little. If a second one is needed, some of the wait is over by then.
	if b.watch, err = WatchNodes(ctx, source, opts.Prefix); err != nil {
		return nil, err
	}
	if query.WholeNamespace != "" {
		return b, b.beginNamespace(ctx, query.WholeNamespace)
	}
	if err := b.aim(ctx, query.Resource); err != nil {
		return nil, err
	}
	if err := opts.checkPlace(b.target.NamespacePrefix(opts.Prefix, "")); err != nil {
		return nil, err
	}
	for _, name := range query.Owners {
		if err := b.lookUp(ctx, name); err != nil {
			return nil, err
		}
	}
	if err := b.findBelow(ctx); err != nil {
		return nil, err
	}
	if err := b.gatherRoots(ctx); err != nil {
		return nil, err
	}
	b.matches, err = b.header.Selection.Matcher()
	return b, err
}
