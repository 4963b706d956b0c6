package main

import (
	"path/filepath"
	"slices"
	"testing"

	"etcdsweep/etcdops"
	"etcdsweep/plan/pace"
	"etcdsweep/test/fixtures"
	"etcdsweep/test/lab"
	"etcdsweep/test/lab/labtest"
)

// A member that is killed while it sends a snapshot is not the only one that has it.
func TestSnapshotGoesOnElsewhere(t *testing.T) {
	binary, ok := labtest.Servers(t)["process"]
	if !ok {
		t.Skip("no etcd to run as a process: one in this process does not end while it sends")
	}
	image, err := fixtures.Unpack(fixtures.Incident, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := lab.Start(t.Context(), lab.Config{Dir: t.TempDir(), Members: 3, Snapshot: image, Binary: binary})
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	client, _, err := etcdops.Connect(t.Context(), etcdops.Config{
		Endpoints: cluster.Endpoints(), CACert: cluster.CA.Path(), Cert: cluster.Cert, Key: cluster.Key,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	source, err := client.SnapshotSource(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	struck, restarted, before := false, false, int64(0)
	pacer := pace.New(pace.Defaults(), nil)
	file, err := saveSnapshot(t.Context(), client, pacer, filepath.Join(t.TempDir(), "s.db"), 1, func(done, _ int64) {
		if !struck {
			struck = true
			if err := cluster.KillMember(slices.Index(cluster.Endpoints(), source.Endpoint)); err != nil {
				t.Error(err)
			}
		}
		restarted = restarted || done < before
		before = done
	})
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if !restarted {
		t.Error("the snapshot was whole before its member was killed: the test shows nothing")
	}
}
