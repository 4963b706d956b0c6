package plan

import (
	"context"
	"iter"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"etcdsweep/decode"
)

// DefaultLeaseDuration is how long a node's lease must stand still to count as dead: a kubelet renews it every 10 seconds
// (k8s.io/kubernetes pkg/kubelet/kubelet.go, nodeLeaseRenewIntervalFraction of 40 s).
const DefaultLeaseDuration = 15 * time.Second

// NodeState says whether a node's kubelet is at work.
type NodeState int

const (
	NodeUnknown NodeState = iota // not measured, or there is nothing to measure
	NodeLive                     // it has written within the wait
	NodeDead                     // it has not, and others have
)

// Nodes are the states of nodes. Of the zero value all are unknown.
type Nodes struct{ states map[string]NodeState }

// State returns the state of a node.
func (n Nodes) State(node string) NodeState { return n.states[node] }

// Count returns how many nodes are in a state, of those that have a lease or a record.
func (n Nodes) Count(state NodeState) (count int) {
	for _, s := range n.states {
		if s == state {
			count++
		}
	}
	return count
}

// NodeSource is what it takes to tell live nodes from dead ones: a read of keys and revisions.
type NodeSource interface {
	ScanKeys(ctx context.Context, prefix string) iter.Seq2[decode.Record, error]
}

// NodeWatch is the first of two looks at what nodes write.
type NodeWatch struct {
	source NodeSource
	prefix string
	began  time.Time // of this process's own clock, to wait by
	first  nodeRecords
}

// WatchNodes takes the first look. It reads no values.
func WatchNodes(ctx context.Context, source NodeSource, prefix string) (*NodeWatch, error) {
	w := &NodeWatch{source: source, prefix: prefix}
	var err error
	w.first, err = readNodes(ctx, source, prefix)
	w.began = time.Now() // behind the read: what was written during it may not be in it
	return w, err
}

// Left returns how much of the wait is left.
func (w *NodeWatch) Left(wait time.Duration) time.Duration { return max(wait-time.Since(w.began), 0) }

// Finish takes the second look, when at least wait has passed since the first, and compares the revisions of the two.
// Clocks are not compared: those of nodes and of this machine may differ.
//
// A node is live if its lease was written meanwhile, dead if it was not while some other node's was. A node without
// a lease, as Kubernetes 1.16 may have, is judged by its Node object in the same way. If nothing was written for any node, the
// apiserver may be down, and all are unknown; so is a node without either record.
func (w *NodeWatch) Finish(ctx context.Context, wait time.Duration) (Nodes, error) {
	if err := pause(ctx, w.Left(wait)); err != nil {
		return Nodes{}, err
	}
	second, err := readNodes(ctx, w.source, w.prefix)
	if err != nil {
		return Nodes{}, err
	}
	return compareNodes(w.first, second), nil
}

// nodeRecords are the mod revisions of what kubelets write, by the names of their nodes.
type nodeRecords struct{ leases, nodes map[string]int64 }

func readNodes(ctx context.Context, source NodeSource, prefix string) (nodeRecords, error) {
	leases, _ := decode.Lookup(schema.GroupKind{Group: "coordination.k8s.io", Kind: "Lease"})
	nodes, _ := decode.Lookup(schema.GroupKind{Kind: "Node"})
	read := func(resource decode.Resource, namespace string) (map[string]int64, error) {
		revisions := map[string]int64{}
		for record, err := range source.ScanKeys(ctx, resource.NamespacePrefix(prefix, namespace)) {
			if err != nil {
				return nil, err
			}
			if _, name, err := resource.Parse(prefix, record.Key); err == nil {
				revisions[name] = record.ModRevision
			}
		}
		return revisions, nil
	}
	var records nodeRecords
	var err error
	if records.leases, err = read(leases, "kube-node-lease"); err != nil {
		return records, err
	}
	records.nodes, err = read(nodes, "")
	return records, err
}

// compareNodes judges every node of the second look.
func compareNodes(first, second nodeRecords) Nodes {
	states := map[string]NodeState{}
	moved := false
	judge := func(before, after map[string]int64, name string) {
		states[name] = NodeDead
		if before[name] != after[name] { // a record that is new was written, too
			states[name] = NodeLive
			moved = true
		}
	}
	for name := range second.leases {
		judge(first.leases, second.leases, name)
	}
	for name := range second.nodes {
		_, had := first.leases[name]
		_, has := second.leases[name]
		switch {
		case has:
		case had: // it has lost its lease meanwhile, which says nothing
			states[name] = NodeUnknown
		default:
			judge(first.nodes, second.nodes, name)
		}
	}
	if !moved {
		return Nodes{}
	}
	return Nodes{states}
}
