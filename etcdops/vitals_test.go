package etcdops_test

import (
	"slices"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcdsweep/etcdops"
	"etcdsweep/test/lab"
	"etcdsweep/test/lab/labtest"
)

// look takes a look, or fails the test.
func look(t *testing.T, client *etcdops.Client) []etcdops.MemberVitals {
	t.Helper()
	vitals, err := client.Vitals(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return vitals
}

// lookUntil looks until a look shows what is wanted.
func lookUntil(t *testing.T, client *etcdops.Client, wanted func([]etcdops.MemberVitals) bool) []etcdops.MemberVitals {
	t.Helper()
	for tick := time.NewTicker(20 * time.Millisecond); ; <-tick.C {
		if vitals := look(t, client); wanted(vitals) {
			return vitals
		}
	}
}

func TestVitals(t *testing.T) {
	cluster := start(t, lab.Config{Members: 3, Binary: labtest.Process(t)})
	cfg := credentials(cluster)
	cfg.Endpoints = cfg.Endpoints[:2] // the third is found by what it advertises
	cfg.CommandTimeout = time.Hour    // a look has bounds of its own
	client := connect(t, cfg)

	vitals := look(t, client)
	for i, m := range vitals {
		if m.Name != []string{"m1", "m2", "m3"}[i] || m.Err != nil || m.Latency <= 0 || m.LeaderID != vitals[0].LeaderID || m.Leader != (m.ID == m.LeaderID) || m.Corrupt {
			t.Errorf("member %+v", m)
		}
	}
	if err := client.Ping(t.Context()); err != nil {
		t.Error(err)
	}

	t.Run("metrics", func(t *testing.T) {
		seen := map[string]*etcdops.Metrics{}
		lookUntil(t, client, func(vitals []etcdops.MemberVitals) bool {
			for _, m := range vitals {
				if m.Metrics != nil {
					seen[m.Name] = m.Metrics
				}
			}
			return len(seen) == 3
		})
		for name, m := range seen {
			if m.Fsyncs.Count == 0 || m.Fsyncs.Sum <= 0 || m.Commits.Count == 0 || m.Commits.Sum <= 0 {
				t.Errorf("%s: %+v", name, m)
			}
		}
	})
	t.Run("nothing is proposed", func(t *testing.T) {
		const looks = 20
		before := look(t, client)[0].RaftIndex
		for range looks {
			look(t, client)
		}
		if after := look(t, client)[0].RaftIndex; after-before >= looks { // etcd itself may propose something
			t.Errorf("%d entries in %d looks", after-before, looks)
		}
	})
	t.Run("a member hangs", func(t *testing.T) {
		if err := cluster.PauseMember(1); err != nil {
			t.Fatal(err)
		}
		vitals := look(t, client)
		if vitals[0].Err != nil || vitals[1].Err == nil || vitals[2].Err != nil {
			t.Errorf("vitals %+v", vitals)
		}
		if err := cluster.ResumeMember(1); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("corrupt", func(t *testing.T) {
		admin, err := cluster.Client()
		if err != nil {
			t.Fatal(err)
		}
		defer admin.Close()
		_, err = etcdserverpb.NewMaintenanceClient(admin.ActiveConnection()).Alarm(t.Context(), &etcdserverpb.AlarmRequest{
			Action: etcdserverpb.AlarmRequest_ACTIVATE, Alarm: etcdserverpb.AlarmType_CORRUPT, MemberID: vitals[1].ID,
		})
		if err != nil {
			t.Fatal(err)
		}
		lookUntil(t, client, func(vitals []etcdops.MemberVitals) bool {
			return !slices.ContainsFunc(vitals, func(m etcdops.MemberVitals) bool { return !m.Corrupt })
		})
	})
}

// A client that has asked for nothing yet asks who the members are.
func TestVitalsOfStrangers(t *testing.T) {
	cluster := start(t, lab.Config{})
	client := connect(t, credentials(cluster))
	if vitals := look(t, client); len(vitals) != 1 || vitals[0].Err != nil {
		t.Errorf("vitals %+v", vitals)
	}
	if err := cluster.KillMember(0); err != nil {
		t.Fatal(err)
	}
	if vitals := look(t, client); len(vitals) != 1 || vitals[0].Err == nil {
		t.Errorf("vitals %+v", vitals)
	}
	stranger := connect(t, credentials(start(t, lab.Config{})))
	if err := client.Ping(t.Context()); err == nil {
		t.Error("a read without a cluster")
	}
	if err := stranger.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}
