package sweep_test

import (
	"bytes"
	"strings"
	"testing"

	"etcdsweep/plan"
	"etcdsweep/plan/apply"
	"etcdsweep/plan/journal"
	"etcdsweep/test/fixtures"
	"etcdsweep/test/lab"
	"etcdsweep/test/lab/labtest"
)

// TestEncrypted plans four Jobs, each stored in another encoding, with their 240 pods, deletes them and puts them back: all that
// is judged is judged by what is in the values, also where it has drifted, and all that is kept is kept as it was stored.
func TestEncrypted(t *testing.T) {
	for name, binary := range labtest.Servers(t) {
		t.Run(name, func(t *testing.T) {
			w := restore(t, fixtures.Zoo, lab.Config{Binary: binary, NoFsync: true})
			w.unlock(fixtures.Zoo)
			p := w.plan(jobs("batch", "enc-aescbc", "enc-aesgcm", "enc-secretbox", "plain-json"))
			planned := keys(t, p)
			if counts := stages(p); counts[plan.StageRoots] != 4 || counts[plan.StagePods] != 240 {
				t.Fatalf("%v, want 4 roots and 240 pods", counts)
			}
			drifted := driftOneInFour(w, planned)
			before := w.state()
			cfg := w.config(p)
			report, err := apply.Run(t.Context(), cfg)
			must(t, err)
			wantOutcomes(t, "pods", report.Pods, map[journal.Outcome]int64{journal.Deleted: 240 - drifted, journal.DriftedDeleted: drifted})
			onlyGone(t, before, w.state(), planned)
			for key, r := range w.archived(cfg) {
				if !bytes.Equal(r.Value, before[key].Value) {
					t.Errorf("%s is archived otherwise than it was stored", key)
				}
			}
			_, err = w.undo(t.Context(), cfg)
			must(t, err)
			sameBytes(t, before, w.state())
		})
	}
}

// driftOneInFour writes some of the planned pods again, as they are, so that they are judged anew. It returns how many.
func driftOneInFour(w *world, planned []string) (drifted int64) {
	w.t.Helper()
	stored := w.state()
	for i, key := range planned {
		if i%4 != 0 || !strings.HasPrefix(key, "/registry/pods/") {
			continue
		}
		_, err := w.etcd.Put(w.t.Context(), key, string(stored[key].Value))
		must(w.t, err)
		drifted++
	}
	return drifted
}
