package etcdops_test

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"etcdsweep/decode"
	"etcdsweep/etcdops"
	"etcdsweep/test/lab"
)

// spread is a registry in three etcds, of which the first one still has what the others keep now.
func spread(t *testing.T) (client *etcdops.Client, etcds []*clientv3.Client) {
	t.Helper()
	var clients []*etcdops.Client
	for i := range 3 {
		cluster := start(t, lab.Config{})
		etcd, err := cluster.Client()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { etcd.Close() })
		for _, key := range []string{"/registry/configmaps/a/x", "/registry/events/a/x", "/registry/events/a/y", "/registry/leases/a/x", "/registry/pods/a/x"} {
			if _, err := etcd.Put(t.Context(), key, fmt.Sprint("of ", i)); err != nil {
				t.Fatal(err)
			}
		}
		etcds = append(etcds, etcd)
		other, _, err := etcdops.Connect(t.Context(), credentials(cluster))
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, other)
	}
	t.Cleanup(func() {
		if err := clients[0].Close(); err != nil {
			t.Error(err)
		}
	})
	put := func(i int, key string) {
		if _, err := etcds[i].Put(t.Context(), key, fmt.Sprint("of ", i)); err != nil {
			t.Fatal(err)
		}
	}
	put(0, "/registry/events/a/stale")
	put(1, "/registry/events/b/new")
	put(2, "/registry/leases/z/new")
	clients[0].KeepElsewhere("/registry/leases/", clients[2], nil)
	clients[0].KeepElsewhere("/registry/events/", clients[1], nil)
	return clients[0], etcds
}

func keys(t *testing.T, records iter.Seq2[decode.Record, error]) (all []string) {
	t.Helper()
	for r, err := range records {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, strings.TrimPrefix(r.Key, "/registry/")+" "+string(r.Value))
	}
	return all
}

// Each key is read from the etcd that it is kept in, whichever way it is read, and what the first etcd still has of it is
// passed over.
func TestReadsWhereItIs(t *testing.T) {
	client, _ := spread(t)
	events := []string{"events/a/x of 1", "events/a/y of 1", "events/b/new of 1"}
	leases := []string{"leases/a/x of 2", "leases/z/new of 2"}
	all := slices.Concat([]string{"configmaps/a/x of 0"}, events, leases, []string{"pods/a/x of 0"})
	for prefix, want := range map[string][]string{
		"/registry/":              all,
		"/":                       all,
		"/registry/events/":       events,
		"/registry/events":        events,
		"/registry/events/b/":     events[2:],
		"/registry/leases/":       leases,
		"/registry/pods/":         all[6:],
		"/registry/events/stale/": nil,
	} {
		if got := keys(t, client.Scan(t.Context(), prefix)); !slices.Equal(got, want) {
			t.Errorf("scan %s: %q, want %q", prefix, got, want)
		}
		if got := keys(t, client.ScanWith(t.Context(), prefix, etcdops.ScanOptions{NoStream: true, PageKeys: 1})); !slices.Equal(got, want) {
			t.Errorf("pages of %s: %q, want %q", prefix, got, want)
		}
		n, err := client.Count(t.Context(), prefix)
		if err != nil || n != int64(len(want)) {
			t.Errorf("count %s: %d, %v, want %d", prefix, n, err, len(want))
		}
		each, err := client.CountEach(t.Context(), []string{"/registry/configmaps/", prefix, "/registry/leases/"})
		if err != nil || !slices.Equal(each, []int64{1, int64(len(want)), 2}) {
			t.Errorf("count of each with %s: %d, %v", prefix, each, err)
		}
	}
	if got := keys(t, client.ScanKeys(t.Context(), "/registry/events/b")); !slices.Equal(got, []string{"events/b/new "}) {
		t.Errorf("keys: %q", got)
	}

	r, err := client.Get(t.Context(), "/registry/leases/a/x")
	if err != nil || string(r.Value) != "of 2" {
		t.Errorf("get: %+v, %v", r, err)
	}
	if r, err = client.Get(t.Context(), "/registry/events/a/stale"); r != nil || err != nil {
		t.Errorf("get of what is stale: %+v, %v", r, err)
	}
	records, err := client.GetAll(t.Context(), []string{"/registry/leases/a/x", "/registry/pods/a/x", "/registry/events/a/stale", "/registry/events/a/y"})
	var got []string
	for _, r := range records {
		if r == nil {
			got = append(got, "none")
		} else {
			got = append(got, string(r.Value))
		}
	}
	if want := []string{"of 2", "of 0", "none", "of 1"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("get of all: %q, %v", got, err)
	}

	// A scan that is broken off within another etcd ends there.
	for r := range client.Scan(t.Context(), "/registry/") {
		if r.Key == "/registry/events/a/x" {
			break
		}
	}
}

// What is kept elsewhere is never written: not there, and not where it would be out of place.
func TestWritesNowhereElse(t *testing.T) {
	client, etcds := spread(t)
	var before []int64
	for _, etcd := range etcds {
		response, err := etcd.Get(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		before = append(before, response.Header.Revision)
	}
	for _, key := range []string{"/registry/events/a/x", "/registry/events/a/stale", "/registry/leases/n/n"} {
		r, err := client.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if r == nil {
			r = &decode.Record{CreateRevision: 1, ModRevision: 1}
		}
		_, _, err = client.DeleteIf(t.Context(), key, r.CreateRevision, r.ModRevision)
		refused, ok := errors.AsType[*etcdops.RefusedError](err)
		if !ok || !refused.NotDone() || refused.Temporary() || refused.Hint() == "" {
			t.Errorf("delete %s: %v", key, err)
		}
		if _, _, err = client.CreateIf(t.Context(), key, nil, 0); !errors.As(err, &refused) {
			t.Errorf("create %s: %v", key, err)
		}
	}
	for i, etcd := range etcds {
		response, err := etcd.Get(t.Context(), "a")
		if err != nil || response.Header.Revision != before[i] {
			t.Errorf("etcd %d is at revision %d, was at %d; %v", i, response.Header.Revision, before[i], err)
		}
	}
	r, err := client.Get(t.Context(), "/registry/pods/a/x")
	if err != nil {
		t.Fatal(err)
	}
	if deleted, _, err := client.DeleteIf(t.Context(), r.Key, r.CreateRevision, r.ModRevision); err != nil || deleted == 0 {
		t.Errorf("what is here is not deleted: %v", err)
	}
}

// An etcd that cannot be reached fails the reads of what it keeps, and no others. Never is the first one read in its place.
func TestElsewhereIsDown(t *testing.T) {
	client, _ := scannedClient(t)
	down := errors.New("down")
	client.KeepElsewhere(scannedPrefix, nil, down)
	if _, err := client.Get(t.Context(), scannedPrefix+"00000"); !errors.Is(err, down) {
		t.Errorf("get: %v", err)
	}
	if _, err := client.GetAll(t.Context(), []string{"/registry/pods/b/x", scannedPrefix + "00000"}); !errors.Is(err, down) {
		t.Errorf("get of all: %v", err)
	}
	for _, prefix := range []string{scannedPrefix, "/registry/"} {
		var last error
		for _, err := range client.Scan(t.Context(), prefix) {
			last = err
		}
		if !errors.Is(last, down) {
			t.Errorf("scan %s: %v", prefix, last)
		}
		if _, err := client.Count(t.Context(), prefix); !errors.Is(err, down) {
			t.Errorf("count %s: %v", prefix, err)
		}
		if _, err := client.CountEach(t.Context(), []string{"/registry/pods/b/", prefix}); !errors.Is(err, down) {
			t.Errorf("count of each with %s: %v", prefix, err)
		}
	}
	if got := keys(t, client.Scan(t.Context(), "/registry/pods/b/")); len(got) != 1 {
		t.Errorf("what is kept here: %q", got)
	}
}

func scannedClient(t *testing.T) (*etcdops.Client, *clientv3.Client) {
	t.Helper()
	cluster, etcd := scanned(t, lab.Config{}, 3, 10)
	return connect(t, credentials(cluster)), etcd
}
