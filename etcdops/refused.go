package etcdops

import (
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// RefusedError is a request that etcd refused and certainly did not carry out: there is no need to read again before it is
// counted. All other errors of a write are ambiguous: timeouts, lost connections, leader changes, and NOSPACE, which older
// servers report after they have applied a transaction (etcdserver/apply/quota.go).
type RefusedError struct {
	Err error // what etcd said

	temporary bool
	advice    string
}

func (e *RefusedError) Error() string { return e.Err.Error() }
func (e *RefusedError) Unwrap() error { return e.Err }

// NotDone reports that the request was not carried out. It is always true; it is there to be asked for by who does not
// import this package.
func (e *RefusedError) NotDone() bool { return true }

// Temporary reports whether the same request may be accepted a little later.
func (e *RefusedError) Temporary() bool { return e.temporary }

// Hint says what to mend, "" if there is nothing.
func (e *RefusedError) Hint() string { return e.advice }

// refusals are the errors by which etcd says no to a request without carrying it out, each with where its servers, 3.4 to
// 3.7, decide so.
func refusals() []refusal {
	const login = "give --user and --password, or another client certificate, of an etcd user that may do this"
	return []refusal{
		// Before the request is read: v3rpc/interceptor.go.
		{err: rpctypes.Error(rpctypes.ErrGRPCNotSupportedForLearner), temporary: true, advice: "a learner answered: leave it out of --endpoints"},
		{err: rpctypes.ErrNotCapable},
		// Before the proposal: v3rpc/key.go and lease.go.
		{err: rpctypes.ErrEmptyKey},
		{err: rpctypes.ErrTooManyOps},
		{err: rpctypes.ErrDuplicateKey},
		{err: rpctypes.ErrInvalidSortOption},
		// Before the proposal: v3_server.go, processInternalRaftRequestOnce.
		{err: rpctypes.ErrTooManyRequests, temporary: true},
		{err: rpctypes.ErrRequestTooLarge, advice: "etcd's --max-request-bytes is too small for it: raise that on every member"},
		{err: rpctypes.ErrInvalidAuthToken, advice: login},
		{err: rpctypes.ErrAuthFailed, advice: login},
		{err: rpctypes.ErrUserNotFound, advice: login},
		// In the proposal's turn, but before it changes anything: auth/store.go, isOpPermitted; txn/put.go, and 3.4's
		// checkRequestPut; lease/lessor.go, Grant.
		{err: rpctypes.ErrUserEmpty, advice: login},
		{err: rpctypes.ErrAuthOldRevision, temporary: true},
		{err: rpctypes.ErrPermissionDenied},
		{err: rpctypes.ErrLeaseNotFound},
		{err: rpctypes.ErrLeaseTTLTooLarge},
		{err: rpctypes.ErrLeaseExist},
	}
}

type refusal struct {
	err       error
	temporary bool
	advice    string
}

// classify wraps an error into a *RefusedError if it is a certain refusal, and returns it as it is if not. The permission is what
// the request needs, in words.
func classify(err error, permission string) error {
	if err == nil {
		return nil
	}
	for _, r := range refusals() {
		if !errors.Is(rpctypes.Error(err), r.err) {
			continue
		}
		if errors.Is(r.err, rpctypes.ErrPermissionDenied) {
			r.advice = "this etcd user needs " + permission + ", or the role root: see etcdctl user get, and role grant-permission"
		}
		return &RefusedError{Err: err, temporary: r.temporary, advice: r.advice}
	}
	if tooLargeForGRPC(err) {
		return &RefusedError{Err: err, advice: "etcd's --max-request-bytes is too small for it: raise that on every member"}
	}
	return err
}

// tooLargeForGRPC reports whether gRPC refused a message for its size, on our side before it was sent, or on the server's
// before etcd saw it. It cannot be an answer that was too large for us: there is no limit to what dial accepts.
func tooLargeForGRPC(err error) bool {
	s, ok := status.FromError(err)
	return ok && s.Code() == codes.ResourceExhausted && strings.Contains(s.Message(), "message larger than max")
}

// The permissions that requests need, in words. A compare is a read.

func readOf(key string) string { return "read permission on " + key }

func writeOf(key string) string { return "write and read permission on " + key }

func readUnder(prefix string) string { return fmt.Sprintf("read permission on the prefix %s", prefix) }

func writeWithLease(key string, lease int64) string {
	if lease == 0 {
		return writeOf(key)
	}
	return fmt.Sprintf("%s, and write permission on every other key of lease %x", writeOf(key), lease)
}
