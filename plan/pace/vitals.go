package pace

import (
	"context"
	"fmt"
	"time"
)

// Source is what the pace is measured by. Both methods cost etcd next to nothing, and may be called at the same time.
type Source interface {
	// Read makes one linearizable read. How long it takes is measured by the caller.
	Read(ctx context.Context) error
	// Vitals takes one look at the cluster, within a bound of time of its own, whatever hangs. It makes no proposal.
	Vitals(ctx context.Context) Vitals
}

// Vitals is one look at the cluster. What could not be learned is absent, and decides nothing.
type Vitals struct {
	// Members has every member of the member list, those that do not answer and learners included. It is empty if nobody
	// gave a list.
	Members []Member
}

// Member is what one member says of itself.
type Member struct {
	ID      uint64
	Name    string
	Learner bool // it does not vote, and holds nothing up

	Err     error         // why it did not answer; what follows is zero then
	Latency time.Duration // of its answer

	Leader  uint64 // the member that it takes for the leader; 0 if it knows none
	Term    uint64 // of raft
	Index   uint64 // of the last entry that it knows to be committed
	Applied uint64 // of the last entry that it has applied
	Corrupt bool   // the alarm CORRUPT stands

	Metrics *Metrics // nil if they cannot be reached, or were not asked for this time
}

// String names a member as people do.
func (m *Member) String() string {
	if m.Name != "" {
		return m.Name
	}
	return fmt.Sprintf("%x", m.ID)
}

// Metrics is what a member's /metrics says.
type Metrics struct {
	Fsync  Histogram // etcd_disk_wal_fsync_duration_seconds
	Commit Histogram // etcd_disk_backend_commit_duration_seconds

	PendingProposals float64 // etcd_server_proposals_pending
	SlowWatchers     float64 // etcd_debugging_mvcc_slow_watcher_total
	PendingEvents    float64 // etcd_debugging_mvcc_pending_events_total
}

// Histogram is the sum and the number of what was observed since the member was started. Their differences give the mean of
// any stretch of time exactly, where buckets that double would give a quantile within a factor of two.
type Histogram struct {
	Count   uint64
	Seconds float64
}
