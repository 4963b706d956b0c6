package pace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fake is a cluster whose reads take as long as it is told.
type fake struct {
	mu     sync.Mutex
	takes  time.Duration
	vitals Vitals
}

func (f *fake) set(change func(*fake)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *fake) Read(ctx context.Context) error {
	f.mu.Lock()
	takes := f.takes
	f.mu.Unlock()
	timer := time.NewTimer(takes)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *fake) Vitals(context.Context) Vitals {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.vitals
}

// healthy is a cluster of three members.
func healthy() *fake {
	f := &fake{takes: 5 * time.Millisecond}
	for id, name := range []string{"", "m1", "m2", "m3"} {
		if id > 0 {
			f.vitals.Members = append(f.vitals.Members, Member{ID: uint64(id), Name: name, Latency: time.Millisecond, Leader: 1, Term: 2})
		}
	}
	return f
}

// electLeader makes another member the leader. What the pacer holds of an earlier look is not changed.
func (f *fake) electLeader(id uint64) {
	f.set(func(f *fake) {
		f.vitals.Members = append([]Member(nil), f.vitals.Members...)
		for i := range f.vitals.Members {
			f.vitals.Members[i].Leader = id
			f.vitals.Members[i].Term++
		}
	})
}

// started is a pacer that has measured, in a bubble of time. It ends with the test.
func started(t *testing.T, cfg Config, source Source, hooks Hooks) (*Pacer, context.Context) {
	t.Helper()
	p := New(cfg, source)
	ctx, stop := p.Start(t.Context(), hooks)
	t.Cleanup(stop)
	if err := p.Measure(ctx); err != nil {
		t.Fatal(err)
	}
	return p, ctx
}

// write makes writes that take so long, by so many workers, until the time is over, and returns when each was begun.
func write(t *testing.T, ctx context.Context, p *Pacer, workers int, takes, during time.Duration) []time.Time {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, during)
	defer cancel()
	var mu sync.Mutex
	var begun []time.Time
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for {
				done, err := p.Wait(ctx)
				if err != nil {
					return
				}
				mu.Lock()
				begun = append(begun, time.Now())
				mu.Unlock()
				time.Sleep(takes)
				done(true)
			}
		})
	}
	all.Wait()
	return begun
}

func TestRisesToTheCeiling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, ctx := started(t, Defaults(), healthy(), Hooks{})
		if s := p.Status(); s.Allowed != 50 || s.Baseline != Latency(5*time.Millisecond) {
			t.Errorf("begins with %+v", s)
		}
		write(t, ctx, p, 16, 2*time.Millisecond, 15*time.Second)
		if s := p.Status(); s.State != Running || s.Allowed != 500 || s.Rate < 490 || s.Rate > 510 {
			t.Errorf("ends with %+v", s)
		}
		if n := p.Latencies(); n.Before.Count < 50 || n.During.Count < 100 || n.Writes.Count < 3000 {
			t.Errorf("%+v", n)
		}
	})
}

func TestAbortEndsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, ctx := started(t, Defaults(), healthy(), Hooks{})
		p.Pause("alice")
		waited := make(chan error, 1)
		go func() {
			_, err := p.Wait(ctx)
			waited <- err
		}()
		synctest.Wait()
		p.Abort("alice")
		if ended, ok := errors.AsType[*EndedError](<-waited); !ok || ended.By != "alice" {
			t.Errorf("%v", ended)
		}
		if _, ok := errors.AsType[*EndedError](context.Cause(ctx)); !ok {
			t.Errorf("the context ends with %v", context.Cause(ctx))
		}
		if err := p.Reads(context.WithoutCancel(ctx), 1); err == nil {
			t.Error("a read is begun after the end")
		}
	})
}

// busiest returns the most that were begun within a span.
func busiest(begun []time.Time, span time.Duration) (most int) {
	for i := range begun {
		n := 0
		for _, at := range begun[i:] {
			if at.Sub(begun[i]) < span {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

// Nothing is saved up: neither before the first write, nor while the run stands still or nobody writes.
func TestNoBursts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Defaults()
		cfg.Rate, cfg.StartRate = 100, 100
		p, ctx := started(t, cfg, healthy(), Hooks{})
		time.Sleep(20 * time.Second)
		begun := write(t, ctx, p, 64, time.Millisecond, 5*time.Second)
		p.Pause("alice")
		stood := write(t, ctx, p, 64, time.Millisecond, 10*time.Second)
		p.Resume("alice")
		begun = append(begun, write(t, ctx, p, 64, time.Millisecond, 5*time.Second)...)
		if len(stood) > 0 {
			t.Errorf("%d writes while it was paused", len(stood))
		}
		if n := len(begun); n < 990 || n > 1010 {
			t.Errorf("%d writes in 10 s at 100/s", n)
		}
		if most := busiest(begun, 100*time.Millisecond); most > 11 {
			t.Errorf("%d writes within 100 ms", most)
		}
	})
}

// Below the ceiling fewer are in flight, so that what is slow is not made slower by many at once.
func TestInFlightFollowsTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Defaults()
		cfg.HalveAbove = time.Hour // what is slow here are the writes
		p, ctx := started(t, cfg, healthy(), Hooks{})
		for _, step := range []struct {
			perSecond float64
			want      int
		}{{500, 2}, {10, 1}, {125, 1}} { // it begins with 50/s; what is set raises nothing
			if err := p.SetRate("alice", step.perSecond); err != nil {
				t.Fatal(err)
			}
			if n := len(write(t, ctx, p, 64, time.Hour, time.Second)); n != step.want {
				t.Errorf("at %g/s %d are in flight, want %d", step.perSecond, n, step.want)
			}
		}
	})
}

// A write that waits for its turn when the run is paused waits on.
func TestPauseOvertakesWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Defaults()
		cfg.Rate, cfg.MinRate, cfg.StartRate = 1, 1, 1
		p, ctx := started(t, cfg, healthy(), Hooks{})
		if done, err := p.Wait(ctx); err != nil {
			t.Fatal(err)
		} else {
			done(true)
		}
		var begun time.Time
		go func() {
			done, err := p.Wait(ctx) // in a second
			if err == nil {
				begun = time.Now()
				done(true)
			}
		}()
		time.Sleep(100 * time.Millisecond)
		p.Pause("alice")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if !begun.IsZero() {
			t.Error("it was begun while the run was paused")
		}
		p.Resume("alice")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if begun.IsZero() {
			t.Error("it was not begun afterwards")
		}
	})
}

// A write that waits at a tiny rate goes when the rate is raised, not when it would have gone.
func TestRaisedRateCountsForWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, ctx := started(t, Defaults(), healthy(), Hooks{})
		if err := p.SetRate("somebody", 0.001); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the first takes what was left of the rate before
			began := time.Now()
			time.AfterFunc(time.Minute, func() { _ = p.SetRate("somebody", 500) })
			done, err := p.Wait(ctx)
			if err != nil {
				t.Fatal(err)
			}
			done(true)
			if waited := time.Since(began); waited > time.Minute+5*time.Second {
				t.Errorf("waited for %s", waited)
			}
			_ = p.SetRate("somebody", 0.001)
		}
	})
}

// Many that wait at a low rate get all of it, one after the other.
func TestManyAtALowRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Defaults()
		cfg.Rate, cfg.MinRate, cfg.StartRate = 1, 1, 1
		p, ctx := started(t, cfg, healthy(), Hooks{})
		if n := len(write(t, ctx, p, 64, time.Millisecond, 100*time.Second)); n < 99 || n > 101 {
			t.Errorf("%d writes in 100 s at 1/s", n)
		}
	})
}

// Reads that are held up do not raise the rate of writes.
func TestReadsRaiseNoWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, ctx := started(t, Defaults(), healthy(), Hooks{})
		if n := read(t, ctx, 30*time.Second, p.Snapshot); n < 600 {
			t.Errorf("%d MiB of a snapshot in 30 s", n)
		}
		if s := p.Status(); s.Allowed != 50 {
			t.Errorf("%g writes a second behind it, want 50", s.Allowed)
		}
	})
}

// A snapshot is over in a bounded time, unless somebody has asked for less from the beginning.
func TestLeastSnapshotRate(t *testing.T) {
	for full, want := range map[float64]int{8 << 20: 40, 1 << 20: 10} {
		synctest.Test(t, func(t *testing.T) {
			cfg := Defaults()
			cfg.SnapshotRate = full
			p, ctx := started(t, cfg, healthy(), Hooks{})
			if err := p.SetRate("alice", 1); err != nil {
				t.Fatal(err)
			}
			read(t, ctx, time.Second, p.Snapshot) // what was saved up
			if n := read(t, ctx, 10*time.Second, p.Snapshot); n < want-2 || n > want+2 {
				t.Errorf("%d MiB in 10 s of %g a second, want about %d", n, full, want)
			}
		})
	}
}

// A resumed run begins as it began at first: what somebody says raises nothing.
func TestResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, ctx := started(t, Defaults(), healthy(), Hooks{})
		write(t, ctx, p, 16, 2*time.Millisecond, 15*time.Second)
		p.Pause("alice")
		time.Sleep(3 * time.Second)
		p.Resume("alice")
		synctest.Wait()
		if s := p.Status(); s.Allowed != 50 || s.PausedSeconds != 3 {
			t.Errorf("resumed with %+v", s)
		}
	})
}

// read reads a megabyte after the other until the time is over, and returns how many there were.
func read(t *testing.T, ctx context.Context, during time.Duration, hook func(context.Context, int) error) (megabytes int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, during)
	defer cancel()
	for ; ; megabytes++ {
		if err := hook(ctx, 1<<20); err != nil {
			return megabytes
		}
	}
}

// Reads are as slow as the run is, to an eighth; and a low rate that somebody sets does not make them faster.
func TestReadsFollowTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Defaults()
		cfg.ScanRate, cfg.SnapshotRate = 64<<20, 16<<20
		f := healthy()
		p, ctx := started(t, cfg, f, Hooks{})
		p.free.Store(0)
		read(t, ctx, 15*time.Second, p.Reads)
		about := func(what string, got, want int) {
			t.Helper()
			if got < want-5 || got > want+5 {
				t.Errorf("%s: %d MiB, want about %d", what, got, want)
			}
		}
		about("scan", read(t, ctx, 10*time.Second, p.Reads), 640)
		about("snapshot", read(t, ctx, 10*time.Second, p.Snapshot), 160)
		if err := p.SetRate("alice", 250); err != nil {
			t.Fatal(err)
		}
		about("scan at half the rate", read(t, ctx, 10*time.Second, p.Reads), 320)
		if err := p.SetRate("alice", 1); err != nil {
			t.Fatal(err)
		}
		about("scan at next to nothing", read(t, ctx, 10*time.Second, p.Reads), 80)
		p.Pause("alice")
		about("scan while paused", read(t, ctx, 10*time.Second, p.Reads), 0)
		about("snapshot while paused", read(t, ctx, 10*time.Second, p.Snapshot), 0)
	})
}

// A command that only reads measures when it has read its first megabytes, and not at all if there are no more.
func TestFirstReadsAreForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Defaults()
		cfg.ReadsOnly = true
		p := New(cfg, healthy())
		ctx, stop := p.Start(t.Context(), Hooks{})
		defer stop()
		start := time.Now()
		for range 32 {
			if err := p.Reads(ctx, 1<<20); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took > 0 {
			t.Errorf("the first 32 MiB took %s", took)
		}
		if err := p.Reads(ctx, 1<<20); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < cfg.Baseline || p.Status().State == Measuring {
			t.Errorf("the next one came after %s, without a baseline", took)
		}
	})
}

// A pause is told with its reasons and how long it was; one that the end of the run cuts off, too.
func TestPausesAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		hooks := Hooks{
			Paused: func(reason string) { told = append(told, "paused: "+reason) },
			Resumed: func(reasons string, lasted time.Duration) {
				told = append(told, fmt.Sprintf("%.1f s: %s", lasted.Seconds(), reasons))
			},
		}
		f := healthy()
		p := New(Defaults(), f)
		ctx, stop := p.Start(t.Context(), hooks)
		if err := p.Measure(ctx); err != nil {
			t.Fatal(err)
		}
		p.Pause("alice")
		time.Sleep(time.Second)
		p.Resume("bob")
		time.Sleep(10 * time.Second)
		f.electLeader(2)
		time.Sleep(10 * time.Second)
		p.Pause("alice")
		time.Sleep(time.Second)
		stop()
		want := []string{
			"paused: paused by alice",
			"1.0 s: paused by alice, then resumed by bob",
			"paused: leader changed: m2, was m1",
			"3.5 s: leader changed: m2, was m1",
			"paused: paused by alice",
			"1.0 s: paused by alice",
		}
		if !slices.Equal(told, want) {
			t.Errorf("told\n%s\nwant\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
		}
	})
}

// An outage shows in the latencies: what would have been asked meanwhile would have waited.
func TestOutagesCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := healthy()
		p, _ := started(t, Defaults(), f, Hooks{})
		time.Sleep(10 * time.Second)
		f.set(func(f *fake) { f.takes = time.Hour })
		time.Sleep(5 * time.Second)
		if s := p.Status(); s.State != Paused {
			t.Errorf("%+v", s)
		}
		f.set(func(f *fake) { f.takes = 5 * time.Millisecond })
		time.Sleep(10 * time.Second)
		during := p.Latencies().During
		if during.P50 > Latency(6*time.Millisecond) || during.P95 < Latency(2*time.Second) || during.P99 < Latency(4*time.Second) {
			t.Errorf("%+v", during)
		}
	})
}

// Without a source nothing is measured, and nothing is waited for.
func TestWithoutSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		p, ctx := started(t, Config{Concurrency: 4}, nil, Hooks{})
		if time.Since(start) > 0 {
			t.Error("it has measured")
		}
		if n := len(write(t, ctx, p, 16, 100*time.Millisecond, 950*time.Millisecond)); n != 40 {
			t.Errorf("%d writes of 100 ms by 4 at a time in a second, want 40", n)
		}
		p.After(ctx)
	})
}

// A process that stood still takes neither its own silence for etcd's nor old samples for new ones.
func TestProcessStoodStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := healthy()
		stop, stopped := make(chan struct{}, 1), make(chan struct{})
		p, ctx := started(t, Defaults(), f, Hooks{Observe: func(Status) {
			select {
			case <-stop:
				f.set(func(f *fake) { f.takes = time.Hour })
				time.Sleep(2*time.Minute + time.Second) // a read is under way at its end
				f.set(func(f *fake) { f.takes = 5 * time.Millisecond })
				close(stopped)
			default:
			}
		}})
		write(t, ctx, p, 16, 2*time.Millisecond, 15*time.Second)
		if s := p.Status(); s.Allowed != 500 {
			t.Fatalf("before: %+v", s)
		}
		stop <- struct{}{}
		<-stopped
		time.Sleep(1200 * time.Millisecond)
		if s := p.Status(); s.State != Holding && s.State != Running || s.Allowed > 50 {
			t.Errorf("%+v", s)
		}
	})
}
