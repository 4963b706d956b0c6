package etcdops_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"etcdsweep/etcdops"
	"etcdsweep/etcdops/snapshot"
	"etcdsweep/test/fixtures"
	"etcdsweep/test/lab"
	"etcdsweep/test/lab/labtest"
)

func TestStatusOfThreeMembers(t *testing.T) {
	cluster := start(t, lab.Config{Members: 3})
	cfg := credentials(cluster)
	all := cfg.Endpoints
	cfg.Endpoints = all[:1] // the others are found by what they advertise
	client := connect(t, cfg)

	status, err := client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(status.Members) != 3 || status.AlarmsErr != nil || len(status.Alarms) != 0 || !status.Quorum() {
		t.Fatalf("status %+v", status)
	}
	if status.ClusterID == 0 || status.Leader() == nil {
		t.Errorf("cluster %x, leader %v", status.ClusterID, status.Leader())
	}
	for i, m := range status.Members {
		if m.Err != nil || m.ID == 0 || m.Name != []string{"m1", "m2", "m3"}[i] || m.Endpoint != all[i] || m.Learner ||
			m.Version == "" || m.Revision < 1 || m.DBSize <= 0 || m.DBSizeInUse <= 0 || m.Quota <= 0 || m.RaftTerm == 0 || m.RaftIndex == 0 {
			t.Errorf("member %+v", m)
		}
	}

	source, err := client.SnapshotSource(t.Context(), 1)
	if err != nil || source.Leader {
		t.Errorf("snapshot source %+v, %v: want a follower", source, err)
	}
	_, err = client.SnapshotSource(t.Context(), 1<<40)
	if err == nil || !strings.Contains(err.Error(), "m3: at revision 1, want 1099511627776") {
		t.Errorf("got %v", err)
	}

	// Without a quorum each member still says what it knows.
	for i := range 2 {
		if err := cluster.StopMember(i + 1); err != nil {
			t.Fatal(err)
		}
	}
	cfg.CommandTimeout = time.Second
	alone := connect(t, cfg)
	status, err = alone.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(status.Members) != 3 || status.Quorum() || status.AlarmsErr == nil || status.Members[0].Err != nil {
		t.Errorf("status %+v", status)
	}
	for _, m := range status.Members[1:] {
		var e *etcdops.EndpointError
		if !errors.As(m.Err, &e) || e.Cause != etcdops.CauseRefused || e.Endpoint != m.ClientURLs[0] || m.Endpoint != "" {
			t.Errorf("member %s: %v, want refused", m.Name, m.Err)
		}
	}
	if _, err := alone.Revision(t.Context(), "health"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a linearizable read without a quorum: %v", err)
	}
}

func TestStatusShowsAlarms(t *testing.T) {
	cluster := start(t, lab.Config{QuotaBytes: 1 << 20})
	admin, err := cluster.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	value := strings.Repeat("x", 100<<10)
	for i := 0; err == nil && i < 100; i++ {
		_, err = admin.Put(t.Context(), "k", value)
	}
	if err == nil {
		t.Fatal("the quota was never used up")
	}
	client := connect(t, credentials(cluster))
	status, err := client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := etcdops.Alarm{Member: status.Members[0].ID, Type: etcdops.AlarmNoSpace}
	if len(status.Alarms) != 1 || status.Alarms[0] != want {
		t.Fatalf("alarms %v, want %v", status.Alarms, want)
	}
	if status.Members[0].Quota != 1<<20 {
		t.Errorf("quota %d", status.Members[0].Quota)
	}
}

func TestSnapshotStream(t *testing.T) {
	path, err := fixtures.Unpack(fixtures.Zoo, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cluster := start(t, lab.Config{Snapshot: path})
	endpoint := cluster.Endpoints()[0]

	t.Run("whole", func(t *testing.T) {
		labtest.NoLeaks(t)
		client := connect(t, credentials(cluster))
		stream, err := client.Snapshot(t.Context(), endpoint)
		if err != nil {
			t.Fatal(err)
		}
		var data bytes.Buffer
		if _, err := io.Copy(&data, stream); err != nil {
			t.Fatal(err)
		}
		if err := stream.Close(); err != nil {
			t.Fatal(err)
		}
		content, trailer := data.Bytes()[:data.Len()-sha256.Size], data.Bytes()[data.Len()-sha256.Size:]
		if sum := sha256.Sum256(content); !bytes.Equal(sum[:], trailer) {
			t.Fatal("the stream does not end in its hash")
		}
	})
	t.Run("saved and looked up", func(t *testing.T) {
		labtest.NoLeaks(t)
		client := connect(t, credentials(cluster))
		stream, err := client.Snapshot(t.Context(), endpoint)
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		saved := filepath.Join(t.TempDir(), "s.db")
		if _, err := snapshot.Save(t.Context(), stream, saved, snapshot.Options{}); err != nil {
			t.Fatal(err)
		}
		f, err := snapshot.Open(saved)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var n int
		for want, err := range client.Scan(t.Context(), "/registry/") {
			if err != nil {
				t.Fatal(err)
			}
			if held, err := f.Holds(want.Key, want.CreateRevision, want.ModRevision); err != nil || !held {
				t.Fatalf("%s: %v, %v", want.Key, held, err)
			}
			n++
		}
		if n == 0 {
			t.Fatal("no records")
		}
	})
	t.Run("closed in the middle", func(t *testing.T) {
		labtest.NoLeaks(t)
		client := connect(t, credentials(cluster))
		stream, err := client.Snapshot(t.Context(), endpoint)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(stream, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		if err := stream.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, stream); !errors.Is(err, context.Canceled) {
			t.Fatalf("a read after Close: %v", err)
		}
	})
	t.Run("cancelled in the middle", func(t *testing.T) {
		labtest.NoLeaks(t)
		client := connect(t, credentials(cluster))
		ctx, cancel := context.WithCancel(t.Context())
		stream, err := client.Snapshot(ctx, endpoint)
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		if _, err := stream.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		cancel()
		if _, err := io.Copy(io.Discard, stream); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("of a client that is closed", func(t *testing.T) {
		labtest.NoLeaks(t)
		client, _, err := etcdops.Connect(t.Context(), credentials(cluster))
		if err != nil {
			t.Fatal(err)
		}
		if err := client.Close(); err != nil {
			t.Fatal(err)
		}
		if stream, err := client.Snapshot(t.Context(), endpoint); err == nil {
			_ = stream.Close()
			t.Fatal("a closed client opens a stream")
		}
	})
	t.Run("over plain text by surprise", func(t *testing.T) {
		labtest.NoLeaks(t)
		client := connect(t, credentials(cluster))
		stream, err := client.Snapshot(t.Context(), strings.Replace(endpoint, "https", "http", 1))
		if err == nil {
			_ = stream.Close()
			t.Fatal("opened")
		}
		if !strings.Contains(err.Error(), "TLS") {
			t.Fatal(err)
		}
	})
	t.Run("of a member that is down", func(t *testing.T) {
		labtest.NoLeaks(t)
		client := connect(t, credentials(cluster))
		dead := "https://" + unused(t)
		stream, err := client.Snapshot(t.Context(), dead)
		if err == nil {
			defer stream.Close()
			_, err = stream.Read(make([]byte, 1))
		}
		var e *etcdops.EndpointError
		if !errors.As(err, &e) || e.Endpoint != dead || e.Cause != etcdops.CauseRefused {
			t.Fatalf("got %v", err)
		}
	})
}

func TestSnapshotSourceHasTheRevision(t *testing.T) {
	cluster := start(t, lab.Config{Members: 3})
	admin, err := cluster.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	// Members that have not known each other for five seconds make an unhealthy cluster (etcd server, isConnectedFullySince).
	var learner *clientv3.MemberAddResponse
	for tick := time.NewTicker(200 * time.Millisecond); learner == nil; <-tick.C {
		learner, err = admin.MemberAddAsLearner(t.Context(), []string{"https://127.0.0.1:1"}) // never started
		if err != nil && !errors.Is(err, rpctypes.ErrUnhealthy) {
			t.Fatal(err)
		}
	}
	client := connect(t, credentials(cluster))
	status, err := client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range status.Members {
		if m.ID == learner.Member.ID && (m.Err == nil || !m.Learner) {
			t.Errorf("learner %+v", m)
		}
	}
	if voters, answering := status.Voters(); voters != 3 || answering != 3 {
		t.Errorf("%d of %d voters answer", answering, voters)
	}
	put, err := admin.Put(t.Context(), "k", "v", clientv3.WithPrevKV())
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.SnapshotSource(t.Context(), put.Header.Revision+1)
	if err == nil || !strings.Contains(err.Error(), "has not started") || !strings.Contains(err.Error(), "m1: at revision") {
		t.Errorf("got %v", err)
	}
}
