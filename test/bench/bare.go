package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/snapshot"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

// Arguments that make this process a counterpart of etcdsweep's.
const (
	argSweep = "sweep" // and deletes a second
	argSave  = "save"  // and the path of a snapshot

	argBatches = "batches" // and nothing: how it is not to be done
	argRange   = "range"   // likewise
)

// batch is how many deletes fit into a transaction beside what etcd allows by default, 128 operations.
const batch = 127

// standing returns the pods that there are, with their revisions.
func standing(ctx context.Context, etcd *clientv3.Client) ([]*mvccpb.KeyValue, error) {
	response, err := etcd.Get(ctx, podsPrefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return nil, err
	}
	return response.Kvs, nil
}

// deleteAll deletes each key in a transaction of its own that compares its revisions: perSecond of them, or as fast as
// they go if that is 0.
func deleteAll(ctx context.Context, etcd *clientv3.Client, keys []*mvccpb.KeyValue, perSecond float64) error {
	limit := rate.Inf
	if perSecond > 0 {
		limit = rate.Limit(perSecond)
	}
	limiter := rate.NewLimiter(limit, 1)
	group, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range concurrency {
		group.Go(func() error {
			for i := next.Add(1) - 1; i < int64(len(keys)); i = next.Add(1) - 1 {
				if err := limiter.Wait(ctx); err != nil {
					return err
				}
				if err := deleteOne(ctx, etcd, keys[i]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

func deleteOne(ctx context.Context, etcd *clientv3.Client, kv *mvccpb.KeyValue) error {
	key := string(kv.Key)
	response, err := etcd.Txn(ctx).
		If(
			clientv3.Compare(clientv3.CreateRevision(key), "=", kv.CreateRevision),
			clientv3.Compare(clientv3.ModRevision(key), "=", kv.ModRevision),
		).
		Then(clientv3.OpDelete(key)).
		Else(clientv3.OpGet(key)).
		Commit()
	if err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	if !response.Succeeded {
		return fmt.Errorf("delete %s: somebody else writes to it", key)
	}
	return nil
}

// bareSweep is the counterpart of `etcdsweep apply --rate`.
func bareSweep(ctx context.Context, perSecond string) error {
	pace, err := strconv.ParseFloat(perSecond, 64)
	if err != nil {
		return err
	}
	etcd, err := inherited().bare(ctx)
	if err != nil {
		return err
	}
	defer etcd.Close()
	keys, err := standing(ctx, etcd)
	if err != nil {
		return err
	}
	return deleteAll(ctx, etcd, keys, pace)
}

// bareSave is the counterpart of `etcdsweep snapshot save` where there is no etcdctl: the function that it calls.
func bareSave(ctx context.Context, path string) error {
	a := inherited()
	tlsConfig, err := a.tls()
	if err != nil {
		return err
	}
	_, err = snapshot.SaveWithVersion(ctx, zap.NewNop(), clientv3.Config{Endpoints: a.Endpoints, TLS: tlsConfig, Logger: zap.NewNop()}, path)
	return err
}

// bareBatches deletes the pods many at a time, each many by a transaction: they share a revision.
func bareBatches(ctx context.Context, _ string) error {
	etcd, err := inherited().bare(ctx)
	if err != nil {
		return err
	}
	defer etcd.Close()
	keys, err := standing(ctx, etcd)
	if err != nil {
		return err
	}
	for some := range slices.Chunk(keys, batch) {
		var deletes []clientv3.Op
		for _, kv := range some {
			deletes = append(deletes, clientv3.OpDelete(string(kv.Key)))
		}
		if _, err := etcd.Txn(ctx).Then(deletes...).Commit(); err != nil {
			return err
		}
	}
	return nil
}

// bareRange deletes the pods at once, as `etcdctl del --prefix` does.
func bareRange(ctx context.Context, _ string) error {
	etcd, err := inherited().bare(ctx)
	if err != nil {
		return err
	}
	defer etcd.Close()
	_, err = etcd.Delete(ctx, podsPrefix, clientv3.WithPrefix())
	return err
}
