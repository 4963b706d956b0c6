package sweep_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"etcdsweep/plan"
	"etcdsweep/plan/apply"
	"etcdsweep/plan/journal"
	"etcdsweep/test/fixtures"
	"etcdsweep/test/lab"
	"etcdsweep/test/lab/labtest"
)

// The main job on the real incident: exactly the pods of one of the two runaway Jobs go, and nothing else changes.
func TestIncident(t *testing.T) {
	for name, binary := range labtest.Servers(t) {
		t.Run(name, func(t *testing.T) {
			w := restore(t, fixtures.Incident, lab.Config{Binary: binary})
			before := w.state()

			p := w.plan(jobs("runaway", "error-ret-node7"))
			if after := w.state(); len(after) != len(before) {
				t.Errorf("planning changed the cluster: %d keys, were %d", len(after), len(before))
			}
			summary := p.Trailer.Summary
			if roots, pods := tally(summary.Stages, plan.StageRoots), tally(summary.Stages, plan.StagePods); roots != 1 || pods != 10063 || summary.Terminating != 10063 {
				t.Fatalf("%d roots, %d pods, %d of them terminating; want 1, 10063, 10063", roots, pods, summary.Terminating)
			}
			planned := keys(t, p)
			for _, key := range planned[1:] {
				if !strings.HasPrefix(key, "/registry/pods/runaway/error-ret-node7-") {
					t.Fatalf("%s is planned", key)
				}
			}

			deletes := w.deletes(len(planned))
			report, err := apply.Run(t.Context(), w.config(p))
			if err != nil {
				t.Fatal(err)
			}
			if report.State != journal.StateDone || report.Roots.Outcomes[journal.Deleted] != 1 || report.Pods.Outcomes[journal.Deleted] != 10063 || report.Left.Selected != 0 {
				t.Errorf("report: %+v", report)
			}
			onlyGone(t, before, w.state(), planned)

			perRevision := deletes()
			if len(perRevision) != len(planned) {
				t.Errorf("a watcher saw %d keys go in %d revisions", len(planned), len(perRevision))
			}
		})
	}
}

// Look-alikes and what cannot be read stay out.
func TestZoo(t *testing.T) {
	for name, binary := range labtest.Servers(t) {
		t.Run(name, func(t *testing.T) {
			w := restore(t, fixtures.Zoo, lab.Config{Binary: binary})
			before := w.state()
			p := w.plan(jobs("batch", "runaway"))
			summary := p.Trailer.Summary
			if pods := tally(summary.Stages, plan.StagePods); pods != 4000 {
				t.Errorf("%d pods, want 4000", pods)
			}
			unreadable := map[string]int64{}
			for _, class := range summary.Unreadable {
				unreadable[class.Reason] = class.Count
			}
			for class, want := range map[string]int64{
				"encrypted (aescbc, key key-aescbc)":       60,
				"encrypted (aesgcm, key key-aesgcm)":       60,
				"encrypted (secretbox, key key-secretbox)": 60,
			} {
				if unreadable[class] != want {
					t.Errorf("%d unreadable values of class %s, want %d", unreadable[class], class, want)
				}
			}
			planned := keys(t, p)
			for _, key := range planned[1:] {
				if !strings.HasPrefix(key, "/registry/pods/batch/runaway-") || strings.HasPrefix(key, "/registry/pods/batch/runaway-2-") {
					t.Fatalf("%s is planned", key)
				}
			}
			if _, err := apply.Run(t.Context(), w.config(p)); err != nil {
				t.Fatal(err)
			}
			onlyGone(t, before, w.state(), planned)
		})
	}
}

// Namespaces of which one name begins with the other are read in the order of their keys, and stay apart.
func TestNamespacesThatSharePrefix(t *testing.T) {
	w := restore(t, fixtures.Zoo, lab.Config{})
	query := jobs("batch", "runaway")
	query.Owners = append(query.Owners, jobs("batch-2", "runaway").Owners...)
	p := w.plan(query)
	if roots, pods := tally(p.Trailer.Summary.Stages, plan.StageRoots), tally(p.Trailer.Summary.Stages, plan.StagePods); roots != 2 || pods != 4200 {
		t.Errorf("%d roots, %d pods; want 2, 4200", roots, pods)
	}
	if all := keys(t, p); !slices.IsSorted(all) {
		t.Error("the keys do not ascend")
	}
}

// An owner without a record of its own is matched by its name, and each UID is shown.
func TestAbsentOwner(t *testing.T) {
	w := restore(t, fixtures.Zoo, lab.Config{})
	_, err := w.etcd.Delete(t.Context(), "/registry/jobs/batch/runaway")
	must(t, err)
	p := w.plan(jobs("batch", "runaway"))
	owners := p.Trailer.Owners
	if len(owners) != 1 || !owners[0].Absent || len(owners[0].UIDs) != 1 || tally(p.Trailer.Summary.Stages, plan.StageRoots) != 0 || p.Trailer.Entries != 4000 {
		t.Errorf("owners %+v, %d entries", owners, p.Trailer.Entries)
	}
}

// An owner whose record is there and cannot be read is refused: its UID is unknown.
func TestUnreadableOwner(t *testing.T) {
	w := restore(t, fixtures.Zoo, lab.Config{})
	_, err := w.tryPlan(jobs("batch", "enc-aescbc"))
	if refused, ok := errors.AsType[*plan.RefusedError](err); !ok || !strings.Contains(refused.Reason, "aescbc") {
		t.Errorf("%v, want a refusal that says how the record is encrypted", err)
	}
}

func tally(tallies []plan.Tally, name string) int64 {
	for _, t := range tallies {
		if t.Name == name {
			return t.Entries
		}
	}
	return 0
}
