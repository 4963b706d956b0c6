package etcdops

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"etcdsweep/decode"
)

// Get reads one key, linearizably. It returns nil if the key is absent.
func (c *Client) Get(ctx context.Context, key string) (*decode.Record, error) {
	return c.GetAt(ctx, key, 0)
}

// GetAt is Get at a revision, 0 for the newest. The error is a *RevisionError if etcd does not have it.
func (c *Client) GetAt(ctx context.Context, key string, revision int64) (*decode.Record, error) {
	c, err := c.keeperOf(key)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", key, err)
	}
	response, err := repeated(ctx, c, func(ctx context.Context, etcd *clientv3.Client) (*clientv3.GetResponse, error) {
		return etcd.Get(ctx, key, clientv3.WithRev(revision))
	})
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", key, atRevision(revision, classify(err, readOf(key))))
	}
	if len(response.Kvs) == 0 {
		return nil, nil
	}
	r, err := c.record(ctx, response.Kvs[0])
	if err != nil {
		return nil, err
	}
	return &r, nil
}

// Revision returns the cluster's newest revision, by a linearizable read of any key that the user may read: it answers
// only while there is a quorum.
func (c *Client) Revision(ctx context.Context, key string) (int64, error) {
	revision, err := repeated(ctx, c, revisionAt(key))
	if err != nil {
		return 0, fmt.Errorf("read the revision at %s: %w", key, classify(err, readOf(key)))
	}
	return revision, nil
}

// DeleteIf deletes a key in a transaction of its own, so that the delete is a revision of its own, if the key's create
// and mod revision are still those given. The create revision stands in for the UID, which etcd cannot compare; the mod
// revision protects what the caller looked at.
//
// There are three answers: deleted, at a revision above 0; drifted, with the record as it is now; and gone before, with
// neither. A *RefusedError says for certain that nothing was deleted. After any other error the delete may have happened or
// not: read the key again before counting it.
func (c *Client) DeleteIf(ctx context.Context, key string, createRevision, modRevision int64) (deletedAt int64, current *decode.Record, err error) {
	if err := c.notWritten(key); err != nil {
		return 0, nil, fmt.Errorf("delete %s: %w", key, err)
	}
	response, err := once(ctx, c, func(ctx context.Context, etcd *clientv3.Client) (*clientv3.TxnResponse, error) {
		return etcd.Txn(ctx).
			If(
				clientv3.Compare(clientv3.CreateRevision(key), "=", createRevision),
				clientv3.Compare(clientv3.ModRevision(key), "=", modRevision),
			).
			Then(clientv3.OpDelete(key)).
			Else(clientv3.OpGet(key)).
			Commit()
	})
	if err != nil {
		return 0, nil, fmt.Errorf("delete %s: %w", key, classify(err, writeOf(key)))
	}
	if response.Succeeded {
		return response.Header.Revision, nil, nil
	}
	if kvs := response.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
		r, err := c.record(ctx, kvs[0])
		if err != nil {
			return 0, nil, err
		}
		return 0, &r, nil
	}
	return 0, nil, nil
}

// revisionAt is the request for the revision: the cheapest linearizable read there is, of one key, counted.
func revisionAt(key string) func(context.Context, *clientv3.Client) (int64, error) {
	return func(ctx context.Context, etcd *clientv3.Client) (int64, error) {
		response, err := etcd.Get(ctx, key, clientv3.WithCountOnly())
		if err != nil {
			return 0, err
		}
		return response.Header.Revision, nil
	}
}

// within makes one request, with a time limit of its own.
func within[T any](ctx context.Context, timeout time.Duration, request func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return request(ctx)
}

// errorCode returns the gRPC code of an error, whichever of client/v3's forms it has.
func errorCode(err error) codes.Code {
	var etcdError rpctypes.EtcdError
	switch {
	case errors.As(err, &etcdError):
		return etcdError.Code()
	case errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded
	default:
		return status.Code(err)
	}
}

// NoAnswer reports whether an error says that etcd gave no answer, as without a quorum or a leader, rather than that it
// answered with a refusal.
func NoAnswer(err error) bool { return endpointFault(err) }

// endpointFault reports whether an error is the endpoint's own, so that another endpoint may do better.
func endpointFault(err error) bool {
	switch errorCode(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted: // the last one: too many requests
		return true
	default:
		return false
	}
}
