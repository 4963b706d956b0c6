package etcdops

import (
	"context"
	"fmt"
	"iter"

	clientv3 "go.etcd.io/etcd/client/v3"

	"etcdsweep/decode"
)

// WatchPuts yields every put under prefix from a revision on, as it happens, until the loop is broken off, ctx ends or
// the watch breaks: when its revision has been compacted, or its member lost the leader. An error is yielded once, as
// the last pair; the end of ctx is not an error.
func (c *Client) WatchPuts(ctx context.Context, prefix string, fromRevision int64) iter.Seq2[decode.Record, error] {
	return func(yield func(decode.Record, error) bool) {
		ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
		responses := c.etcd.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(fromRevision), clientv3.WithFilterDelete())
		defer func() {
			cancel()
			for range responses { // until client/v3 has closed it
			}
		}()
		for response := range responses {
			if ctx.Err() != nil {
				return
			}
			if err := response.Err(); err != nil {
				yield(decode.Record{}, fmt.Errorf("watch %s from revision %d: %w", prefix, fromRevision, err))
				return
			}
			for _, event := range response.Events {
				if !yield(record(event.Kv), nil) {
					return
				}
			}
		}
		if ctx.Err() == nil {
			yield(decode.Record{}, fmt.Errorf("watch %s from revision %d: closed by etcd", prefix, fromRevision))
		}
	}
}
