package etcdops_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"etcdsweep/etcdops"
	"etcdsweep/test/lab"
	"etcdsweep/test/lab/labtest"
)

// GetAll answers in the order that it was asked in, with nil for what is absent, however many there are and however often a
// key is asked for.
func TestGetAll(t *testing.T) {
	for server, binary := range labtest.Servers(t) {
		t.Run(server, func(t *testing.T) {
			cluster, _ := scanned(t, lab.Config{Binary: binary}, 700, 100)
			checkGetAll(t, cluster)
		})
	}
}

// A server that allows fewer operations in a transaction gets smaller ones.
func TestGetAllFewOperations(t *testing.T) {
	for server, binary := range labtest.Servers(t) {
		if binary == "" {
			continue // the library in the lab takes no flags
		}
		t.Run(server, func(t *testing.T) {
			for _, most := range []string{"100", "7", "1"} {
				cluster, _ := scanned(t, lab.Config{Binary: binary, Args: []string{"--max-txn-ops", most}}, 700, 10)
				checkGetAll(t, cluster)
			}
		})
	}
}

func checkGetAll(t *testing.T, cluster *lab.Cluster) {
	t.Helper()
	labtest.NoLeaks(t)
	client := connect(t, credentials(cluster))
	var all []string
	for i := range 700 {
		all = append(all, fmt.Sprintf("%s%05d", scannedPrefix, i))
	}
	slices.Reverse(all)
	withAbsent := slices.Concat([]string{"/absent"}, all[:200], []string{all[0], "/absent"}, all[100:])
	for name, keys := range map[string][]string{"none": nil, "one": all[:1], "absent": {"/absent"}, "a transaction": all[:128], "all": all, "with absent ones": withAbsent} {
		records, err := client.GetAll(t.Context(), keys)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(records) != len(keys) {
			t.Fatalf("%s: %d records for %d keys", name, len(records), len(keys))
		}
		for i, key := range keys {
			want, err := client.Get(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			got := records[i]
			if (got == nil) != (want == nil) || got != nil && (got.Key != key || string(got.Value) != string(want.Value) || got.ModRevision != want.ModRevision) {
				t.Fatalf("%s: %s: got %+v, want %+v", name, key, got, want)
			}
		}
	}
}

func TestGetAllEndsWithItsContext(t *testing.T) {
	cluster, _ := scanned(t, lab.Config{}, 1, 1)
	client := connect(t, credentials(cluster))
	if err := cluster.KillMember(0); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := client.GetAll(ctx, []string{"a", "b"}); err == nil || !etcdops.NoAnswer(err) {
		t.Errorf("error %v, want one that says that there was no answer", err)
	}
}

func TestCreateIf(t *testing.T) {
	for server, binary := range labtest.Servers(t) {
		t.Run(server, func(t *testing.T) {
			labtest.NoLeaks(t)
			cluster := start(t, lab.Config{Binary: binary})
			client := connect(t, credentials(cluster))
			ctx := t.Context()
			const key = "/registry/pods/a/x"
			value := []byte("k8s\x00\xff\x00value")

			createdAt, current, err := client.CreateIf(ctx, key, value, 0)
			if err != nil || createdAt == 0 || current != nil {
				t.Fatalf("created at %d, current %v, error %v", createdAt, current, err)
			}
			got, err := client.Get(ctx, key)
			if err != nil || string(got.Value) != string(value) || got.CreateRevision != createdAt || got.ModRevision != createdAt || got.Lease != 0 {
				t.Errorf("got %+v, %v, want created at %d", got, err, createdAt)
			}

			again, current, err := client.CreateIf(ctx, key, []byte("other"), 0)
			if err != nil || again != 0 || current == nil || string(current.Value) != string(value) || current.ModRevision != createdAt {
				t.Errorf("second: created at %d, current %+v, error %v", again, current, err)
			}

			if _, _, err := client.DeleteIf(ctx, key, createdAt, createdAt); err != nil {
				t.Fatal(err)
			}
			lease, err := client.GrantLease(ctx, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			if createdAt, _, err = client.CreateIf(ctx, key, value, lease); err != nil || createdAt == 0 {
				t.Fatalf("with a lease: %d, %v", createdAt, err)
			}
			if got, err = client.Get(ctx, key); err != nil || got.Lease != lease {
				t.Errorf("got %+v, %v, want lease %x", got, err, lease)
			}
		})
	}
}

// A key is not made without the lease that it should have, and the error says so for certain.
func TestCreateIfLeaseGone(t *testing.T) {
	for server, binary := range labtest.Servers(t) {
		t.Run(server, func(t *testing.T) {
			cluster := start(t, lab.Config{Binary: binary})
			client := connect(t, credentials(cluster))
			_, _, err := client.CreateIf(t.Context(), "/registry/events/a/x", []byte("v"), 12345)
			var refused *etcdops.RefusedError
			if !errors.As(err, &refused) || !errors.Is(err, rpctypes.ErrLeaseNotFound) || refused.Temporary() {
				t.Errorf("error %v, want a refusal for the lease", err)
			}
			if got, err := client.Get(t.Context(), "/registry/events/a/x"); err != nil || got != nil {
				t.Errorf("got %+v, %v, want nothing", got, err)
			}
		})
	}
}

func TestCreateIfTooLarge(t *testing.T) {
	for server, binary := range labtest.Servers(t) {
		t.Run(server, func(t *testing.T) {
			cluster := start(t, lab.Config{Binary: binary})
			client := connect(t, credentials(cluster))
			for _, bytes := range []int{1600 << 10, 3 << 20, 17 << 20} { // refused by etcd, by its gRPC, and by ours
				_, _, err := client.CreateIf(t.Context(), "/registry/pods/a/x", make([]byte, bytes), 0)
				var refused *etcdops.RefusedError
				if !errors.As(err, &refused) || refused.Temporary() || !strings.Contains(refused.Hint(), "max-request-bytes") {
					t.Errorf("%d bytes: error %v, want a refusal for the size", bytes, err)
				}
			}
		})
	}
}

func TestLeases(t *testing.T) {
	for server, binary := range labtest.Servers(t) {
		t.Run(server, func(t *testing.T) {
			labtest.NoLeaks(t)
			cluster := start(t, lab.Config{Binary: binary})
			client := connect(t, credentials(cluster))
			etcd, err := cluster.Client()
			if err != nil {
				t.Fatal(err)
			}
			defer etcd.Close()
			ctx := t.Context()
			id, err := client.GrantLease(ctx, 99*time.Second+time.Millisecond)
			if err != nil || id == 0 {
				t.Fatalf("lease %x, error %v", id, err)
			}
			if left, found, err := client.LeaseLeft(ctx, id); err != nil || !found || left > 100*time.Second || left < 60*time.Second {
				t.Errorf("left %v, found %t, error %v, want about 100s", left, found, err)
			}
			if _, err := etcd.Revoke(ctx, clientv3.LeaseID(id)); err != nil {
				t.Fatal(err)
			}
			for _, gone := range []int64{id, 12345, 0} {
				if left, found, err := client.LeaseLeft(ctx, gone); err != nil || found || left != 0 {
					t.Errorf("lease %x: left %v, found %t, error %v, want none", gone, left, found, err)
				}
			}
			for _, ttl := range []time.Duration{0, -time.Second} {
				if _, err := client.GrantLease(ctx, ttl); err == nil {
					t.Errorf("a lease of %v is granted", ttl)
				}
			}
			var refused *etcdops.RefusedError
			if _, err := client.GrantLease(ctx, 290*365*24*time.Hour); !errors.As(err, &refused) {
				t.Errorf("a lease of 290 years: %v, want a refusal", err)
			}
		})
	}
}

// A user who may only read is told so at once, for certain, and with the permission that is missing.
func TestDeleteWithoutPermission(t *testing.T) {
	for server, binary := range labtest.Servers(t) {
		t.Run(server, func(t *testing.T) {
			cluster := start(t, lab.Config{Binary: binary, PlainText: true})
			root := etcdops.Config{Endpoints: cluster.Endpoints(), Username: "root", Password: "root"}
			reader := etcdops.Config{Endpoints: cluster.Endpoints(), Username: "reader", Password: "reader"}
			const key = "/registry/pods/a/x"
			enableAuth(t, cluster, "/registry/")
			asRoot, client := connect(t, root), connect(t, reader)
			createdAt, _, err := asRoot.CreateIf(t.Context(), key, []byte("v"), 0)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := client.Get(t.Context(), key); err != nil || got == nil {
				t.Fatalf("reader reads %v, %v", got, err)
			}

			begun := time.Now()
			_, _, err = client.DeleteIf(t.Context(), key, createdAt, createdAt)
			checkDenied(t, err, "write and read permission on "+key)
			_, _, err = client.CreateIf(t.Context(), key+"2", []byte("v"), 0)
			checkDenied(t, err, "write and read permission on "+key+"2")
			_, err = client.Get(t.Context(), "/secret")
			checkDenied(t, err, "read permission on /secret")
			_, err = client.GetAll(t.Context(), []string{key, "/secret"})
			checkDenied(t, err, "read permission on "+key+" and 1 more")
			for _, opts := range []etcdops.ScanOptions{{}, {NoStream: true}} {
				for _, scanErr := range client.ScanWith(t.Context(), "/secrets/", opts) {
					err = scanErr
				}
				checkDenied(t, err, "read permission on the prefix /secrets/")
			}
			if took := time.Since(begun); took > 3*time.Second {
				t.Errorf("the refusals took %v", took)
			}
			if got, err := asRoot.Get(t.Context(), key); err != nil || got == nil {
				t.Errorf("after it all the key is %v, %v", got, err)
			}
		})
	}
}

func checkDenied(t *testing.T, err error, permission string) {
	t.Helper()
	var refused *etcdops.RefusedError
	if !errors.As(err, &refused) || !errors.Is(err, rpctypes.ErrPermissionDenied) {
		t.Errorf("error %v, want a denial", err)
		return
	}
	if refused.Temporary() || !strings.Contains(refused.Hint(), permission) {
		t.Errorf("%v: temporary %t, hint %q, want %q in it", err, refused.Temporary(), refused.Hint(), permission)
	}
}

// enableAuth makes the users root, and reader, who may read under a prefix, each with its name as its password.
func enableAuth(t *testing.T, cluster *lab.Cluster, prefix string) {
	t.Helper()
	etcd, err := cluster.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer etcd.Close()
	ctx := t.Context()
	read := clientv3.PermissionType(clientv3.PermRead)
	for _, step := range []func() error{
		func() error { _, err := etcd.UserAdd(ctx, "root", "root"); return err },
		func() error { _, err := etcd.RoleAdd(ctx, "root"); return err },
		func() error { _, err := etcd.UserGrantRole(ctx, "root", "root"); return err },
		func() error { _, err := etcd.UserAdd(ctx, "reader", "reader"); return err },
		func() error { _, err := etcd.RoleAdd(ctx, "reader"); return err },
		func() error {
			_, err := etcd.RoleGrantPermission(ctx, "reader", prefix, clientv3.GetPrefixRangeEnd(prefix), read)
			return err
		},
		func() error { _, err := etcd.UserGrantRole(ctx, "reader", "reader"); return err },
		func() error { _, err := etcd.AuthEnable(ctx); return err },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
}
