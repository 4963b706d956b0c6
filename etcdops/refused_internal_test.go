package etcdops

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What etcd certainly did not do is told from what it may have done, in the form in which the errors come over the wire and in
// the one that client/v3 gives them.
func TestClassify(t *testing.T) {
	const (
		ambiguous = iota
		refused
		later // refused now, perhaps not in a while
	)
	tests := []struct {
		err   error
		class int
		hint  bool
	}{
		{rpctypes.ErrGRPCPermissionDenied, refused, true},
		{rpctypes.ErrGRPCInvalidAuthToken, refused, true},
		{rpctypes.ErrGRPCUserEmpty, refused, true},
		{rpctypes.ErrGRPCUserNotFound, refused, true},
		{rpctypes.ErrGRPCAuthFailed, refused, true},
		{rpctypes.ErrGRPCRequestTooLarge, refused, true},
		{rpctypes.ErrGRPCTooManyOps, refused, false},
		{rpctypes.ErrGRPCEmptyKey, refused, false},
		{rpctypes.ErrGRPCLeaseNotFound, refused, false},
		{rpctypes.ErrGRPCLeaseTTLTooLarge, refused, false},
		{rpctypes.ErrGRPCNotCapable, refused, false},
		{status.Error(codes.ResourceExhausted, "grpc: received message larger than max (3000000 vs. 2097152)"), refused, true},
		{status.Error(codes.ResourceExhausted, "trying to send message larger than max (30000000 vs. 16777216)"), refused, true},

		{rpctypes.ErrGRPCRequestTooManyRequests, later, false},
		{status.Error(codes.Unknown, "etcdserver: too many requests"), later, false}, // as servers send it: v3rpc/util.go
		{rpctypes.ErrGRPCAuthOldRevision, later, false},
		{rpctypes.ErrGRPCNotSupportedForLearner, later, true},

		{rpctypes.ErrGRPCNoSpace, ambiguous, false},
		{rpctypes.ErrGRPCNoLeader, ambiguous, false},
		{rpctypes.ErrGRPCLeaderChanged, ambiguous, false},
		{rpctypes.ErrGRPCStopped, ambiguous, false},
		{rpctypes.ErrGRPCTimeout, ambiguous, false},
		{rpctypes.ErrGRPCTimeoutDueToLeaderFail, ambiguous, false},
		{rpctypes.ErrGRPCTimeoutDueToConnectionLost, ambiguous, false},
		{rpctypes.ErrGRPCUnhealthy, ambiguous, false},
		{rpctypes.ErrGRPCCorrupt, ambiguous, false},
		{rpctypes.ErrGRPCCompacted, ambiguous, false},
		{context.Canceled, ambiguous, false},
		{context.DeadlineExceeded, ambiguous, false},
		{status.Error(codes.Unavailable, "transport is closing"), ambiguous, false},
		{status.Error(codes.PermissionDenied, "a proxy says no"), ambiguous, false},
		{status.Error(codes.ResourceExhausted, "stream limit"), ambiguous, false},
	}
	for _, test := range tests {
		for form, err := range map[string]error{"wire": test.err, "client": rpctypes.Error(test.err)} {
			t.Run(fmt.Sprint(test.err, form), func(t *testing.T) {
				got := fmt.Errorf("delete /registry/x: %w", classify(err, writeOf("/registry/x")))
				if !errors.Is(got, err) {
					t.Errorf("%v is not %v", got, err)
				}
				var notDone interface{ NotDone() bool }
				var temporary interface{ Temporary() bool }
				var hinting interface{ Hint() string }
				if errors.As(got, &notDone) != (test.class != ambiguous) {
					t.Fatalf("%v: classified %t", got, test.class == ambiguous)
				}
				if test.class == ambiguous {
					return
				}
				if !notDone.NotDone() || !errors.As(got, &temporary) || temporary.Temporary() != (test.class == later) {
					t.Errorf("%v: NotDone %t, Temporary %t", got, notDone.NotDone(), temporary.Temporary())
				}
				if !errors.As(got, &hinting) || (hinting.Hint() != "") != test.hint {
					t.Errorf("%v: hint %q", got, hinting.Hint())
				}
			})
		}
	}
	if classify(nil, "") != nil {
		t.Error("no error is one")
	}
}
