package etcdops

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Count returns how many keys there are under a prefix, linearizably. No key is sent; the server walks its index.
func (c *Client) Count(ctx context.Context, prefix string) (int64, error) {
	response, err := within(ctx, c.cfg.CommandTimeout, func(ctx context.Context) (*clientv3.GetResponse, error) {
		return c.etcd.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	})
	if err != nil {
		return 0, fmt.Errorf("count %s: %w", prefix, err)
	}
	return response.Count, nil
}
