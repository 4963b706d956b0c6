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
)

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
	Allow     []string  `json:"allow,omitempty"` // guards that were lifted, by name
}

// Identity tells clusters apart. An etcd cluster ID alone does not: two clusters that were first started with the same
// member URLs have the same one.
type Identity struct {
	ClusterID string `json:"cluster_id"` // of etcd, hexadecimal as etcdctl prints it
	SystemUID string `json:"system_uid"` // of Namespace kube-system
}

// Entry is a line of a plan: one key to delete.
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
	Entries int64   `json:"entries"`
	Bytes   int64   `json:"bytes"`            // of all entries' values
	Owners  []Owner `json:"owners,omitempty"` // planned owners, each with every UID that was met
	Summary Summary `json:"summary"`
}

// Summary says what people want to know of a plan before they read its lines.
type Summary struct {
	Scanned     int64      `json:"scanned"` // records read
	Stages      []Tally    `json:"stages"`
	Owners      []Tally    `json:"owners,omitempty"`
	Nodes       []Tally    `json:"nodes,omitempty"`
	Phases      []Tally    `json:"phases,omitempty"`
	Terminating int64      `json:"terminating"`
	Oldest      time.Time  `json:"oldest,omitzero"` // creation of the oldest and of the newest dependent
	Newest      time.Time  `json:"newest,omitzero"`
	KeptOut     []KeptOut  `json:"kept_out,omitempty"`   // selected, and kept out by a guard
	Unreadable  []KeptOut  `json:"unreadable,omitempty"` // cannot be judged, so never selected
	Collateral  Collateral `json:"collateral,omitzero"`
	// BirthInterval is the median time between the births of the newest dependents, in seconds; 0 with fewer than two.
	BirthInterval float64 `json:"birth_interval_seconds"`
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

// Collateral counts pods of planned roots that are no entries. While kube-controller-manager runs, its garbage
// collector deletes them once their owner is gone, past every guard.
type Collateral struct {
	Count    int64    `json:"count"`
	Examples []string `json:"examples"`
	// AtLeast says that the scan ended at the selection's limit: there may be more.
	AtLeast bool `json:"at_least,omitempty"`
}

// IsZero reports whether there is no collateral.
func (c Collateral) IsZero() bool { return c.Count == 0 }
