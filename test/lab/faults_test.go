package lab_test

import (
	"context"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"etcdsweep/test/lab"
)

// What can be done to members that are processes: they are cut off from each other, and their disks made slow.
func TestFaults(t *testing.T) {
	binary, err := lab.BuildServer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := lab.Start(t.Context(), lab.Config{Dir: t.TempDir(), Members: 3, Binary: binary, Wires: true})
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	client, err := cluster.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()

	leader := awaitLeader(t, client, cluster, -1)
	cluster.CutMember(leader)
	other := awaitLeader(t, client, cluster, leader)
	if other == leader {
		t.Fatalf("member %d leads still", leader)
	}
	awaitStatus(t, client, cluster.Endpoints()[leader], func(s *clientv3.StatusResponse) bool { return s.Leader == 0 })
	cluster.JoinMember(leader)
	awaitStatus(t, client, cluster.Endpoints()[leader], func(s *clientv3.StatusResponse) bool { return s.Leader != 0 })

	const slow = 200 * time.Millisecond
	for i := range 2 { // of three: no quorum without one of them
		if err := cluster.SlowDisk(i, slow); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	if _, err := client.Put(t.Context(), "k", "v"); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < slow {
		t.Errorf("a put took %v on slow disks", took)
	}
}

// awaitLeader waits until a member that is not this one leads, and returns it.
func awaitLeader(t *testing.T, client *clientv3.Client, cluster *lab.Cluster, not int) int {
	t.Helper()
	for tick := time.NewTicker(20 * time.Millisecond); ; <-tick.C {
		for i, endpoint := range cluster.Endpoints() {
			if s := statusOf(t, client, endpoint); i != not && s != nil && s.Leader == s.Header.MemberId {
				return i
			}
		}
	}
}

func awaitStatus(t *testing.T, client *clientv3.Client, endpoint string, wanted func(*clientv3.StatusResponse) bool) {
	t.Helper()
	for tick := time.NewTicker(20 * time.Millisecond); ; <-tick.C {
		if s := statusOf(t, client, endpoint); s != nil && wanted(s) {
			return
		}
	}
}

// statusOf returns nil if there is no answer.
func statusOf(t *testing.T, client *clientv3.Client, endpoint string) *clientv3.StatusResponse {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	s, err := client.Status(ctx, endpoint)
	if err != nil && t.Context().Err() != nil {
		t.Fatal(err)
	}
	if err != nil {
		return nil
	}
	return s
}
