package etcdops

import (
	"context"
	"errors"
	"fmt"
	"iter"

	clientv3 "go.etcd.io/etcd/client/v3"

	"etcdsweep/decode"
)

// WatchPuts yields every put under prefix from a revision on, as it happens, until the loop is broken off, ctx ends or the
// watch breaks: when its revision has been compacted, its member lost the leader, or requests go to another one. An error
// is yielded once, as the last pair; the end of ctx is not an error.
func (c *Client) WatchPuts(ctx context.Context, prefix string, fromRevision int64) iter.Seq2[decode.Record, error] {
	return func(yield func(decode.Record, error) bool) {
		broken := func(err error) {
			yield(decode.Record{}, fmt.Errorf("watch %s from revision %d: %w", prefix, fromRevision, err))
		}
		etcd, way, err := c.inUse(ctx)
		if err != nil {
			broken(err)
			return
		}
		outer := ctx
		ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
		defer context.AfterFunc(way.stay, cancel)()
		// Deletes are left out here. Where etcd leaves them out, by a filter, its gauge of pending events grows with each of
		// them and never falls again (server/v3 mvcc/watchable_store.go, send), and the gauge is what the pace goes by.
		responses := etcd.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(fromRevision))
		defer func() {
			cancel()
			for range responses { // until client/v3 has closed it
			}
		}()
		for response := range responses {
			if ctx.Err() != nil {
				break
			}
			if err := response.Err(); err != nil {
				broken(err)
				return
			}
			for _, event := range response.Events {
				if event.Type != clientv3.EventTypePut {
					continue
				}
				r, err := c.record(ctx, event.Kv)
				if err != nil || !yield(r, nil) {
					return
				}
			}
		}
		switch {
		case outer.Err() != nil:
		case way.stay.Err() != nil:
			broken(context.Cause(way.stay))
		default:
			broken(errors.New("closed by etcd"))
		}
	}
}
