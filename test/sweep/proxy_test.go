package sweep_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	clientv3 "go.etcd.io/etcd/client/v3"

	"etcdsweep/decode"
	"etcdsweep/etcdops"
	"etcdsweep/plan"
	"etcdsweep/plan/apply"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/run"
)

// line is a TCP proxy before the cluster's only member, and what goes wrong on it.
type line struct {
	proxy  *toxiproxy.Proxy
	client *etcdops.Client // that talks through it
}

func (w *world) line() *line {
	w.t.Helper()
	member, err := url.Parse(w.lab.Endpoints()[0])
	must(w.t, err)
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	l := &line{proxy: toxiproxy.NewProxy(server, "etcd", "127.0.0.1:0", member.Host)}
	must(w.t, l.proxy.Start())
	w.t.Cleanup(l.proxy.Stop)
	l.client = w.connect("https://" + l.proxy.Listen)
	return l
}

// toxic is a fault of toxiproxy's, on the way of the answers.
type toxic struct{ kind, attributes string }

func (l *line) add(x toxic) error {
	_, err := l.proxy.Toxics.AddToxicJson(strings.NewReader(
		fmt.Sprintf(`{"name": %q, "type": %q, "stream": "downstream", "attributes": {%s}}`, x.kind, x.kind, x.attributes)))
	return err
}

func (l *line) remove(ctx context.Context, x toxic) error {
	return l.proxy.Toxics.RemoveToxic(ctx, x.kind)
}

// suffer lets a toxic work until ctx ends: all the time, or where on is not 0 again and again for so long.
func (l *line) suffer(ctx context.Context, x toxic, on, off time.Duration) error {
	for {
		if err := l.add(x); err != nil {
			return err
		}
		if on == 0 {
			<-ctx.Done()
		} else {
			run.Wait(ctx, on)
		}
		if err := l.remove(context.WithoutCancel(ctx), x); err != nil {
			return err
		}
		if !run.Wait(ctx, off) {
			return nil
		}
	}
}

// listener hears the answers of deletes before the engine does.
type listener struct {
	live
	mu    sync.Mutex
	heard map[string]bool // keys of which an answer says that this run has deleted them
	lost  map[string]int  // answers that were lost
}

func listen(l live) *listener {
	return &listener{live: l, heard: map[string]bool{}, lost: map[string]int{}}
}

func (l *listener) DeleteIf(ctx context.Context, key string, createRevision, modRevision int64) (int64, *decode.Record, error) {
	at, current, err := l.live.DeleteIf(ctx, key, createRevision, modRevision)
	l.mu.Lock()
	defer l.mu.Unlock()
	if at > 0 {
		l.heard[key] = true
	}
	if err != nil {
		l.lost[key]++
	}
	return at, current, err
}

// fair checks an outcome against what was heard.
func (l *listener) fair(t *testing.T, e run.Judged) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var want bool
	switch e.Outcome {
	case journal.Deleted:
		want = l.heard[e.Key]
	case journal.GoneUnknown, journal.Unresolved:
		want = !l.heard[e.Key] && l.lost[e.Key] > 0
	}
	if !want {
		t.Errorf("%s is %s; an answer was heard: %v, lost: %d", e.Key, e.Outcome, l.heard[e.Key], l.lost[e.Key])
	}
}

// events returns every event behind a revision, with what stood before it. Events of keys with a lease are left out.
func (w *world) events(from int64) (all []*clientv3.Event) {
	w.t.Helper()
	now, err := w.client.Revision(w.t.Context(), "/registry")
	must(w.t, err)
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	for at := from; at < now; {
		for response := range w.etcd.Watch(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithRev(at+1), clientv3.WithPrevKV()) {
			must(w.t, response.Err())
			for _, event := range response.Events {
				at = event.Kv.ModRevision
				all = append(all, event)
			}
			if at >= now {
				break
			}
		}
		must(w.t, ctx.Err())
	}
	return all
}

// deletedOnce checks that each key was deleted exactly once behind a revision, and no other.
func (w *world) deletedOnce(from int64, keys []string) {
	w.t.Helper()
	times := map[string]int{}
	for _, event := range w.events(from) {
		if event.Type == clientv3.EventTypeDelete {
			times[string(event.Kv.Key)]++
		}
	}
	for _, key := range keys {
		if times[key] != 1 {
			w.t.Errorf("%s was deleted %d times", key, times[key])
		}
		delete(times, key)
	}
	for key := range times {
		w.t.Errorf("%s was deleted", key)
	}
}

// Whatever the network does to the answers, every key goes once, and none is counted as deleted of which no answer said so.
func TestBadLine(t *testing.T) {
	const pods = 1000
	for _, test := range []struct {
		name    string
		toxic   toxic
		on, off time.Duration // on is 0: for as long as pods go
		loses   bool          // answers are lost
	}{
		{name: "answers are cut off", toxic: toxic{"limit_data", `"bytes": 12000`}, loses: true},
		{name: "connections are reset", toxic: toxic{"reset_peer", `"timeout": 0`}, on: 20 * time.Millisecond, off: 150 * time.Millisecond, loses: true},
		{name: "answers stop, and the connection ends", toxic: toxic{"timeout", `"timeout": 300`}, on: 400 * time.Millisecond, off: 200 * time.Millisecond, loses: true},
		{name: "answers are late", toxic: toxic{"latency", `"latency": 300, "jitter": 200`}},
		{name: "the line is narrow", toxic: toxic{"bandwidth", `"rate": 40`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, _, p := incident(t, pods)
			before, planned := w.state(), keys(t, p)
			from, err := w.client.Revision(t.Context(), "/registry")
			must(t, err)
			l := w.line()
			ears := listen(live{l.client, w.live(p).facts})

			cfg, mend := w.onBadLine(p, ears, func(ctx context.Context) error { return l.suffer(ctx, test.toxic, test.on, test.off) })
			report, err := apply.Run(t.Context(), cfg)
			mend()
			if health := (*run.HealthError)(nil); errors.As(err, &health) { // the line was too bad: then it goes on when the line is well
				t.Logf("stopped: %v", err)
				cfg, _ = w.onBadLine(p, ears, nil)
				report, err = apply.Run(t.Context(), cfg)
			}
			must(t, err)
			all := report.Pods.Outcomes
			t.Logf("answers of %d keys lost: %v", len(ears.lost), all)
			if test.loses != (len(ears.lost) > 0) {
				t.Errorf("answers of %d keys were lost", len(ears.lost))
			}
			if sum := all[journal.Deleted] + all[journal.GoneUnknown]; sum != pods || report.Pods.Total() != pods || report.State != journal.StateDone {
				t.Errorf("%d of %d pods went: %v", sum, pods, all)
			}
			onlyGone(t, before, w.state(), planned)
			w.deletedOnce(from, planned)
		})
	}
}

// onBadLine is a run whose line is hurt while pods go, and whose outcomes are checked against what was heard on it. The line is
// well again when the pods are gone, or when mend is called.
func (w *world) onBadLine(p *plan.File, ears *listener, hurt func(context.Context) error) (cfg apply.Config, mend func()) {
	w.t.Helper()
	cfg = w.config(p)
	cfg.Cluster, cfg.Concurrency = ears, 64
	ctx, cancel := context.WithCancel(w.t.Context())
	var hurting sync.WaitGroup
	mend = func() { cancel(); hurting.Wait() }
	w.t.Cleanup(mend) // before the proxy is closed
	cfg.Observe = func(e run.Event) {
		switch e := e.(type) {
		case run.Judged:
			if e.Step != run.StepPods {
				return
			}
			ears.fair(w.t, e)
			if hurt != nil {
				do := hurt
				hurting.Go(func() {
					if err := do(ctx); err != nil {
						w.t.Error(err)
					}
				})
				hurt = nil
			}
		case run.StepEnded:
			if e.Step == run.StepPods {
				mend()
			}
		}
	}
	return cfg, mend
}
