package plan

import (
	"time"
)

// Format is the first field of every plan file. A file of another format, or of a later version, is refused.
const Format = "etcdsweep.plan/v1"

// IDLength is the number of hexadecimal digits in a plan's ID; [MinConfirm] of them are enough to confirm it.
const (
	IDLength   = 16
	MinConfirm = 8
)

// Stages in which entries go, in this order.
const (
	StageRoots = "roots" // the owners, so that nothing makes new dependents
	StagePods  = "pods"
	// StageObjects is what is neither an owner nor a pod: the objects of another resource, or the events of the pods.
	StageObjects   = "objects"
	StageNamespace = "namespace" // the Namespace itself, when it is empty

	// StageCollateral is no stage: its lines are not entries, and nothing deletes them. They name what a running
	// kube-controller-manager deletes once the roots are gone.
	StageCollateral = "collateral"
)

// Stages returns the stages in which entries go, in order.
func Stages() []string { return []string{StageRoots, StagePods, StageObjects, StageNamespace} }

// Header is the first line of a plan file: for which cluster it was made, when, and from what.
type Header struct {
	Format    string    `json:"format"`
	Tool      string    `json:"tool"` // version of etcdsweep that wrote it
	Created   time.Time `json:"created"`
	Cluster   Identity  `json:"cluster"`
	Prefix    string    `json:"prefix"`   // kube-apiserver's --etcd-prefix
	Revision  int64     `json:"revision"` // the cluster's before the scan; entries tell their own
	Selection Selection `json:"selection"`
	KeepRoots bool      `json:"keep_roots,omitempty"`
	// IncludeOwners says that what controls a named owner is a root as well, and so on upward.
	IncludeOwners bool     `json:"include_owners,omitempty"`
	Allow         []string `json:"allow,omitempty"` // guards that were lifted, by name
	// Rehearsal says that the plan was made from a file, and not from a cluster: it is to be looked at, and never applied.
	Rehearsal *Rehearsal `json:"rehearsal,omitempty"`
}

// Identity tells clusters apart. An etcd cluster ID alone does not: two clusters that were first started with the same
// member URLs have the same one.
type Identity struct {
	ClusterID string `json:"cluster_id"` // of etcd, hexadecimal as etcdctl prints it
	SystemUID string `json:"system_uid"` // of Namespace kube-system
}

// Entry is a line of a plan: one key to delete; or, of stage collateral, one that is not deleted.
type Entry struct {
	Stage          string `json:"stage"`
	Key            string `json:"key"`
	Kind           string `json:"kind"`
	Group          string `json:"group,omitempty"`
	Namespace      string `json:"namespace,omitempty"`
	Name           string `json:"name"`
	UID            string `json:"uid"`
	CreateRevision int64  `json:"create_revision"`
	ModRevision    int64  `json:"mod_revision"`
	Bytes          int    `json:"bytes"` // of the value
	Why            string `json:"why"`
}

// Trailer is the last line of a plan file. Its field sha256, the digest of all bytes of the file before that field,
// is written and checked by [Writer] and [Open].
type Trailer struct {
	Entries    int64   `json:"entries"`
	Bytes      int64   `json:"bytes"`            // of all entries' values
	Collateral int64   `json:"collateral"`       // lines of that stage, which are no entries
	Owners     []Owner `json:"owners,omitempty"` // planned owners, each with every UID that was met
	Summary    Summary `json:"summary"`
}

// Summary says what people want to know of a plan before they read its lines.
type Summary struct {
	Scanned     int64      `json:"scanned"` // records read
	Stages      []Tally    `json:"stages"`
	Roots       []Root     `json:"roots,omitempty"` // in the order in which they go
	Owners      []Tally    `json:"owners,omitempty"`
	Nodes       []Tally    `json:"nodes,omitempty"`
	Phases      []Tally    `json:"phases,omitempty"`
	Terminating int64      `json:"terminating"`
	ClusterPods int64      `json:"cluster_pods"` // all pods that the cluster has, counted behind the scan; 0 of a plan of other objects
	NodeStates  NodeStates `json:"node_states,omitzero"`
	Running     Running    `json:"running,omitzero"`
	Oldest      time.Time  `json:"oldest,omitzero"` // creation of the oldest and of the newest dependent
	Newest      time.Time  `json:"newest,omitzero"`
	KeptOut     []KeptOut  `json:"kept_out,omitempty"`   // selected, and kept out by a guard
	Unreadable  []KeptOut  `json:"unreadable,omitempty"` // cannot be judged, so never selected
	Collateral  Collateral `json:"collateral,omitzero"`
	// Of a whole namespace:

	Namespace NamespaceState `json:"namespace,omitzero"`
	Resources []Tally        `json:"resources,omitempty"` // its keys by resource
	Claims    []Claim        `json:"claims,omitempty"`    // the PersistentVolumeClaims that are planned, 1,000 at most
	// BirthInterval is the median time between the births of the newest dependents, in seconds; 0 with fewer than two.
	BirthInterval float64 `json:"birth_interval_seconds"`
}

// NamespaceState says what was seen of a Namespace and of those who could delete it.
type NamespaceState struct {
	Absent      bool `json:"absent,omitempty"`
	Terminating bool `json:"terminating,omitempty"`
	// Apiservers is the number of kube-apiservers that were alive. It is looked for only if the Namespace is neither absent nor
	// terminating.
	Apiservers int `json:"apiservers,omitempty"`
	// Stays is how many values in it cannot be judged, of resources that are known: as long as they are there the Namespace stays.
	Stays int64 `json:"stays,omitempty"`
	// Elsewhere names what the namespace has in other etcds, as far as it is known: it stays.
	Elsewhere []string `json:"elsewhere,omitempty"`
}

// IsZero reports whether no namespace is planned whole, or nothing is to be said of it.
func (n NamespaceState) IsZero() bool {
	return !n.Absent && !n.Terminating && n.Apiservers == 0 && n.Stays == 0 && len(n.Elsewhere) == 0
}

// Tally counts entries that have something in common.
type Tally struct {
	Name    string `json:"name"`
	UID     string `json:"uid,omitempty"` // of an owner
	Entries int64  `json:"entries"`
	Bytes   int64  `json:"bytes"`
}

// KeptOut counts objects that are no entries, by the reason.
type KeptOut struct {
	Reason   string   `json:"reason"` // a guard's name, or a class of unreadable values
	Why      string   `json:"why,omitempty"`
	Count    int64    `json:"count"`
	Examples []string `json:"examples"` // a few keys
}

// Root is a planned owner, and what stands above it.
type Root struct {
	Name  string `json:"name"` // "Job batch/import"
	UID   string `json:"uid"`
	Above string `json:"above,omitempty"` // its controller; "" if it has none
	// Planned says that the controller is a root itself, and goes before this one. The others are of a namespace that is planned
	// whole: Behind says that the controller is in it and no root, such as a pod, and goes behind this one; Stands, that it is in no
	// namespace or in another etcd, and stays; Unknown, why it cannot be told whether it stands. If none is said, it is gone.
	Planned bool   `json:"planned,omitempty"`
	Behind  bool   `json:"behind,omitempty"`
	Stands  bool   `json:"stands,omitempty"`
	Unknown string `json:"unknown,omitempty"`
}

// Generations returns by UID how many roots stand above each root.
func (s *Summary) Generations() map[string]int {
	byName, byUID := map[string]int{}, map[string]int{}
	for _, root := range s.Roots {
		generation := 0
		if root.Planned {
			generation = byName[root.Above] + 1
		}
		byName[root.Name] = max(byName[root.Name], generation) // two kinds may share a name
		byUID[root.UID] = generation
	}
	return byUID
}

// NodeStates counts nodes by state. It is zero unless they were measured, because a running pod was selected.
type NodeStates struct {
	Measured float64 `json:"measured_seconds"` // for which their leases were watched, at least
	Live     int     `json:"live"`
	Dead     int     `json:"dead"`
	Unknown  int     `json:"unknown"`
}

// Running counts pods that run on nodes which are live or unknown. It is zero unless the plan takes some of them.
type Running struct {
	Planned int64 `json:"planned"`
	Cluster int64 `json:"cluster"` // all that the cluster has
}

// Share returns the percentage that the plan takes of them.
func (r Running) Share() float64 { return percent(r.Planned, r.Cluster) }

func percent(part, whole int64) float64 {
	if part == 0 {
		return 0
	}
	return 100 * float64(part) / float64(max(part, whole))
}

// Collateral counts objects that are no entries, and that depend on a planned root, over other objects or at once. While
// kube-controller-manager runs, its garbage collector deletes them once the roots are gone, past every guard.
type Collateral struct {
	Scanned    int64     `json:"scanned"`              // records of other kinds than Pod that were read to find it
	Kinds      []KeptOut `json:"kinds,omitempty"`      // the number of each kind
	Claims     []Claim   `json:"claims,omitempty"`     // the PersistentVolumeClaims in it, 1,000 at most
	Unreadable []KeptOut `json:"unreadable,omitempty"` // it is not known whether these depend on a root
}

// IsZero reports whether nothing was looked for.
func (c Collateral) IsZero() bool {
	return c.Scanned == 0 && len(c.Kinds) == 0 && len(c.Unreadable) == 0
}

// Claim is a PersistentVolumeClaim that goes with a root.
type Claim struct {
	Key    string `json:"key"`
	Volume string `json:"volume,omitempty"` // "" if it is not bound
	// ReclaimPolicy is the volume's: with Delete it is deleted with the claim, and what is on it. It is "" if the volume
	// is absent or cannot be read.
	ReclaimPolicy string `json:"reclaim_policy,omitempty"`
}

func (c *Claim) String() string {
	switch {
	case c.Volume == "":
		return c.Key + " (not bound to a volume)"
	case c.ReclaimPolicy == "":
		return c.Key + " (volume " + c.Volume + ", reclaim policy unknown)"
	default:
		return c.Key + " (volume " + c.Volume + ", reclaim policy " + c.ReclaimPolicy + ")"
	}
}
