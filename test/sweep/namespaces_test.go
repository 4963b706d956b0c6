package sweep_test

import (
	"testing"

	"etcdsweep/plan/apply"
	"etcdsweep/plan/journal"
	"etcdsweep/test/fixtures"
	"etcdsweep/test/lab"
)

// A plan of two namespaces, of which one name begins with the other, is carried out in both, with a watch over each, and
// takes newcomers of both.
func TestApplyInTwoNamespaces(t *testing.T) {
	w := restore(t, fixtures.Zoo, lab.Config{NoFsync: true})
	query := jobs("batch", "runaway-2")
	query.Owners = append(query.Owners, jobs("batch-2", "runaway").Owners...)
	p := w.plan(query)
	before := w.state()
	pods := podEntries(t, p)
	first, last := pods[0], pods[len(pods)-1] // of batch-2 and of batch
	if first.Namespace == last.Namespace {
		t.Fatalf("all pods are in %s", first.Namespace)
	}
	must(t, w.bear(t.Context(), first, "n", 3))
	must(t, w.bear(t.Context(), last, "n", 3))
	report, err := apply.Run(t.Context(), w.config(p))
	must(t, err)
	wantOutcomes(t, "roots", report.Roots, map[journal.Outcome]int64{journal.Deleted: 2})
	wantOutcomes(t, "pods", report.Pods, map[journal.Outcome]int64{journal.Deleted: 350})
	wantOutcomes(t, "newcomers", report.Newcomers, map[journal.Outcome]int64{journal.Deleted: 6})
	onlyGone(t, before, w.state(), keys(t, p))
}
