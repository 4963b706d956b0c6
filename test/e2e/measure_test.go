package e2e

import (
	"context"
	"slices"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// BenchmarkWatchers deletes 10,000 pods in three ways, under the eyes of 20 watches and 5 informers, and counts what those missed.
func BenchmarkWatchers(b *testing.B) {
	const count = 10_000
	for _, way := range []struct {
		name   string
		remove func(context.Context, *control) error
	}{
		{"etcdsweep", func(ctx context.Context, c *control) error {
			w := c.tool()
			w.run(w.applying(w.plan("runaway", "-n", batch, "--job", "runaway"))...)
			return nil
		}},
		{"127-in-a-transaction", func(ctx context.Context, c *control) error { return c.deleteTogether(ctx, 127) }},
		{"del-prefix", func(ctx context.Context, c *control) error {
			_, err := c.etcdClient().Delete(ctx, podsPrefix+batch+"/runaway-", clientv3.WithPrefix())
			return err
		}},
	} {
		b.Run(way.name, func(b *testing.B) {
			for range b.N {
				c := startControl(b)
				history := c.record()
				c.startControllers(fast)
				c.fill(count)
				c.stopControllers()
				witnesses := append(c.watchers(20), c.informers(5)...)
				began, start := c.revision(), time.Now()
				must(b, way.remove(b.Context(), c))
				took := time.Since(start)
				c.bare(web, "afterwards")
				history.until(b, c.revision()-1)
				b.ReportMetric(took.Seconds(), "s")
				b.ReportMetric(0, "ns/op")
				c.reportMissed(b, witnesses, history.deleted(podsPrefix+batch+"/", began))
			}
		})
	}
}

// deleteTogether deletes the runaway's pods, so many in each transaction.
func (c *control) deleteTogether(ctx context.Context, together int) error {
	client := c.etcdClient()
	response, err := client.Get(ctx, podsPrefix+batch+"/runaway-", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return err
	}
	for some := range slices.Chunk(response.Kvs, together) {
		deletes := make([]clientv3.Op, len(some))
		for i, kv := range some {
			deletes[i] = clientv3.OpDelete(string(kv.Key))
		}
		if _, err := client.Txn(ctx).Then(deletes...).Commit(); err != nil {
			return err
		}
	}
	return nil
}

// reportMissed counts what became of those who watched, once each has seen a pod that was made afterwards, or was cut off.
func (c *control) reportMissed(b *testing.B, witnesses []*witness, deleted []string) {
	b.Helper()
	cut, missed, again := 0, 0, 0
	for _, w := range witnesses {
		eventually(b, w.name+" to catch up, or be cut off", func(context.Context) (bool, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.known[podsPrefix+web+"/afterwards"] || w.store == nil && w.failed != nil, nil
		})
		w.mu.Lock()
		if w.failed != nil {
			cut++
		}
		for _, key := range deleted {
			switch n := w.deleted[key]; {
			case n == 0:
				missed++
			case n > 1:
				again++
			}
		}
		w.mu.Unlock()
	}
	b.ReportMetric(float64(cut), "cut-off")
	b.ReportMetric(float64(missed), "deletions-missed")
	b.ReportMetric(float64(again), "deletions-again")
	b.ReportMetric(float64(len(deleted)), "deletions")
}

// BenchmarkUndoAlive puts 200 pods and their Job back beside a kube-controller-manager that has seen the sweep, in both orders, and
// counts what is left a minute later.
func BenchmarkUndoAlive(b *testing.B) {
	const count = 200
	for _, order := range []struct {
		name  string
		first []string // what is put back before the rest
	}{
		{"job-first", []string{"--only", jobsPrefix + batch + "/runaway"}},
		{"pods-first", []string{"--only", "app=runaway"}},
	} {
		b.Run(order.name, func(b *testing.B) {
			for range b.N {
				c := startControl(b)
				c.startControllers(slow)
				c.fill(count)
				w, etcd := c.tool(), c.etcdClient()
				p := w.plan("runaway", "-n", batch, "--job", "runaway")
				w.apply(p)
				for _, part := range [][]string{order.first, nil} {
					r := w.try(append([]string{"undo", p.runDir, "--confirm", p.id, "--allow", "live-controllers", "--lease-duration", leaseDuration.String()}, part...)...)
					b.Log(r.status, r.out)
				}
				must(b, pause(b.Context(), observed))
				same := len(values(b, etcd, p.keys))
				made := 0
				for name := range got(inEtcd(b.Context(), etcd, podsPrefix+batch+"/runaway-"))(b) {
					if !p.keys[podsPrefix+batch+"/runaway-"+name] {
						made++
					}
				}
				b.ReportMetric(float64(same), "of-201-there")
				b.ReportMetric(float64(made), "new-pods")
				b.ReportMetric(0, "ns/op")
			}
		})
	}
}
