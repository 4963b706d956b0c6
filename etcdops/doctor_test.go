package etcdops_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"etcdsweep/etcdops"
	"etcdsweep/test/kine"
	"etcdsweep/test/lab"
	"etcdsweep/test/lab/labtest"
)

// What speaks etcd's API and has no members is recognised, whether it owns up to that or makes one up.
func TestNotEtcd(t *testing.T) {
	for name, strict := range map[string]bool{"strict": true, "lenient": false} {
		t.Run(name, func(t *testing.T) {
			server, err := kine.Start(strict)
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			client := connect(t, etcdops.Config{Endpoints: []string{server.Address}})
			_, err = client.Status(t.Context())
			imposter, ok := errors.AsType[*etcdops.NotEtcdError](err)
			if !ok || !strings.Contains(imposter.Error(), "is not etcd") || imposter.Hint() == "" {
				t.Errorf("got %v", err)
			}
			if !strict && imposter.Name != "kine" {
				t.Errorf("its name is %q", imposter.Name)
			}
		})
	}
}

// The certificates of a connection are seen, whatever is wrong with them.
func TestCertificates(t *testing.T) {
	cluster := start(t, lab.Config{})
	config := credentials(cluster)
	begin, end := time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	cert, key, err := cluster.CA.Client(t.TempDir(), "late", begin, end)
	if err != nil {
		t.Fatal(err)
	}
	config.Cert, config.Key = cert, key // expired: nobody could connect with it
	config.Endpoints = append(slices.Clone(config.Endpoints), "https://127.0.0.1:1")
	all, err := etcdops.Certificates(t.Context(), config)
	if err != nil || len(all) != 4 {
		t.Fatalf("%+v, %v", all, err)
	}
	if server := all[0]; server.Err != nil || !slices.Contains(server.Names, "127.0.0.1") || server.NotAfter.Before(time.Now()) {
		t.Errorf("the server's: %+v", server)
	}
	if dead := all[1]; dead.Err == nil || dead.Of != "https://127.0.0.1:1" {
		t.Errorf("of a dead endpoint: %+v", dead)
	}
	if client := all[2]; client.Of != etcdops.OfClient || !slices.Equal(client.Names, []string{"late"}) || client.NotAfter.Unix() != end.Unix() {
		t.Errorf("the client's: %+v", client)
	}
	if ca := all[3]; ca.Of != etcdops.OfCA || ca.NotAfter.Before(time.Now().AddDate(5, 0, 0)) {
		t.Errorf("the CA's: %+v", ca)
	}
	plain, err := etcdops.Certificates(t.Context(), etcdops.Config{Endpoints: []string{"127.0.0.1:1"}})
	if err != nil || len(plain) > 0 {
		t.Errorf("without TLS: %+v, %v", plain, err)
	}
}

// What etcd's authentication lets a user do is known, without trying it.
func TestAccess(t *testing.T) {
	for server, binary := range labtest.Servers(t) {
		t.Run(server, func(t *testing.T) {
			cluster := start(t, lab.Config{Binary: binary})
			stranger := connect(t, credentials(cluster))
			if a, err := stranger.Access(t.Context()); err != nil || a.Enabled || !a.Root() || !a.MayWrite("/registry/") {
				t.Fatalf("while it is off: %+v, %v", a, err)
			}
			addUsers(t, cluster)
			for user, want := range map[string]struct{ read, write, root bool }{
				"root":   {true, true, true},
				"all":    {true, true, false},
				"reader": {true, false, false},
				"pods":   {false, false, false},
				"nobody": {false, false, false},
				"":       {false, false, false}, // by the certificate's name, which is no user's
			} {
				config := credentials(cluster)
				config.DialTimeout = 30 * time.Second // bcrypt takes its time, and under the race detector far more
				if user != "" {
					config.Username, config.Password = user, "secret"
				}
				a, err := connect(t, config).Access(t.Context())
				if err != nil {
					t.Errorf("%q: %v", user, err)
					continue
				}
				got := struct{ read, write, root bool }{a.MayRead("/registry/"), a.MayWrite("/registry/"), a.Root()}
				if got != want || !a.Enabled {
					t.Errorf("%q: %+v, %+v, want %+v", user, a, got, want)
				}
				if user == "pods" && (!a.MayRead("/registry/pods/") || !a.MayWrite("/registry/pods/batch/") || a.MayRead("/registry/jobs/")) {
					t.Errorf("of pods: %+v", a)
				}
			}
		})
	}
}

// addUsers makes users with the password "secret", and turns authentication on.
func addUsers(t *testing.T, cluster *lab.Cluster) {
	t.Helper()
	etcd, err := cluster.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer etcd.Close()
	ctx := t.Context()
	var errs []error
	do := func(_ any, err error) { errs = append(errs, err) }
	for role, kind := range map[string]clientv3.PermissionType{"all": clientv3.PermissionType(clientv3.PermReadWrite), "reader": clientv3.PermissionType(clientv3.PermRead)} {
		do(etcd.RoleAdd(ctx, role))
		do(etcd.RoleGrantPermission(ctx, role, "/registry/", clientv3.GetPrefixRangeEnd("/registry/"), kind))
	}
	do(etcd.RoleAdd(ctx, "pods"))
	do(etcd.RoleGrantPermission(ctx, "pods", "/registry/pods/", clientv3.GetPrefixRangeEnd("/registry/pods/"), clientv3.PermissionType(clientv3.PermReadWrite)))
	do(etcd.RoleAdd(ctx, "root"))
	for _, user := range []string{"root", "all", "reader", "pods", "nobody"} {
		do(etcd.UserAdd(ctx, user, "secret"))
		if user != "nobody" {
			do(etcd.UserGrantRole(ctx, user, user))
		}
	}
	do(etcd.AuthEnable(ctx))
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// A sample has something of every family of names, in a bounded number of requests.
func TestSample(t *testing.T) {
	cluster := start(t, lab.Config{})
	etcd, err := cluster.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer etcd.Close()
	put := func(key string) {
		if _, err := etcd.Put(t.Context(), key, "x"); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 5 {
		for _, family := range []string{"a/web-7f9c-", "a/job-", "b/", "b/agent-"} {
			put(fmt.Sprintf("/registry/pods/%s%d", family, i))
		}
	}
	put("/registry/pods/zz/single")
	put("/registry/podtemplates/a/neighbour")
	client := connect(t, credentials(cluster))
	sample := func(reads int) (names []string) {
		records, err := client.Sample(t.Context(), "/registry/pods/", reads)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			names = append(names, strings.TrimPrefix(r.Key, "/registry/pods/"))
		}
		return names
	}
	want := []string{"a/job-0", "a/job-1", "a/web-7f9c-0", "a/web-7f9c-1", "b/0", "b/1", "zz/single"}
	if got := sample(100); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := sample(2); !slices.Equal(got, want[:4]) {
		t.Errorf("in two reads: %q", got)
	}
	if records, err := client.Sample(t.Context(), "/registry/none/", 9); err != nil || len(records) > 0 {
		t.Errorf("of nothing: %v, %v", records, err)
	}
}
