package main

import (
	"context"
	"errors"
	"net"
	"net/url"
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
	binary := labtest.Process(t) // one in this process does not end while it sends
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
	binary := labtest.Process(t) // one in this process does not end while it sends
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
		hangUp := hangUp(t, cluster.Endpoints()[0], 2)
		back.Go(func() {
			if err := hangUp(); err != nil {
				t.Error(err)
			}
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

// hangUp listens where a member was, and returns what waits until so many connections were tried there in vain.
func hangUp(t *testing.T, endpoint string, tries int) func() error {
	t.Helper()
	address, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", address.Host)
	if err != nil {
		t.Fatal(err)
	}
	return func() error {
		for range tries {
			conn, err := listener.Accept()
			if err != nil {
				return errors.Join(err, listener.Close())
			}
			if err := conn.Close(); err != nil {
				return errors.Join(err, listener.Close())
			}
		}
		return listener.Close()
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
