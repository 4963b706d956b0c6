package sweep_test

import (
	"context"
	"errors"
	"iter"
	"sync"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"etcdsweep/decode"
	"etcdsweep/etcdops"
	"etcdsweep/plan/apply"
	"etcdsweep/plan/journal"
)

// busy is etcd's answer when applies fall behind.
type busy struct{}

func (busy) Error() string   { return rpctypes.ErrTooManyRequests.Error() }
func (busy) NotDone() bool   { return true }
func (busy) Temporary() bool { return true }

// An etcd that is too busy is asked again. Nothing is in doubt: it has said that it did nothing.
func TestTooManyRequests(t *testing.T) {
	w, _, p := incident(t, 50)
	before := w.state()
	cfg := w.config(p)
	base := w.live(p)
	var mu sync.Mutex
	asked := map[string]int{}
	cfg.Cluster = faulty{base, func(ctx context.Context, key string, createRevision, modRevision int64) (int64, *decode.Record, error) {
		mu.Lock()
		asked[key]++
		refuse := asked[key] <= 2
		mu.Unlock()
		if refuse {
			return 0, nil, busy{}
		}
		return base.DeleteIf(ctx, key, createRevision, modRevision)
	}}
	report, err := apply.Run(t.Context(), cfg)
	must(t, err)
	wantOutcomes(t, "roots", report.Roots, map[journal.Outcome]int64{journal.Deleted: 1})
	wantOutcomes(t, "pods", report.Pods, map[journal.Outcome]int64{journal.Deleted: 50})
	onlyGone(t, before, w.state(), keys(t, p))
}

// A user who may read and not write ends the run at the first delete, with what etcd said and what to do. Once the user may
// write, the run goes on.
func TestPermissionDenied(t *testing.T) {
	w, _, p := incident(t, 50)
	before, planned := w.state(), keys(t, p)
	const password = "secret"
	ctx := t.Context()
	for _, set := range []func() error{
		func() error { _, err := w.etcd.UserAdd(ctx, "root", password); return err },
		func() error { _, err := w.etcd.UserGrantRole(ctx, "root", "root"); return err },
		func() error { _, err := w.etcd.RoleAdd(ctx, "reader"); return err },
		func() error {
			_, err := w.etcd.RoleGrantPermission(ctx, "reader", "\x00", "\x00", clientv3.PermissionType(clientv3.PermRead))
			return err
		},
		func() error { // the user that the name in the client's certificate says
			_, err := w.etcd.UserAddWithOptions(ctx, "client", "", &clientv3.UserAddOptions{NoPassword: true})
			return err
		},
		func() error { _, err := w.etcd.UserGrantRole(ctx, "client", "reader"); return err },
		func() error { _, err := w.etcd.AuthEnable(ctx); return err },
	} {
		must(t, set())
	}
	root, _, err := etcdops.Connect(ctx, etcdops.Config{
		Endpoints: w.lab.Endpoints(), CACert: w.lab.CA.Path(), Cert: w.lab.Cert, Key: w.lab.Key, Username: "root", Password: password,
	})
	must(t, err)
	t.Cleanup(func() { must(t, root.Close()) })
	config := func(client *etcdops.Client) apply.Config {
		cfg := w.config(p)
		cfg.Cluster = live{client, w.live(p).facts}
		cfg.Snapshots = snapshots{&world{t: t, client: root}, cfg.Dir.FS} // etcd streams snapshots to root only
		return cfg
	}

	report, err := apply.Run(ctx, config(w.client))
	var refused *etcdops.RefusedError
	if !errors.As(err, &refused) || !errors.Is(rpctypes.Error(refused.Err), rpctypes.ErrPermissionDenied) || refused.Hint() == "" {
		t.Errorf("%v, want what etcd said, and a hint", err)
	}
	if report.State != journal.StateFailed || report.Roots.Total() != 0 || report.Pods.Total() != 0 {
		t.Errorf("state %s, roots %v, pods %v", report.State, report.Roots.Outcomes, report.Pods.Outcomes)
	}
	onlyGone(t, before, w.state(), nil)

	report, err = apply.Run(ctx, config(root))
	must(t, err)
	wantOutcomes(t, "pods", report.Pods, map[journal.Outcome]int64{journal.Deleted: 50})
	onlyGone(t, before, w.state(), planned)
}

// compacting is a cluster that is compacted again and again while it is scanned.
type compacting struct {
	live
	w     *world
	times int
}

func (c *compacting) Scan(ctx context.Context, prefix string) iter.Seq2[decode.Record, error] {
	const every = 100
	return func(yield func(decode.Record, error) bool) {
		n := 0
		for record, err := range c.live.Scan(ctx, prefix) {
			if !yield(record, err) || err != nil {
				return
			}
			if n++; n%every == 0 {
				now, err := c.w.client.Revision(ctx, "/registry")
				if err == nil {
					_, err = c.w.etcd.Compact(ctx, now, clientv3.WithCompactPhysical())
				}
				switch {
				case err == nil:
					c.times++
				case !errors.Is(err, rpctypes.ErrCompacted): // nothing has happened since the last one
					c.w.t.Error(err)
				}
			}
		}
	}
}

// Compactions under the scan for newcomers leave none of them out.
func TestCompactedUnderNewcomers(t *testing.T) {
	const newcomers = 900
	w, _, p := incident(t, 50)
	before := w.state()
	like := podEntries(t, p)[0]
	must(t, w.bear(t.Context(), like, "x", newcomers))
	cfg := w.config(p)
	cfg.PageKeys = 50 // so that deletes make revisions while the scan goes on
	cluster := &compacting{live: w.live(p), w: w}
	cfg.Cluster = cluster
	report, err := apply.Run(t.Context(), cfg)
	must(t, err)
	if cluster.times < 2 {
		t.Errorf("compacted %d times: the test tested nothing", cluster.times)
	}
	wantOutcomes(t, "newcomers", report.Newcomers, map[journal.Outcome]int64{journal.Deleted: newcomers})
	onlyGone(t, before, w.state(), keys(t, p))
}
