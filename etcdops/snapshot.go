package etcdops

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
)

// SnapshotSource chooses the member to take a snapshot from: the voting follower with the fewest entries committed but not yet applied,
// and of equals the one with the smallest database file; the leader, which has the most to do, only if no follower will do.
// A snapshot is one member's own view, so only those come into question whose revision has reached minRevision.
func (c *Client) SnapshotSource(ctx context.Context, minRevision int64) (Member, error) {
	status, err := c.Status(ctx)
	if err != nil {
		return Member{}, fmt.Errorf("choose a member for the snapshot: %w", err)
	}
	member, err := snapshotSource(status.Members, minRevision)
	if err != nil {
		return Member{}, fmt.Errorf("choose a member for the snapshot: %w", err)
	}
	return member, nil
}

func snapshotSource(members []Member, minRevision int64) (Member, error) {
	var best *Member
	var against []error
	for i := range members {
		m := &members[i]
		switch {
		case m.Err != nil:
			against = append(against, fmt.Errorf("%s: %w", m, m.Err))
		case m.Learner:
			against = append(against, fmt.Errorf("%s: a learner", m))
		case m.Revision < minRevision:
			against = append(against, fmt.Errorf("%s: at revision %d, want %d", m, m.Revision, minRevision))
		case best == nil || m.lessLoaded(best):
			best = m
		}
	}
	if best == nil {
		return Member{}, fmt.Errorf("no member will do: %w", lineError(against))
	}
	return *best, nil
}

// lessLoaded reports whether m is to be burdened rather than other.
func (m *Member) lessLoaded(other *Member) bool {
	if m.Leader != other.Leader {
		return other.Leader
	}
	if m.backlog() != other.backlog() {
		return m.backlog() < other.backlog()
	}
	return m.DBSize < other.DBSize
}

// backlog returns how many entries the member has yet to apply.
func (m *Member) backlog() uint64 {
	if m.RaftAppliedIndex > m.RaftIndex {
		return 0 // the two are read one after the other
	}
	return m.RaftIndex - m.RaftAppliedIndex
}

// Snapshot opens the snapshot stream of exactly the member at this endpoint: a bbolt file, and behind it 32 bytes of
// SHA-256. How long it is nobody says beforehand. It doesn't wait for a member that is down, nor longer than CommandTimeout for
// one that hangs. The caller closes the stream, at whatever point; ctx ends it too. With authentication turned on it needs the
// role root.
func (c *Client) Snapshot(ctx context.Context, endpoint string) (io.ReadCloser, error) {
	l, err := c.link(ctx, endpoint)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	// Not by client/v3's Snapshot: that retries for ever while nothing has come yet, and needs a goroutine and a pipe.
	stream, err := etcdserverpb.NewMaintenanceClient(l.etcd.ActiveConnection()).Snapshot(ctx, &etcdserverpb.SnapshotRequest{}, grpc.WaitForReady(false))
	if err != nil {
		cancel(nil)
		return nil, fmt.Errorf("snapshot: %w", l.diagnose(ctx, rpctypes.Error(err)))
	}
	return &snapshotStream{ctx: ctx, cancel: cancel, patience: c.cfg.CommandTimeout, link: l, stream: stream}, nil
}

// snapshotStream reads the blobs of a snapshot as one file.
type snapshotStream struct {
	ctx      context.Context // of the stream
	cancel   context.CancelCauseFunc
	patience time.Duration // for one blob
	link     *link
	stream   grpc.ServerStreamingClient[etcdserverpb.SnapshotResponse]
	rest     []byte // of the last blob
}

func (s *snapshotStream) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		stalled := time.AfterFunc(s.patience, func() { s.cancel(context.DeadlineExceeded) })
		response, err := s.stream.Recv()
		stalled.Stop()
		switch {
		case err == io.EOF:
			return 0, io.EOF
		case err != nil && errors.Is(context.Cause(s.ctx), context.DeadlineExceeded):
			return 0, s.link.diagnose(s.ctx, context.DeadlineExceeded)
		case err != nil && s.ctx.Err() != nil:
			return 0, s.ctx.Err()
		case err != nil:
			return 0, s.link.diagnose(s.ctx, rpctypes.Error(err))
		}
		s.rest = response.Blob
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// Close ends the stream. The connection stays, for the Client to close.
func (s *snapshotStream) Close() error {
	s.cancel(nil)
	return nil
}

// lineError is several errors in a line.
type lineError []error

func (e lineError) Error() string {
	all := make([]string, len(e))
	for i, err := range e {
		all[i] = err.Error()
	}
	return strings.Join(all, "; ")
}

func (e lineError) Unwrap() []error { return e }
