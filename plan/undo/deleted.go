package undo

import (
	"errors"
	"io/fs"
	"maps"
	"os"

	"etcdsweep/decode"
	"etcdsweep/durable"
	"etcdsweep/plan"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/run"
)

// deleted is what the run's journal tells of what is in its archive: the exceptions only.
type deleted struct {
	spared  map[string]bool  // keys of which nothing is put back: the run has left them
	first   map[string]int64 // create revisions, of keys whose objects were planned, and made again, and deleted again: the first counts
	holders map[string]bool  // of kube-controller-manager's lease, that were at work during the run
	watched bool             // whether anybody looked
}

// readDeleted reads the run's journal. If it has deleted nothing, or if its archive is gone, it is refused.
func readDeleted(dir *run.Dir) (deleted, error) {
	d := deleted{spared: map[string]bool{}, first: map[string]int64{}, holders: map[string]bool{}}
	newcomers, err := readNewcomers(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return d, err
	}
	left := map[string]bool{} // skipped in the end, and archived because a garbage collector takes them if a root went
	history := &journal.History{}
	history.Keep(string(run.StepRoots))
	err = readJournal(dir, func(frame *journal.Frame) {
		history.Add(frame)
		if c := frame.Controllers; c != nil {
			d.watched = true
			if c.Moving {
				d.holders[c.Holder] = true
			}
		}
		if frame.Page != nil {
			for _, key := range frame.Page.Keys { // in doubt again, whatever was said of it before
				if d.first[key] > 0 {
					continue
				}
				delete(d.spared, key)
				delete(left, key)
			}
		}
		if frame.Judged == nil {
			return
		}
		for i := range frame.Judged.Keys {
			v := &frame.Judged.Keys[i]
			if d.first[v.Key] > 0 {
				continue
			}
			delete(d.spared, v.Key)
			delete(left, v.Key)
			switch {
			case newcomers[v.Key] && frame.Judged.Stage != string(run.StepNewcomers) && went(v):
				d.first[v.Key] = v.CreateRevision
			case v.Outcome != journal.Skipped:
			case v.ModRevision > 0:
				left[v.Key] = true
			default:
				d.spared[v.Key] = true
			}
		}
	})
	if errors.Is(err, fs.ErrNotExist) || err == nil && !history.Began() {
		return d, &plan.RefusedError{
			Reason: "the run in " + dir.Path + " has deleted nothing",
			Advice: "there is nothing to put back; etcdsweep runs lists the runs",
		}
	}
	if err != nil {
		return d, err
	}
	if _, err := os.Lstat(dir.Archive()); errors.Is(err, fs.ErrNotExist) {
		return d, &plan.RefusedError{
			Reason: "the archive of the run in " + dir.Path + " is gone: it was pruned, or removed by hand",
			Advice: "what the run has deleted cannot be put back from here; look for another copy of " + dir.Archive() + ", or for a backup of etcd",
		}
	}
	if rootsWent(history) {
		return d, nil
	}
	maps.Copy(d.spared, left)
	return d, d.spareCollateral(dir)
}

// readNewcomers returns the keys that the run has chased. In a namespace that goes whole they may be planned ones that were made again.
func readNewcomers(dir *run.Dir) (map[string]bool, error) {
	keys := map[string]bool{}
	err := readJournal(dir, func(frame *journal.Frame) {
		if frame.Page != nil && frame.Page.Stage == string(run.StepNewcomers) {
			for _, key := range frame.Page.Keys {
				keys[key] = true
			}
		}
	})
	return keys, err
}

// went reports whether an object was deleted, or may have been.
func went(v *journal.Verdict) bool {
	switch v.Outcome {
	case journal.Deleted, journal.DriftedDeleted, journal.GoneUnknown, journal.Unresolved:
		return true
	default:
		return false
	}
}

// rootsWent reports whether the run has deleted a root, or may have.
func rootsWent(h *journal.History) bool {
	stage := string(run.StepRoots)
	for _, v := range h.Verdicts[stage] {
		if went(&v) {
			return true
		}
	}
	return len(h.Doubt[stage]) > 0
}

// spareCollateral adds what was archived only because a garbage collector would have taken it.
func (d *deleted) spareCollateral(dir *run.Dir) error {
	collateral := map[string]bool{}
	err := readJournal(dir, func(frame *journal.Frame) {
		switch {
		case frame.Page != nil:
			for _, key := range frame.Page.Keys {
				if frame.Page.Stage == string(run.StepCollateral) {
					collateral[key] = true
				} else {
					delete(collateral, key) // a newcomer by now
				}
			}
		case frame.Judged != nil && frame.Judged.Stage == string(run.StepCollateral):
			for i := range frame.Judged.Keys {
				collateral[frame.Judged.Keys[i].Key] = true
			}
		}
	})
	maps.Copy(d.spared, collateral)
	return err
}

// counts reports whether an archived record may be put back.
func (d *deleted) counts(record *decode.Record) bool {
	first, again := d.first[record.Key]
	return !d.spared[record.Key] && (!again || record.CreateRevision == first)
}

// readJournal reads the run's journal up to a frame that a crash has torn.
func readJournal(dir *run.Dir, each func(*journal.Frame)) error {
	for frame, err := range journal.ReadFile(dir.Journal()) {
		if errors.Is(err, durable.ErrTorn) {
			return nil
		}
		if err != nil {
			return err
		}
		each(frame)
	}
	return nil
}
