package etcdops

import (
	"context"
	"fmt"
	"math"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"etcdsweep/decode"
)

// CreateIf makes a key that is absent, in a transaction of its own, so that it is a revision of its own. The lease is the
// ID of one that [Client.GrantLease] granted, or 0 for none.
//
// There are two answers: created, at a revision above 0; or the record that is there, which stays as it is. A *RefusedError
// says for certain that nothing was made; one that is rpctypes' ErrLeaseNotFound, that the lease has expired. After any other
// error the key may be there: read it again, and compare its value, before counting it.
func (c *Client) CreateIf(ctx context.Context, key string, value []byte, lease int64) (createdAt int64, current *decode.Record, err error) {
	if err := c.notWritten(key); err != nil {
		return 0, nil, fmt.Errorf("create %s: %w", key, err)
	}
	response, err := once(ctx, c, func(ctx context.Context, etcd *clientv3.Client) (*clientv3.TxnResponse, error) {
		return etcd.Txn(ctx).
			If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
			Then(clientv3.OpPut(key, string(value), clientv3.WithLease(clientv3.LeaseID(lease)))).
			Else(clientv3.OpGet(key)).
			Commit()
	})
	if err != nil {
		return 0, nil, fmt.Errorf("create %s: %w", key, classify(err, writeWithLease(key, lease)))
	}
	if response.Succeeded {
		return response.Header.Revision, nil, nil
	}
	kvs := response.Responses[0].GetResponseRange().Kvs
	if len(kvs) == 0 { // no etcd answers so
		return 0, nil, fmt.Errorf("create %s: etcd says that it is there, and does not show it", key)
	}
	r, err := c.record(ctx, kvs[0])
	if err != nil {
		return 0, nil, err
	}
	return 0, &r, nil
}

// LeaseLeft returns how long a lease has to go if nobody renews it, in whole seconds rounded down, and whether there is such
// a lease. One that has expired, or was never granted, is not found; no lease (ID 0) is not found either.
//
// It is the leader that knows: while there is none, there is no answer.
func (c *Client) LeaseLeft(ctx context.Context, id int64) (left time.Duration, found bool, err error) {
	if id == 0 {
		return 0, false, nil
	}
	response, err := repeated(ctx, c, func(ctx context.Context, etcd *clientv3.Client) (*clientv3.LeaseTimeToLiveResponse, error) {
		return etcd.TimeToLive(ctx, clientv3.LeaseID(id))
	})
	if err != nil {
		return 0, false, fmt.Errorf("read lease %x: %w", id, classify(err, "a login"))
	}
	if response.TTL < 0 { // -1: v3rpc/lease.go, LeaseTimeToLive; or expired, and not revoked yet
		return 0, false, nil
	}
	return time.Duration(response.TTL) * time.Second, true, nil
}

// GrantLease grants a lease that lives for ttl, rounded up to whole seconds; etcd may make it longer, up to one and a half
// election timeouts. Nobody renews it. A lease whose grant got no answer expires by itself, so another may be asked for.
func (c *Client) GrantLease(ctx context.Context, ttl time.Duration) (id int64, err error) {
	if ttl <= 0 {
		return 0, fmt.Errorf("grant a lease of %v: want more than 0", ttl)
	}
	response, err := once(ctx, c, func(ctx context.Context, etcd *clientv3.Client) (*clientv3.LeaseGrantResponse, error) {
		return etcd.Grant(ctx, int64(math.Ceil(ttl.Seconds())))
	})
	if err != nil {
		return 0, fmt.Errorf("grant a lease of %v: %w", ttl, classify(err, "a login"))
	}
	return int64(response.ID), nil
}
