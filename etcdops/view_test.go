package etcdops_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"etcdsweep/decode"
	"etcdsweep/etcdops/snapshot"
	"etcdsweep/test/fixtures"
	"etcdsweep/test/lab"
	"etcdsweep/test/lab/labtest"
)

func openView(t *testing.T, path string, revision int64) *snapshot.View {
	t.Helper()
	view, err := snapshot.OpenView(t.Context(), path, snapshot.ViewOptions{Revision: revision})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := view.Close(); err != nil {
			t.Error(err)
		}
	})
	return view
}

// viewed reads all of a view under a prefix.
func viewed(t *testing.T, view *snapshot.View, prefix string) []decode.Record {
	t.Helper()
	var all []decode.Record
	for record, err := range view.Scan(t.Context(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, record)
	}
	return all
}

// What a view of a real snapshot tells is what a cluster tells that was restored from it.
func TestViewIsTheCluster(t *testing.T) {
	for _, name := range []fixtures.Name{fixtures.Incident, fixtures.Zoo} {
		t.Run(string(name), func(t *testing.T) {
			path, err := fixtures.Unpack(name, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			client := connect(t, credentials(start(t, lab.Config{Snapshot: path, NoFsync: true})))
			view := openView(t, path, 0)
			if view.Origin().Member() {
				t.Error("a snapshot is taken for a member's file")
			}
			rest := viewed(t, view, "/registry/")
			var prefixes []string
			for want, err := range client.Scan(t.Context(), "/registry/") {
				if err != nil {
					t.Fatal(err)
				}
				for len(rest) > 0 && rest[0].Key < want.Key && rest[0].Lease != 0 {
					rest = rest[1:] // its lease has expired in the cluster meanwhile
				}
				if len(rest) == 0 || !reflect.DeepEqual(rest[0], want) {
					t.Fatalf("%s is not the next record of the view, or not the same", want.Key)
				}
				if prefix := filepath.Dir(want.Key) + "/"; !slices.Contains(prefixes, prefix) && !strings.Contains(prefix, "leases/") {
					prefixes = append(prefixes, prefix)
				}
				rest = rest[1:]
			}
			rest = slices.DeleteFunc(rest, func(r decode.Record) bool { return r.Lease != 0 })
			if len(rest) > 0 {
				t.Errorf("%d records of the view are not in the cluster, such as %s", len(rest), rest[0].Key)
			}
			sameCounts(t, client.CountEach, view.CountEach, prefixes)
			for _, key := range []string{"/registry/namespaces/kube-system", "/registry/namespaces/kube-syste", "/registry/pods", "compact_rev_key", "zzz"} {
				want, err := client.Get(t.Context(), key)
				got, viewErr := view.Get(t.Context(), key)
				if err != nil || viewErr != nil || !reflect.DeepEqual(got, want) {
					t.Errorf("%s: %v, %v; want %v, %v", key, got, viewErr, want, err)
				}
			}
		})
	}
}

func sameCounts(t *testing.T, cluster, view func(context.Context, []string) ([]int64, error), prefixes []string) {
	t.Helper()
	want, err := cluster(t.Context(), prefixes)
	got, viewErr := view(t.Context(), prefixes)
	if err != nil || viewErr != nil || !slices.Equal(got, want) {
		t.Errorf("counts of %v: %d, %v; want %d, %v", prefixes, got, viewErr, want, err)
	}
}

// history writes to a few keys again and again: puts, deletes, ranges of deletes, transactions of several, and a compaction in
// the middle, the revision of which it returns.
func history(t *testing.T, etcd *clientv3.Client, steps int) (compacted int64) {
	t.Helper()
	random := rand.New(rand.NewPCG(5, 8))
	key := func() string { return fmt.Sprintf("/k/%02d", random.IntN(20)) }
	for step := range steps {
		var response *clientv3.TxnResponse
		var err error
		ops := []clientv3.Op{clientv3.OpPut(key(), fmt.Sprint(step))}
		switch random.IntN(6) {
		case 0:
			ops = []clientv3.Op{clientv3.OpDelete(key())}
		case 1:
			ops = []clientv3.Op{clientv3.OpDelete("/k/0", clientv3.WithPrefix())}
		case 2:
			ops = []clientv3.Op{clientv3.OpPut("/k/a", "a"), clientv3.OpDelete("/k/1", clientv3.WithPrefix()), clientv3.OpPut("/k/b", "b")}
		}
		if response, err = etcd.Txn(t.Context()).Then(ops...).Commit(); err != nil {
			t.Fatal(err)
		}
		if step == steps/2 {
			compacted = response.Header.Revision
			if _, err := etcd.Compact(t.Context(), compacted, clientv3.WithCompactPhysical()); err != nil {
				t.Fatal(err)
			}
		}
	}
	return compacted
}

// At every revision that a cluster can be read at, a view of its snapshot tells the same; at others both refuse.
func TestEveryRevision(t *testing.T) {
	for server, binary := range labtest.Servers(t) {
		t.Run(server, func(t *testing.T) {
			cluster := start(t, lab.Config{Binary: binary, NoFsync: true})
			etcd, err := cluster.Client()
			if err != nil {
				t.Fatal(err)
			}
			defer etcd.Close()
			compacted := history(t, etcd, 200)
			path := filepath.Join(t.TempDir(), "s.db")
			stream, err := etcd.Snapshot(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := snapshot.Save(t.Context(), stream, path, snapshot.Options{}); err != nil {
				t.Fatal(err)
			}
			newest := openView(t, path, 0).Origin().Newest
			for revision := compacted - 3; revision <= newest+2; revision++ {
				want, err := etcd.Get(t.Context(), "/k/", clientv3.WithPrefix(), clientv3.WithRev(revision))
				if errors.Is(err, rpctypes.ErrCompacted) || errors.Is(err, rpctypes.ErrFutureRev) {
					_, err := snapshot.OpenView(t.Context(), path, snapshot.ViewOptions{Revision: revision})
					if refused, ok := errors.AsType[*snapshot.RevisionError](err); !ok || refused.Oldest != compacted || refused.Newest != newest {
						t.Errorf("revision %d: %v, want a refusal of what is not in %d to %d", revision, err, compacted, newest)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				view := openView(t, path, revision)
				if got := viewed(t, view, "/k/"); !reflect.DeepEqual(got, records(want.Kvs)) {
					t.Errorf("revision %d: %d keys, want %d, or they differ", revision, len(got), len(want.Kvs))
				}
				if at, err := view.Revision(t.Context(), ""); err != nil || at != revision {
					t.Errorf("revision %d, %v; want %d", at, err, revision)
				}
			}
		})
	}
}

func records(kvs []*mvccpb.KeyValue) (all []decode.Record) {
	for _, kv := range kvs {
		all = append(all, decode.Record{
			Key: string(kv.Key), Value: kv.Value, CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision, Version: kv.Version, Lease: kv.Lease,
		})
	}
	return all
}

// The file of a running member is locked. Once the member has stopped it can be read as it is.
func TestMemberFile(t *testing.T) {
	for server, binary := range labtest.Servers(t) {
		t.Run(server, func(t *testing.T) {
			cluster := start(t, lab.Config{Binary: binary})
			etcd, err := cluster.Client()
			if err != nil {
				t.Fatal(err)
			}
			defer etcd.Close()
			history(t, etcd, 50)
			want, err := etcd.Get(t.Context(), "/k/", clientv3.WithPrefix())
			if err != nil {
				t.Fatal(err)
			}
			files, err := filepath.Glob(filepath.Join(filepath.Dir(filepath.Dir(cluster.Cert)), "*", "*", "member", "snap", "db"))
			if err != nil || len(files) != 1 {
				t.Fatalf("database files: %v, %v", files, err)
			}
			_, err = snapshot.OpenView(t.Context(), files[0], snapshot.ViewOptions{})
			if locked, ok := errors.AsType[*snapshot.LockedError](err); !ok || !strings.Contains(locked.Hint(), "write-ahead log") {
				t.Fatalf("%v, want a *LockedError that says what is not in the file", err)
			}
			if err := cluster.StopMember(0); err != nil {
				t.Fatal(err)
			}
			before, err := os.ReadFile(files[0])
			if err != nil {
				t.Fatal(err)
			}
			view := openView(t, files[0], 0)
			if !view.Origin().Member() {
				t.Error("a member's file is taken for a snapshot")
			}
			if got := viewed(t, view, "/k/"); !reflect.DeepEqual(got, records(want.Kvs)) {
				t.Errorf("%d keys, want %d, or they differ", len(got), len(want.Kvs))
			}
			if after, err := os.ReadFile(files[0]); err != nil || !slices.Equal(before, after) {
				t.Errorf("reading has changed the file, %v", err)
			}
		})
	}
}
