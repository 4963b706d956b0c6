package etcdops_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"etcdsweep/decode"
	"etcdsweep/etcdops"
	"etcdsweep/test/lab"
	"etcdsweep/test/lab/labtest"
)

const scannedPrefix = "/registry/pods/a/"

// scanned is a cluster with keys to scan, and neighbours of them on both sides.
func scanned(t *testing.T, config lab.Config, keys, valueBytes int) (*lab.Cluster, *clientv3.Client) {
	t.Helper()
	cluster := start(t, config)
	etcd, err := cluster.Client()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { etcd.Close() })
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(64)
	put := func(key, value string) {
		group.Go(func() error { _, err := etcd.Put(ctx, key, value); return err })
	}
	for _, key := range []string{"/registry/pods/a", "/registry/pods/a-2/x", "/registry/pods/b/x"} {
		put(key, "neighbour")
	}
	for i := range keys {
		put(fmt.Sprintf("%s%05d", scannedPrefix, i), strings.Repeat(string(rune('a'+i%26)), valueBytes))
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	return cluster, etcd
}

// collect reads a scan to its end.
func collect(t *testing.T, client *etcdops.Client, opts etcdops.ScanOptions) []decode.Record {
	t.Helper()
	var all []decode.Record
	for record, err := range client.ScanWith(t.Context(), scannedPrefix, opts) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, record)
	}
	return all
}

// However it is read, and from whichever server, a scan yields each key once, as it is, in order.
func TestScanReadsAll(t *testing.T) {
	for server, binary := range labtest.Servers(t) {
		t.Run(server, func(t *testing.T) {
			config := lab.Config{Binary: binary}
			cluster, etcd := scanned(t, config, 1500, 100)
			want, err := etcd.Get(t.Context(), scannedPrefix, clientv3.WithPrefix())
			if err != nil {
				t.Fatal(err)
			}
			for name, opts := range map[string]etcdops.ScanOptions{
				"as the server has it": {},
				"pages":                {NoStream: true},
				"small pages":          {NoStream: true, PageKeys: 7},
				"pages of few bytes":   {NoStream: true, PageBytes: 3000},
				"keys only":            {KeysOnly: true},
				"pages of keys only":   {KeysOnly: true, NoStream: true, PageKeys: 100},
				"windows":              {NoStream: true, PageKeys: 7, WindowAbove: 1},
				"windows, and the end": {NoStream: true, PageKeys: 10, WindowAbove: 700},
				"windows of one key":   {NoStream: true, PageKeys: 1, WindowAbove: 1450},
			} {
				t.Run(name, func(t *testing.T) {
					labtest.NoLeaks(t)
					client := connect(t, credentials(cluster))
					for pass := range 2 { // the second one knows which endpoints have no streams
						got := collect(t, client, opts)
						if len(got) != len(want.Kvs) {
							t.Fatalf("pass %d: %d records, want %d", pass, len(got), len(want.Kvs))
						}
						for i, kv := range want.Kvs {
							value := string(kv.Value)
							if opts.KeysOnly {
								value = ""
							}
							if got[i].Key != string(kv.Key) || string(got[i].Value) != value || got[i].CreateRevision != kv.CreateRevision || got[i].ModRevision != kv.ModRevision || got[i].Version != kv.Version {
								t.Fatalf("pass %d: %d: got %+v, want %v", pass, i, got[i], kv)
							}
						}
					}
				})
			}
		})
	}
}

// A count is that of the keys under a prefix, neighbours left out.
func TestCount(t *testing.T) {
	for server, binary := range labtest.Servers(t) {
		t.Run(server, func(t *testing.T) {
			cluster, _ := scanned(t, lab.Config{Binary: binary, NoFsync: true}, 30, 10)
			client := connect(t, credentials(cluster))
			for prefix, want := range map[string]int64{scannedPrefix: 30, "/registry/pods/": 33, "/registry/jobs/": 0} {
				if got, err := client.Count(t.Context(), prefix); err != nil || got != want {
					t.Errorf("%s: %d keys, %v; want %d", prefix, got, err, want)
				}
			}
			// Many at once: more than fit into one transaction.
			many := slices.Concat(slices.Repeat([]string{"/registry/jobs/", scannedPrefix}, 120), []string{"/registry/pods/"})
			counts, err := client.CountEach(t.Context(), many)
			want := append(slices.Repeat([]int64{0, 30}, 120), 33)
			if err != nil || !slices.Equal(counts, want) {
				t.Errorf("%d, %v; want %d", counts, err, want)
			}
		})
	}
}

// A server that refuses the transaction is asked one by one.
func TestCountOneByOne(t *testing.T) {
	for server, binary := range labtest.Servers(t) {
		if binary == "" {
			continue // takes no flags
		}
		t.Run(server, func(t *testing.T) {
			cluster, _ := scanned(t, lab.Config{Binary: binary, Args: []string{"--max-txn-ops=2"}}, 30, 10)
			client := connect(t, credentials(cluster))
			counts, err := client.CountEach(t.Context(), []string{"/registry/jobs/", scannedPrefix, "/registry/pods/"})
			if err != nil || !slices.Equal(counts, []int64{0, 30, 33}) {
				t.Errorf("%d, %v", counts, err)
			}
		})
	}
}

func TestScanOfNothing(t *testing.T) {
	cluster, _ := scanned(t, lab.Config{}, 0, 0)
	client := connect(t, credentials(cluster))
	if got := collect(t, client, etcdops.ScanOptions{}); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

// A compaction in the middle of a scan does not end it and does not make it start over: it goes on behind its last key.
func TestScanOutlivesCompaction(t *testing.T) {
	for name, opts := range map[string]etcdops.ScanOptions{
		"stream": {},
		"pages":  {NoStream: true, PageKeys: 100},
	} {
		t.Run(name, func(t *testing.T) {
			const keys = 3000
			cluster, etcd := scanned(t, lab.Config{}, keys, 10_000) // more than any buffer on the way holds
			client := connect(t, credentials(cluster))
			var seen int
			var last string
			var drift, newest int64
			for record, err := range client.ScanWith(t.Context(), scannedPrefix, opts) {
				if err != nil {
					t.Fatal(err)
				}
				if record.Key <= last {
					t.Fatalf("%s after %s", record.Key, last)
				}
				last, newest = record.Key, max(newest, record.ModRevision)
				if seen++; seen != 150 {
					continue
				}
				put, err := etcd.Put(t.Context(), fmt.Sprintf("%s%05d", scannedPrefix, keys-1), "drifted")
				if err != nil {
					t.Fatal(err)
				}
				drift = put.Header.Revision
				if _, err := etcd.Compact(t.Context(), drift); err != nil {
					t.Fatal(err)
				}
			}
			if seen != keys {
				t.Errorf("%d keys, want %d", seen, keys)
			}
			if newest != drift {
				t.Errorf("the newest revision read is %d, want %d: the scan did not go on at a new one", newest, drift)
			}
		})
	}
}

// Whoever stops a scan gets everything back: no goroutine stays behind.
func TestScanEndsEarly(t *testing.T) {
	cluster, _ := scanned(t, lab.Config{}, 3000, 10_000)
	for name, opts := range map[string]etcdops.ScanOptions{"stream": {}, "pages": {NoStream: true, PageKeys: 10}} {
		t.Run(name+", broken off", func(t *testing.T) {
			labtest.NoLeaks(t)
			client := connect(t, credentials(cluster))
			seen := 0
			for _, err := range client.ScanWith(t.Context(), scannedPrefix, opts) {
				if err != nil {
					t.Fatal(err)
				}
				if seen++; seen == 3 {
					break
				}
			}
		})
		t.Run(name+", cancelled", func(t *testing.T) {
			labtest.NoLeaks(t)
			client := connect(t, credentials(cluster))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var last error
			seen := 0
			for _, err := range client.ScanWith(ctx, scannedPrefix, opts) {
				last = err
				if seen++; seen == 3 {
					cancel()
				}
			}
			if !errors.Is(last, context.Canceled) {
				t.Errorf("%v after %d records, want context.Canceled", last, seen)
			}
		})
	}
}

// A scan whose endpoint dies goes on at another one.
func TestScanMovesToAnotherEndpoint(t *testing.T) {
	cluster, _ := scanned(t, lab.Config{Members: 3}, 3000, 10_000)
	client := connect(t, credentials(cluster))
	first := slices.Index(cluster.Endpoints(), client.Endpoints()[0]) // where the scan begins
	seen := 0
	for record, err := range client.ScanWith(t.Context(), scannedPrefix, etcdops.ScanOptions{NoStream: true, PageKeys: 100}) {
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("%s%05d", scannedPrefix, seen); record.Key != want {
			t.Fatalf("%s, want %s", record.Key, want)
		}
		if seen++; seen == 150 {
			if err := cluster.KillMember(first); err != nil {
				t.Fatal(err)
			}
		}
	}
	if seen != 3000 {
		t.Errorf("%d keys, want 3000", seen)
	}
}

// A scan whose cluster is gone asks before each round whether it may read: whoever holds it up until the cluster is back has lost
// nothing.
func TestScanIsHeldUpInAnOutage(t *testing.T) {
	cluster, _ := scanned(t, lab.Config{NoFsync: true}, 600, 10_000)
	cfg := credentials(cluster)
	cfg.CommandTimeout /= 5
	client := connect(t, cfg)
	var down atomic.Bool
	client.HoldReads(func(ctx context.Context, bytes int) error {
		if bytes > 0 || !down.CompareAndSwap(true, false) {
			return nil
		}
		return cluster.StartMember(ctx, 0)
	})
	seen, struck := 0, false
	for record, err := range client.ScanWith(t.Context(), scannedPrefix, etcdops.ScanOptions{NoStream: true, PageKeys: 100}) {
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("%s%05d", scannedPrefix, seen); record.Key != want {
			t.Fatalf("%s, want %s", record.Key, want)
		}
		if seen++; seen == 150 {
			if err := cluster.KillMember(0); err != nil {
				t.Fatal(err)
			}
			struck = true
			down.Store(true)
		}
	}
	if seen != 600 || !struck || down.Load() {
		t.Errorf("%d keys, want 600; held up: %v", seen, !down.Load())
	}
}

// When no endpoint answers, the error says of each how far the scan had come there.
func TestScanWithoutEndpoints(t *testing.T) {
	cluster, _ := scanned(t, lab.Config{}, 3000, 10_000)
	cfg := credentials(cluster)
	cfg.CommandTimeout /= 10
	client := connect(t, cfg)
	seen := 0
	var last error
	for _, err := range client.ScanWith(t.Context(), scannedPrefix, etcdops.ScanOptions{NoStream: true, PageKeys: 100}) {
		last = err
		if seen++; seen == 150 {
			if err := cluster.KillMember(0); err != nil {
				t.Fatal(err)
			}
		}
	}
	if last == nil || !strings.Contains(last.Error(), cluster.Endpoints()[0]) || !strings.Contains(last.Error(), "scan "+scannedPrefix) {
		t.Errorf("%v, want an error that names the prefix and the endpoint", last)
	}
}

func TestDeleteIf(t *testing.T) {
	for server, binary := range labtest.Servers(t) {
		t.Run(server, func(t *testing.T) {
			config := lab.Config{Binary: binary}
			cluster, etcd := scanned(t, config, 2, 10)
			client := connect(t, credentials(cluster))
			key := scannedPrefix + "00000"
			before, err := client.Get(t.Context(), key)
			if err != nil || before == nil {
				t.Fatal(before, err)
			}
			put, err := etcd.Put(t.Context(), key, "drifted")
			if err != nil {
				t.Fatal(err)
			}

			at, current, err := client.DeleteIf(t.Context(), key, before.CreateRevision, before.ModRevision)
			if at != 0 || current == nil || string(current.Value) != "drifted" || current.ModRevision != put.Header.Revision || err != nil {
				t.Fatalf("drifted: deleted at %d, current %+v, %v", at, current, err)
			}
			at, current, err = client.DeleteIf(t.Context(), key, current.CreateRevision+1, current.ModRevision)
			if at != 0 || current == nil || err != nil {
				t.Fatalf("made again: deleted at %d, current %+v, %v", at, current, err)
			}
			at, current, err = client.DeleteIf(t.Context(), key, current.CreateRevision, current.ModRevision)
			if at != put.Header.Revision+1 || current != nil || err != nil {
				t.Fatalf("as it is: deleted at %d, current %+v, %v", at, current, err)
			}
			at, current, err = client.DeleteIf(t.Context(), key, before.CreateRevision, put.Header.Revision)
			if at != 0 || current != nil || err != nil {
				t.Fatalf("gone: deleted at %d, current %+v, %v", at, current, err)
			}
			if gone, err := client.Get(t.Context(), key); gone != nil || err != nil {
				t.Errorf("%+v, %v", gone, err)
			}
			if neighbour, err := client.Get(t.Context(), scannedPrefix+"00001"); neighbour == nil || err != nil {
				t.Errorf("the neighbour: %+v, %v", neighbour, err)
			}
		})
	}
}

func TestWatchPuts(t *testing.T) {
	cluster, etcd := scanned(t, lab.Config{}, 5, 10)
	client := connect(t, credentials(cluster))
	from, err := client.Revision(t.Context(), scannedPrefix)
	if err != nil {
		t.Fatal(err)
	}
	write := func(key string) {
		t.Helper()
		if _, err := etcd.Put(t.Context(), key, "new"); err != nil {
			t.Fatal(err)
		}
	}
	write(scannedPrefix + "new-1")
	if _, err := etcd.Delete(t.Context(), scannedPrefix+"00001"); err != nil {
		t.Fatal(err)
	}
	write("/registry/pods/a-2/x") // a neighbour
	write(scannedPrefix + "new-2")

	var got []string
	for record, err := range client.WatchPuts(t.Context(), scannedPrefix, from+1) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, strings.TrimPrefix(record.Key, scannedPrefix)); len(got) == 2 {
			write(scannedPrefix + "new-3")
		}
		if len(got) == 3 {
			break
		}
	}
	if want := []string{"new-1", "new-2", "new-3"}; !slices.Equal(got, want) {
		t.Errorf("puts of %v, want %v", got, want)
	}

	newest, err := client.Revision(t.Context(), scannedPrefix)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := etcd.Compact(t.Context(), newest); err != nil {
		t.Fatal(err)
	}
	var last error
	for _, err := range client.WatchPuts(t.Context(), scannedPrefix, from+1) {
		last = err
	}
	if last == nil || !strings.Contains(last.Error(), "compacted") {
		t.Errorf("a watch from a compacted revision: %v", last)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range client.WatchPuts(ctx, scannedPrefix, newest+1) {
		t.Errorf("after the end of its context: %v", err)
	}
}
