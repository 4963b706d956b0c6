package etcdops

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"etcdsweep/decode"
)

const (
	maxTxnOps   = 128 // operations in a transaction that a server allows by default: embed.DefaultMaxTxnOps
	readsAtOnce = 4   // transactions of one GetAll in flight
)

// txnLimit is the most operations in a transaction that the servers are known to allow. It only goes down.
type txnLimit struct{ learned atomic.Int64 }

func (l *txnLimit) get() int {
	if n := l.learned.Load(); n > 0 {
		return int(n)
	}
	return maxTxnOps
}

// refused learns that n operations are too many, and returns the limit from now on, at least 1.
func (l *txnLimit) refused(n int) int {
	for {
		old := l.learned.Load()
		limit := min(l.get(), max(n/2, 1))
		if l.learned.CompareAndSwap(old, int64(limit)) {
			return limit
		}
	}
}

// GetAll reads many keys, linearizably. The result has the order of the keys, with nil for each that is absent.
//
// The keys are read in transactions of at most 128 gets, of fewer where a server's --max-txn-ops is lower, a few of them at
// once. So no two records need to be of the same revision. An answer is as large as the values of its keys are together:
// 128 pods are about 1 MiB, and memory is bounded by a few such answers beside the result.
//
// Each transaction has the command timeout, and is repeated within it while no member answers. Errors are those of [Client.Get].
func (c *Client) GetAll(ctx context.Context, keys []string) ([]*decode.Record, error) {
	if len(c.elsewhere) > 0 {
		return c.getAllSpread(ctx, keys)
	}
	return c.getAll(ctx, keys)
}

func (c *Client) getAll(ctx context.Context, keys []string) ([]*decode.Record, error) {
	records := make([]*decode.Record, len(keys))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readsAtOnce)
	first := 0
	for chunk := range slices.Chunk(keys, c.txnOps.get()) {
		into := records[first : first+len(chunk)]
		first += len(chunk)
		group.Go(func() error { return c.getChunk(ctx, chunk, into) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return records, nil
}

// getChunk reads some keys in one transaction, or in several if the server wants them smaller.
func (c *Client) getChunk(ctx context.Context, keys []string, into []*decode.Record) error {
	err := c.getOnce(ctx, keys, into)
	if !errors.Is(err, rpctypes.ErrTooManyOps) || len(keys) == 1 {
		return err
	}
	limit := c.txnOps.refused(len(keys))
	for start := 0; start < len(keys); start += limit {
		end := min(start+limit, len(keys))
		if err := c.getChunk(ctx, keys[start:end], into[start:end]); err != nil {
			return err
		}
	}
	return nil
}

func (c *Client) getOnce(ctx context.Context, keys []string, into []*decode.Record) error {
	gets := make([]clientv3.Op, len(keys))
	for i, key := range keys {
		gets[i] = clientv3.OpGet(key)
	}
	if err := c.hold.read(ctx, 0); err != nil {
		return err
	}
	response, err := repeated(ctx, c, func(ctx context.Context, etcd *clientv3.Client) (*clientv3.TxnResponse, error) {
		return etcd.Txn(ctx).Then(gets...).Commit()
	})
	if err != nil {
		what := keys[0]
		if len(keys) > 1 {
			what = fmt.Sprintf("%s and %d more", keys[0], len(keys)-1)
		}
		return fmt.Errorf("get %s: %w", what, classify(err, readOf(what)))
	}
	bytes := 0
	for i, r := range response.Responses {
		if kvs := r.GetResponseRange().Kvs; len(kvs) > 0 {
			record, err := c.record(ctx, kvs[0])
			if err != nil {
				return err
			}
			into[i] = &record
			bytes += len(record.Key) + len(record.Value)
		}
	}
	return c.hold.read(ctx, bytes)
}
