package etcdops_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"etcdsweep/etcdops"
	"etcdsweep/test/lab"
	"etcdsweep/test/lab/labtest"
)

// A hook is called for no bytes before a scan asks for anything, and then for each page, before the next one is asked for.
func TestHoldReads(t *testing.T) {
	const keys, valueBytes = 2000, 1 << 10
	cluster, _ := scanned(t, lab.Config{}, keys, valueBytes)
	cfg := credentials(cluster)
	cfg.CommandTimeout = time.Second
	client := connect(t, cfg)
	collect(t, client, etcdops.ScanOptions{}) // the connection stays
	for name, opts := range map[string]etcdops.ScanOptions{"pages": {NoStream: true}, "stream": {}} {
		t.Run(name, func(t *testing.T) {
			labtest.NoLeaks(t)
			var calls, bytes int
			client.HoldReads(func(_ context.Context, n int) error {
				if calls++; calls == 1 && n != 0 {
					t.Errorf("the first call is for %d bytes", n)
				}
				bytes += n
				return nil
			})
			want := 0
			for _, r := range collect(t, client, opts) {
				want += len(r.Key) + len(r.Value)
			}
			if calls < 3 || bytes != want {
				t.Errorf("%d calls for %d bytes, want %d bytes", calls, bytes, want)
			}

			boom := errors.New("boom")
			for _, at := range []int{1, 2, 3} {
				calls := 0
				client.HoldReads(func(context.Context, int) error {
					if calls++; calls == at {
						return boom
					}
					return nil
				})
				read := 0
				for _, err := range client.ScanWith(t.Context(), "/", opts) {
					if err == nil {
						read++
					} else if !errors.Is(err, boom) {
						t.Errorf("call %d: %v", at, err)
					}
				}
				if calls != at || (read == 0) != (at == 1) || read == keys {
					t.Errorf("refused at call %d: %d calls, %d keys", at, calls, read)
				}
			}

			// One that waits for longer than a request may take pauses the scan, and does not end it.
			waited := false
			client.HoldReads(func(ctx context.Context, n int) error {
				if n > 0 && !waited {
					waited = true
					return pause(ctx, 2*cfg.CommandTimeout)
				}
				return nil
			})
			if got := len(collect(t, client, opts)); got != keys || !waited {
				t.Errorf("%d keys after a pause (%v)", got, waited)
			}
		})
	}
	t.Run("many keys", func(t *testing.T) {
		var bytes atomic.Int64
		client.HoldReads(func(_ context.Context, n int) error { bytes.Add(int64(n)); return nil })
		records, err := client.GetAll(t.Context(), []string{"/absent"})
		if err != nil || records[0] != nil || bytes.Load() != 0 {
			t.Errorf("%v, %v, %d bytes", records, err, bytes.Load())
		}
		first := collect(t, client, etcdops.ScanOptions{})[0]
		bytes.Store(0)
		if _, err = client.GetAll(t.Context(), []string{first.Key}); err != nil || bytes.Load() != int64(len(first.Key)+len(first.Value)) {
			t.Errorf("%v, %d bytes", err, bytes.Load())
		}
		client.HoldReads(func(context.Context, int) error { return context.Canceled })
		if _, err := client.GetAll(t.Context(), []string{first.Key}); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		client.HoldReads(nil)
		if _, err := client.GetAll(t.Context(), []string{first.Key}); err != nil {
			t.Error(err)
		}
	})
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A snapshot of a member that hangs ends, and says so, long before the connection counts as lost.
func TestSnapshotOfAMemberThatHangs(t *testing.T) {
	labtest.NoLeaks(t)
	cluster := start(t, lab.Config{Binary: labtest.Process(t)})
	cfg := credentials(cluster)
	cfg.CommandTimeout = time.Second
	cfg.KeepAliveTime = time.Hour
	client := connect(t, cfg)
	if _, err := client.Status(t.Context()); err != nil { // there is a connection
		t.Fatal(err)
	}
	if err := cluster.PauseMember(0); err != nil {
		t.Fatal(err)
	}
	stream, err := client.Snapshot(t.Context(), cluster.Endpoints()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if _, err := stream.Read(make([]byte, 1)); !etcdops.NoAnswer(err) || !strings.Contains(err.Error(), "no answer in time") {
		t.Error(err)
	}
	if err := cluster.ResumeMember(0); err != nil {
		t.Fatal(err)
	}
}
