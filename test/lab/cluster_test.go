package lab_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"etcdsweep/decode"
	"etcdsweep/test/fixtures"
	"etcdsweep/test/lab"
	"etcdsweep/test/lab/labtest"
)

func TestMain(m *testing.M) {
	os.Exit(labtest.Run(m))
}

func startLab(t *testing.T, config lab.Config) (*lab.Cluster, *clientv3.Client) {
	t.Helper()
	config.Dir = t.TempDir()
	cluster, err := lab.Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Close(); err != nil {
			t.Error(err)
		}
	})
	client, err := cluster.Client()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return cluster, client
}

// Every key of both snapshots must be there as it was when the snapshot was taken, whichever server reads it.
func TestRestore(t *testing.T) {
	for server, binary := range labtest.Servers(t) {
		for _, members := range []int{1, 3} {
			for _, name := range []fixtures.Name{fixtures.Incident, fixtures.Zoo} {
				t.Run(fmt.Sprintf("%s/%d/%s", server, members, name), func(t *testing.T) {
					snapshot, err := fixtures.Unpack(name, t.TempDir())
					if err != nil {
						t.Fatal(err)
					}
					_, client := startLab(t, lab.Config{Members: members, Snapshot: snapshot, Binary: binary})
					compare(t, client, snapshot)
				})
			}
		}
	}
}

// compare reads all keys from etcd and holds them against those of the snapshot.
func compare(t *testing.T, client *clientv3.Client, snapshot string) {
	t.Helper()
	r, err := client.Get(t.Context(), "\x00", clientv3.WithFromKey())
	if err != nil {
		t.Fatal(err)
	}
	rest := r.Kvs
	for want, err := range fixtures.Records(snapshot) {
		if err != nil {
			t.Fatal(err)
		}
		if len(rest) == 0 || string(rest[0].Key) != want.Key {
			// Identities of apiservers live for seconds, even in a new cluster.
			if !strings.Contains(want.Key, "/masterleases/") && !strings.Contains(want.Key, "/peerserverleases/") {
				t.Fatalf("%s: not in etcd", want.Key)
			}
			continue
		}
		kv := rest[0]
		got := decode.Record{
			Key:            string(kv.Key),
			Value:          kv.Value,
			CreateRevision: kv.CreateRevision,
			ModRevision:    kv.ModRevision,
			Version:        kv.Version,
			Lease:          kv.Lease,
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%s: got revisions %d and %d, version %d, lease %x, want %d and %d, %d, %x, and the same value", want.Key,
				got.CreateRevision, got.ModRevision, got.Version, got.Lease,
				want.CreateRevision, want.ModRevision, want.Version, want.Lease)
		}
		rest = rest[1:]
	}
	if len(rest) > 0 {
		t.Fatalf("%s: not in the snapshot", rest[0].Key)
	}
	t.Logf("%d keys at revision %d", r.Count, r.Header.Revision)
}

func TestMembersComeAndGo(t *testing.T) {
	for server, binary := range labtest.Servers(t) {
		t.Run(server, func(t *testing.T) {
			cluster, client := startLab(t, lab.Config{Members: 3, Binary: binary})
			for i, end := range []func(int) error{cluster.StopMember, cluster.KillMember} {
				if err := end(i); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				put(t, ctx, client)
				if err := cluster.StartMember(ctx, i); err != nil {
					t.Fatal(err)
				}
				cancel()
			}
			if err := cluster.StartMember(t.Context(), 0); err == nil {
				t.Error("started a member that runs")
			}

			// A member that stands still refuses nothing and answers nothing. The library cannot do that.
			err := cluster.PauseMember(2)
			if binary == "" {
				if err == nil {
					t.Error("paused this process")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if r, err := client.Status(ctx, cluster.Endpoints()[2]); err == nil {
				t.Errorf("paused member answered %v", r)
			}
			if err := cluster.ResumeMember(2); err != nil {
				t.Fatal(err)
			}
			if _, err := client.Status(t.Context(), cluster.Endpoints()[2]); err != nil {
				t.Errorf("resumed member: %v", err)
			}
			if err := cluster.PauseMember(2); err != nil { // Close must end it nevertheless
				t.Fatal(err)
			}
		})
	}
}

// put puts a key as soon as there is a leader.
func put(t *testing.T, ctx context.Context, client *clientv3.Client) {
	t.Helper()
	for {
		try, cancel := context.WithTimeout(ctx, time.Second)
		_, err := client.Put(try, "key", "value")
		cancel()
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("put with two of three members: %v", err)
		}
	}
}

func TestClientCertificates(t *testing.T) {
	cluster, _ := startLab(t, lab.Config{})
	foreign, err := lab.NewCA(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for name, test := range map[string]struct {
		ca                  *lab.CA
		notBefore, notAfter time.Time
		good                bool
	}{
		"good":          {cluster.CA, now.Add(-time.Hour), now.Add(time.Hour), true},
		"expired":       {cluster.CA, now.Add(-2 * time.Hour), now.Add(-time.Hour), false},
		"not yet valid": {cluster.CA, now.Add(time.Hour), now.Add(2 * time.Hour), false},
		"foreign":       {foreign, now.Add(-time.Hour), now.Add(time.Hour), false},
	} {
		t.Run(name, func(t *testing.T) {
			cert, key, err := test.ca.Client(t.TempDir(), "somebody", test.notBefore, test.notAfter)
			if err != nil {
				t.Fatal(err)
			}
			pair, err := tls.LoadX509KeyPair(cert, key)
			if err != nil {
				t.Fatal(err)
			}
			config, err := cluster.TLSConfig()
			if err != nil {
				t.Fatal(err)
			}
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
			if err := handshake(t, cluster, config); (err == nil) != test.good {
				t.Errorf("handshake: %v", err)
			}
		})
	}
}

// handshake connects to the first member, and reads until the server has accepted or refused the client's certificate.
func handshake(t *testing.T, cluster *lab.Cluster, config *tls.Config) error {
	t.Helper()
	config.NextProtos = []string{"h2"}
	conn, err := tls.Dial("tcp", strings.TrimPrefix(cluster.Endpoints()[0], "https://"), config)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1)) // of the server's settings
	return err
}

func TestPlainText(t *testing.T) {
	for server, binary := range labtest.Servers(t) {
		t.Run(server, func(t *testing.T) {
			cluster, client := startLab(t, lab.Config{Binary: binary, PlainText: true, QuotaBytes: 1 << 30})
			if !strings.HasPrefix(cluster.Endpoints()[0], "http://") {
				t.Error(cluster.Endpoints())
			}
			if _, err := client.Put(t.Context(), "key", "value"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestStartRefuses(t *testing.T) {
	for name, config := range map[string]lab.Config{
		"two members":                {Members: 2},
		"arguments of no process":    {Args: []string{"--snapshot-count=10"}},
		"a binary that ends at once": {Binary: "/bin/false"},
		"no such binary":             {Binary: "/no/such/etcd"},
		"no such snapshot":           {Snapshot: "/no/such/snapshot.db"},
		"directory that is missing":  {Dir: "/no/such/directory"},
	} {
		t.Run(name, func(t *testing.T) {
			if config.Dir == "" {
				config.Dir = t.TempDir()
			}
			cluster, err := lab.Start(t.Context(), config)
			if err == nil {
				t.Error("started", cluster.Close())
			} else {
				t.Log(err)
			}
			if _, err := os.Stat(config.Dir + "/m1"); err == nil {
				t.Error("left data behind")
			}
		})
	}
	cluster, _ := startLab(t, lab.Config{})
	dir := filepath.Dir(cluster.CA.Path())
	if _, err := lab.Start(t.Context(), lab.Config{Dir: dir}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second lab in %s: %v", dir, err)
	}
	client, err := lab.Connect(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Get(t.Context(), "key"); err != nil {
		t.Errorf("the first lab after that: %v", err)
	}
}
