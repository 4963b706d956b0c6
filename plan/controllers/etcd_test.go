package controllers_test

import (
	"context"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"etcdsweep/etcdops"
	"etcdsweep/plan/controllers"
	"etcdsweep/test/lab"
	"etcdsweep/test/lab/labtest"
)

// A leader that writes to a real etcd is seen to live, to stop, and to be another one afterwards.
func TestWatchOnEtcd(t *testing.T) {
	for server, binary := range labtest.Servers(t) {
		t.Run(server, func(t *testing.T) {
			labtest.NoLeaks(t)
			cluster, err := lab.Start(t.Context(), lab.Config{Dir: t.TempDir(), Binary: binary, PlainText: true, NoFsync: true})
			if err != nil {
				t.Fatal(err)
			}
			defer cluster.Close()
			etcd, err := cluster.Client()
			if err != nil {
				t.Fatal(err)
			}
			defer etcd.Close()
			client, _, err := etcdops.Connect(t.Context(), etcdops.Config{Endpoints: cluster.Endpoints()})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()

			ctx, cancel := context.WithCancel(t.Context())
			w := controllers.Start(ctx, client, prefix, 20*time.Millisecond, time.Now)
			defer w.Wait()
			defer cancel()

			const still = 500 * time.Millisecond
			if sight, err := w.Await(t.Context(), still); err != nil || sight.Found || sight.Moving {
				t.Fatalf("before anything: %+v, %v", sight, err)
			}
			stop := lead(t, etcd, "master1_a")
			sight, err := w.Await(t.Context(), time.Minute)
			if err != nil || !sight.Moving || sight.Holder != "master1_a" || sight.Key != leaseKey {
				t.Fatalf("while it leads: %+v, %v", sight, err)
			}
			stop()
			if sight, err = w.AwaitStill(t.Context(), still, nil); err != nil || sight.Moving || !sight.Found {
				t.Fatalf("when it has stopped: %+v, %v", sight, err)
			}
			defer lead(t, etcd, "master2_b")()
			if sight, err = w.AwaitMove(t.Context(), nil); err != nil || sight.Holders[len(sight.Holders)-1] != "master2_b" {
				t.Fatalf("when another leads: %+v, %v", sight, err)
			}
		})
	}
}

// lead writes the lease as a leader does, only more often, until the function that it returns has returned.
func lead(t *testing.T, etcd *clientv3.Client, holder string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		ticker := time.NewTicker(30 * time.Millisecond)
		defer ticker.Stop()
		for ctx.Err() == nil {
			if _, err := etcd.Put(ctx, leaseKey, string(lease(holder))); err != nil && ctx.Err() == nil {
				t.Error(err)
				return
			}
			select {
			case <-ticker.C:
			case <-ctx.Done():
			}
		}
	})
	return func() {
		cancel()
		group.Wait()
	}
}
