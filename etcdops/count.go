package etcdops

import (
	"context"
	"fmt"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Count returns how many keys there are under a prefix, linearizably. No key is sent; the server walks its index.
func (c *Client) Count(ctx context.Context, prefix string) (int64, error) {
	keeper, err := c.keeperOf(prefix)
	if err != nil {
		return 0, fmt.Errorf("count %s: %w", prefix, err)
	}
	if places := keeper.placesUnder(prefix); len(places) > 0 {
		return c.countSpread(ctx, prefix, places)
	}
	return keeper.count(ctx, prefix)
}

func (c *Client) count(ctx context.Context, prefix string) (int64, error) {
	response, err := repeated(ctx, c, func(ctx context.Context, etcd *clientv3.Client) (*clientv3.GetResponse, error) {
		return etcd.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	})
	if err != nil {
		return 0, fmt.Errorf("count %s: %w", prefix, err)
	}
	return response.Count, nil
}

const maxCountOps = 100 // in a transaction; etcd's --max-txn-ops is 128 by default

// CountEach returns how many keys there are under each prefix, linearizably. It asks for many in one transaction, and
// one by one where a server refuses that: an old one whose file is over its quota refuses every transaction.
func (c *Client) CountEach(ctx context.Context, prefixes []string) ([]int64, error) {
	counts := make([]int64, 0, len(prefixes))
	for some := range slices.Chunk(prefixes, maxCountOps) {
		together, err := c.countTogether(ctx, some)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("count %d prefixes: %w", len(prefixes), ctx.Err())
		}
		if err == nil {
			counts = append(counts, together...)
			continue
		}
		for _, prefix := range some {
			n, err := c.count(ctx, prefix)
			if err != nil {
				return nil, err
			}
			counts = append(counts, n)
		}
	}
	for i, prefix := range prefixes {
		if c.placeOf(prefix) == nil && len(c.placesUnder(prefix)) == 0 {
			continue
		}
		var err error
		if counts[i], err = c.Count(ctx, prefix); err != nil {
			return nil, err
		}
	}
	return counts, nil
}

func (c *Client) countTogether(ctx context.Context, prefixes []string) ([]int64, error) {
	var ops []clientv3.Op
	for _, prefix := range prefixes {
		ops = append(ops, clientv3.OpGet(prefix, clientv3.WithPrefix(), clientv3.WithCountOnly()))
	}
	response, err := repeated(ctx, c, func(ctx context.Context, etcd *clientv3.Client) (*clientv3.TxnResponse, error) {
		return etcd.Txn(ctx).Then(ops...).Commit()
	})
	if err != nil {
		return nil, err
	}
	counts := make([]int64, len(prefixes))
	for i, r := range response.Responses {
		counts[i] = r.GetResponseRange().Count
	}
	return counts, nil
}
