package sweep_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"etcdsweep/decode"
	"etcdsweep/plan/apply"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/run"
	"etcdsweep/test/lab"
)

// Two operators carry out the same plan at once, each on a master of their own, where no lock keeps them apart: each key
// goes once, and is counted as deleted by one of them.
func TestTwoOperators(t *testing.T) {
	const pods, operators = 600, 2
	w := start(t, lab.Config{Members: 3, NoFsync: true})
	job := w.fill(pods, 1)[0]
	p := w.plan(jobs(job.Namespace, job.Name))
	before, planned := w.state(), keys(t, p)

	var ready sync.WaitGroup // they delete the first pod together, when both have read the page
	ready.Add(operators)
	var late atomic.Int64 // deletes that came after the other operator's
	var reports [operators]*apply.Report
	var group errgroup.Group
	for i := range operators {
		cfg := w.configIn(t.TempDir(), p)
		base := live{w.connect(w.lab.Endpoints()[i]), w.live(p).facts}
		arrive := sync.OnceFunc(ready.Done)
		cfg.Cluster = faulty{base, func(ctx context.Context, key string, createRevision, modRevision int64) (int64, *decode.Record, error) {
			if key != job.Key() {
				arrive()
				ready.Wait()
			}
			at, current, err := base.DeleteIf(ctx, key, createRevision, modRevision)
			if err == nil && at == 0 && current == nil && key != job.Key() {
				late.Add(1)
			}
			return at, current, err
		}}
		group.Go(func() (err error) {
			defer arrive() // one that fails holds nobody up
			reports[i], err = apply.Run(t.Context(), cfg)
			if errors.Is(err, run.ErrLeft) {
				return nil
			}
			return err
		})
	}
	must(t, group.Wait())
	onlyGone(t, before, w.state(), planned)
	w.deletedOnce(p.Header.Revision, planned)
	var deleted, unknown int64
	for _, report := range reports {
		t.Logf("roots %v, pods %v", report.Roots.Outcomes, report.Pods.Outcomes)
		for _, tally := range []journal.Tally{report.Roots, report.Pods} {
			deleted += tally.Outcomes[journal.Deleted] + tally.Outcomes[journal.DriftedDeleted]
			unknown += tally.Outcomes[journal.GoneUnknown]
		}
		if report.Pods.Total() != pods {
			t.Errorf("%d pods judged, want %d", report.Pods.Total(), pods)
		}
	}
	if deleted > int64(len(planned)) || deleted+unknown < int64(len(planned)) {
		t.Errorf("%d keys deleted and %d perhaps, of %d", deleted, unknown, len(planned))
	}
	if late.Load() == 0 {
		t.Error("they did not meet: the test tested nothing")
	}
}
