package main

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

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

// Without any member the snapshot waits for one.
func TestSnapshotWaitsForAMember(t *testing.T) {
	binary, ok := labtest.Servers(t)["process"]
	if !ok {
		t.Skip("no etcd to run as a process: one in this process does not end while it sends")
	}
	image, err := fixtures.Unpack(fixtures.Incident, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := lab.Start(t.Context(), lab.Config{Dir: t.TempDir(), Snapshot: image, Binary: binary})
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
	var back sync.WaitGroup
	defer back.Wait()
	struck := false
	file, err := saveSnapshot(t.Context(), client, pace.New(pace.Defaults(), nil), filepath.Join(t.TempDir(), "s.db"), 1, func(int64, int64) {
		if struck {
			return
		}
		struck = true
		if err := cluster.KillMember(0); err != nil {
			t.Error(err)
		}
		back.Go(func() { // when the first tries have failed
			time.Sleep(3 * time.Second)
			if err := cluster.StartMember(t.Context(), 0); err != nil {
				t.Error(err)
			}
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Error(err)
	}
}

// A stream is not held open for the whole of a long pause; one that is only slow is.
func TestStreamOfAPausedRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pace.New(pace.Defaults(), nil)
		ctx, stop := p.Start(t.Context(), pace.Hooks{})
		defer stop()
		if err := p.Measure(ctx); err != nil {
			t.Fatal(err)
		}
		p.Pause("alice")
		began := time.Now()
		if err := paceStream(ctx, p, 1); !errors.Is(err, errPausedStream) || time.Since(began) != pausedStream {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		time.AfterFunc(pausedStream-time.Second, func() { p.Resume("alice") })
		if err := paceStream(ctx, p, 1); err != nil {
			t.Error(err)
		}
		ended, cancel := context.WithCancel(ctx)
		cancel()
		p.Pause("alice")
		if err := paceStream(ended, p, 1); !errors.Is(err, context.Canceled) {
			t.Errorf("interrupted: %v", err)
		}
		p.Resume("alice")
		if err := paceStream(ctx, p, 64<<20*60); err != nil { // a minute and more, and nobody has paused it
			t.Error(err)
		}
	})
}
