package sweep_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"etcdsweep/decode"
	"etcdsweep/plan"
	"etcdsweep/plan/apply"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/pace"
	"etcdsweep/plan/run"
	"etcdsweep/test/lab"
)

// bear makes n new pods of the same owner as a planned one, whether its Job stands or not.
func (w *world) bear(ctx context.Context, like plan.Entry, suffix string, n int) error {
	record, err := w.client.Get(ctx, like.Key)
	if err != nil {
		return err
	}
	if record == nil {
		return fmt.Errorf("%s is gone", like.Key)
	}
	return w.bearFrom(ctx, string(record.Value), like, suffix, n)
}

// bearFrom makes pods from the value of another one, under names and UIDs of the same length.
func (w *world) bearFrom(ctx context.Context, value string, like plan.Entry, suffix string, n int) error {
	for i := range n {
		tail := fmt.Sprintf("%s%03d", suffix, i)
		name := like.Name[:len(like.Name)-len(tail)] + tail
		uid := like.UID[:len(like.UID)-len(tail)] + tail
		child := strings.ReplaceAll(strings.ReplaceAll(value, like.Name, name), like.UID, uid)
		if _, err := w.etcd.Put(ctx, strings.TrimSuffix(like.Key, like.Name)+name, child); err != nil {
			return err
		}
	}
	return nil
}

func TestNewcomers(t *testing.T) {
	for _, test := range []struct {
		name    string
		change  func(*apply.Config)
		deleted int64
		left    bool
	}{
		{"are swept", func(*apply.Config) {}, 30, false},
		{"up to a number", func(cfg *apply.Config) { cfg.ChaseMax = 10 }, 10, true},
		{"unless they are to be left", func(cfg *apply.Config) { cfg.NoChase = true }, 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, _, p := incident(t, 50)
			before := w.state()
			like := podEntries(t, p)[0]
			must(t, w.bear(t.Context(), like, "x", 10)) // in the snapshot
			cfg := w.config(p)
			afterSnapshot(&cfg, func() { must(t, w.bear(t.Context(), like, "y", 20)) }) // not in it
			test.change(&cfg)
			report, err := apply.Run(t.Context(), cfg)
			if errors.Is(err, run.ErrLeft) != test.left || !test.left && err != nil {
				t.Fatal(err)
			}
			wantOutcomes(t, "newcomers", report.Newcomers, map[journal.Outcome]int64{journal.Deleted: test.deleted})
			if left := 30 - test.deleted; report.Left.Selected != left || report.Newcomers.Capped != (test.deleted == 10) {
				t.Errorf("%d left, want %d; capped %v", report.Left.Selected, left, report.Newcomers.Capped)
			}
			if test.left {
				return
			}
			onlyGone(t, before, w.state(), keys(t, p))
			if archived := w.archived(cfg); len(archived) != 81 || report.Archived != 81 || report.MissingInSnapshot != 20 {
				t.Errorf("%d archived, %d reported, %d of them not in the snapshot; want 81, 81, 20", len(archived), report.Archived, report.MissingInSnapshot)
			}
		})
	}
}

// A Job that goes on making pods until its record is gone leaves nothing behind.
func TestProducer(t *testing.T) {
	w := start(t, lab.Config{NoFsync: true})
	runaways := w.fill(400, 2)
	producing, stop := context.WithCancel(t.Context())
	defer stop()
	producer, producing := errgroup.WithContext(producing)
	producer.Go(func() error { return lab.Produce(producing, w.etcd, runaways, 100) })

	p := w.plan(jobs(runaways[0].Namespace, runaways[0].Name, runaways[1].Name))
	cfg := w.config(p)
	cfg.Settle = time.Second
	report, err := apply.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if err := producer.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if report.Left.Selected != 0 || report.Pods.Total() < 400 || report.Newcomers.Total() == 0 {
		t.Errorf("%d pods judged, %d newcomers, %d left", report.Pods.Total(), report.Newcomers.Total(), report.Left.Selected)
	}
}

// A newcomer is under the same guards and the same selection as what was planned: nobody has looked at it.
func TestNewcomersThatStay(t *testing.T) {
	w, job, p := incident(t, 30)
	like := podEntries(t, p)[0]
	record, err := w.client.Get(t.Context(), like.Key)
	must(t, err)
	before := w.state()
	must(t, w.bear(t.Context(), like, "n", 1))
	must(t, w.bearFrom(t.Context(), strings.ReplaceAll(string(record.Value), "Pending", "Running"), like, "r", 1))
	must(t, w.bearFrom(t.Context(), strings.ReplaceAll(string(record.Value), job.UID, strings.Repeat("2", len(job.UID))), like, "o", 1))
	report, err := apply.Run(t.Context(), w.config(p))
	must(t, err)
	wantOutcomes(t, "newcomers", report.Newcomers, map[journal.Outcome]int64{journal.Deleted: 1})
	if len(report.Left.Kept) != 1 || report.Left.Kept[0].Reason != "running-on-live-node" || report.Left.Selected != 0 {
		t.Errorf("left: %+v", report.Left)
	}
	after := w.state()
	base := strings.TrimSuffix(like.Key, like.Name)
	for _, stays := range []string{"r000", "o000"} {
		key := base + like.Name[:len(like.Name)-len(stays)] + stays
		if _, ok := after[key]; !ok {
			t.Errorf("%s is gone", key)
		}
		delete(after, key)
	}
	onlyGone(t, before, after, keys(t, p))
}

// blind is a cluster whose watches tell nothing: as when their member hangs, and the client waits for it.
type blind struct {
	live
	fails bool // and say so, again and again
}

func (b blind) WatchPuts(ctx context.Context, prefix string, fromRevision int64) iter.Seq2[decode.Record, error] {
	return func(yield func(decode.Record, error) bool) {
		if b.fails {
			yield(decode.Record{}, errors.New("watch broken"))
			return
		}
		<-ctx.Done()
	}
}

// Silence of a watch is no quiet: births, and roots that come back, are looked for before the sweep begins.
func TestBlindWatch(t *testing.T) {
	for _, fails := range []bool{false, true} {
		t.Run(fmt.Sprintf("births, watch fails %v", fails), func(t *testing.T) {
			w, _, p := incident(t, 30)
			like := podEntries(t, p)[0]
			cfg := w.config(p)
			cfg.Cluster = blind{cfg.Cluster.(live), fails}
			cfg.Settle = 100 * time.Millisecond
			born := false
			var settled time.Duration
			cfg.Observe = func(e run.Event) {
				switch e := e.(type) {
				case run.Settling:
					if !born {
						born = true
						must(t, w.bear(t.Context(), like, "b", 3))
					}
					settled = max(settled, e.Quiet)
				}
			}
			report, err := apply.Run(t.Context(), cfg)
			must(t, err)
			if report.Births == 0 || report.Newcomers.Outcomes[journal.Deleted] != 3 {
				t.Errorf("%d births seen, newcomers %v", report.Births, report.Newcomers.Outcomes)
			}
		})
		t.Run(fmt.Sprintf("the root returns, watch fails %v", fails), func(t *testing.T) {
			w, job, p := incident(t, 30)
			root, err := w.client.Get(t.Context(), job.Key())
			must(t, err)
			cfg := w.config(p)
			cfg.Cluster = blind{cfg.Cluster.(live), fails}
			cfg.Observe = func(e run.Event) {
				if e, ok := e.(run.StepEnded); ok && e.Step == run.StepRoots {
					_, err := w.etcd.Put(t.Context(), job.Key(), string(root.Value))
					must(t, err)
				}
			}
			report, err := apply.Run(t.Context(), cfg)
			if _, ok := errors.AsType[*run.HealthError](err); !ok || !strings.Contains(err.Error(), job.Key()) {
				t.Errorf("%v, want a HealthError that names the root", err)
			}
			if report.Pods.Total() != 0 {
				t.Errorf("%d pods were judged", report.Pods.Total())
			}
		})
	}
}

// A watch that breaks goes on where it broke: no birth is lost in the gap, and none is counted twice.
func TestWatchThatBreaks(t *testing.T) {
	w, _, p := incident(t, 30)
	like := podEntries(t, p)[0]
	cfg := w.config(p)
	cfg.Settle = 500 * time.Millisecond
	breaking := &breaking{live: cfg.Cluster.(live)}
	cfg.Cluster = breaking
	births := 0
	cfg.Observe = func(e run.Event) {
		if _, ok := e.(run.Settling); ok && births < 5 {
			births++
			must(t, w.bear(t.Context(), like, fmt.Sprintf("w%d", births), 2))
		}
	}
	report, err := apply.Run(t.Context(), cfg)
	must(t, err)
	if report.Births != 10 || report.Newcomers.Outcomes[journal.Deleted] != 10 || breaking.broken.Load() == 0 {
		t.Errorf("%d births, %v, watches broken %d times; want 10 births", report.Births, report.Newcomers.Outcomes, breaking.broken.Load())
	}
}

// breaking is a cluster whose watches break behind each record.
type breaking struct {
	live
	broken atomic.Int64
}

func (b *breaking) WatchPuts(ctx context.Context, prefix string, fromRevision int64) iter.Seq2[decode.Record, error] {
	return func(yield func(decode.Record, error) bool) {
		for record, err := range b.live.WatchPuts(ctx, prefix, fromRevision) {
			if !yield(record, err) {
				return
			}
			b.broken.Add(1)
			yield(decode.Record{}, errors.New("watch broken"))
			return
		}
	}
}

// Births that go on after the roots went stop the run before a pod is deleted, and name their owner.
func TestProducerThatGoesOn(t *testing.T) {
	w, job, p := incident(t, 50)
	like := podEntries(t, p)[0]
	value, err := w.client.Get(t.Context(), like.Key)
	must(t, err)
	cfg := w.config(p)
	cfg.Settle, cfg.SettleMax = 500*time.Millisecond, time.Second
	var settling run.Settling
	births := 0
	cfg.Observe = func(e run.Event) {
		if e, ok := e.(run.Settling); ok { // at each look a new pod, so that no look finds quiet
			settling = e
			births++
			must(t, w.bearFrom(t.Context(), string(value.Value), like, fmt.Sprintf("%04d", births), 1))
		}
	}
	report, err := apply.Run(t.Context(), cfg)
	if _, ok := errors.AsType[*run.HealthError](err); !ok || !strings.Contains(err.Error(), job.Name) {
		t.Fatalf("%v, want a HealthError that names the Job", err)
	}
	if report.Pods.Total() != 0 || !settling.Waiting || settling.PerSec == 0 {
		t.Errorf("%d pods judged; %+v", report.Pods.Total(), settling)
	}
}

// While a run is paused, what it waits for does not run out.
func TestPausedWhileSettling(t *testing.T) {
	w, _, p := incident(t, 50)
	like := podEntries(t, p)[0]
	value, err := w.client.Get(t.Context(), like.Key)
	must(t, err)
	cfg := w.config(p)
	cfg.Settle, cfg.SettleMax = 500*time.Millisecond, time.Second
	pacer := paced(&cfg)
	births, looks := 0, 0
	cfg.Observe = func(event run.Event) {
		switch e := event.(type) {
		case run.Settling:
			if births++; births == 1 {
				pacer.Pause("alice")
			}
			must(t, w.bearFrom(t.Context(), string(value.Value), like, fmt.Sprintf("%04d", births), 1))
		case run.Paced:
			if e.State != pace.Paused {
				break
			}
			if looks++; looks == 6 { // two seconds and a half later: without the pause, the run would have ended
				pacer.Resume("alice")
			}
		}
	}
	report, err := apply.Run(t.Context(), cfg)
	if _, ok := errors.AsType[*run.HealthError](err); !ok || looks < 6 || report.PausedSeconds < 2 {
		t.Errorf("%v, after %d looks and %g s of pause", err, looks, report.PausedSeconds)
	}
}

// A root that is made again during the sweep, as by GitOps, is named.
func TestRootReturns(t *testing.T) {
	w, job, p := incident(t, 50)
	root, err := w.client.Get(t.Context(), job.Key())
	must(t, err)
	cfg := w.config(p)
	cfg.Observe = func(e run.Event) {
		if e, ok := e.(run.StepEnded); ok && e.Step == run.StepPods {
			_, err := w.etcd.Put(t.Context(), job.Key(), string(root.Value))
			must(t, err)
		}
	}
	report, err := apply.Run(t.Context(), cfg)
	if !errors.Is(err, run.ErrLeft) || len(report.RootsReturned) != 1 || report.RootsReturned[0] != job.Key() {
		t.Errorf("%v, roots returned: %v", err, report.RootsReturned)
	}
}
