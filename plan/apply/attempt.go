package apply

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"etcdsweep/decode"
	"etcdsweep/durable"
	"etcdsweep/plan"
	"etcdsweep/plan/archive"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/run"
)

// open reads what earlier attempts have written down. A run that went to its end is refused, and so is one that was undone.
func (r *sweeper) open() (err error) {
	if r.Dir.Undone() {
		return &plan.RefusedError{
			Reason: "the run of plan " + r.Plan.ID + " was undone, or an undo of it was begun",
			Advice: "plan again; the undo is told by etcdsweep runs and in " + r.Dir.UndoReport(),
		}
	}
	if !r.Dir.Began() {
		return nil
	}
	var cut int64
	if r.journal, r.history, cut, err = r.Dir.OpenJournal(r.Dir.Journal(), r.Now, string(run.StepRoots)); err != nil {
		return err
	}
	if r.history.State().Finished() {
		report, err := readReport(r.Dir)
		if err != nil {
			return err
		}
		return refuseFinished(r.Dir, report)
	}
	if cut > 0 {
		r.emit(run.Warning{Text: fmt.Sprintf("the journal ended within a frame, as after a crash: %d bytes were cut off", cut)})
	}
	return nil
}

// Finished returns the report of a run that went to its end and was not undone, and the refusal to carry its plan out again;
// neither if there is no such run. It needs no cluster.
func Finished(dir *run.Dir) (*Report, error) {
	if !dir.Began() || dir.Undone() {
		return nil, nil
	}
	history := &journal.History{}
	for frame, err := range journal.ReadFile(dir.Journal()) {
		if errors.Is(err, durable.ErrTorn) {
			break
		}
		if err != nil {
			return nil, err
		}
		history.Add(frame)
	}
	if !history.State().Finished() {
		return nil, nil
	}
	report, err := readReport(dir)
	if err != nil {
		return nil, err
	}
	return report, refuseFinished(dir, report)
}

func refuseFinished(dir *run.Dir, report *Report) error {
	return &plan.RefusedError{
		Reason: fmt.Sprintf("plan %s was carried out at %s: %s", report.Plan, report.Ended.Format("2006-01-02 15:04:05 MST"), report.words()),
		Advice: "its report is " + dir.Report() + "; plan again for what is left",
	}
}

// begin writes down who runs what. From here on the run has a journal.
func (r *sweeper) begin() (err error) {
	if r.journal == nil {
		if r.journal, r.history, _, err = r.Dir.OpenJournal(r.Dir.Journal(), r.Now, string(run.StepRoots)); err != nil {
			return err
		}
	} else if r.history.Began() {
		r.emit(run.Warning{Text: "going on with a run that was " + string(r.history.State()) + ": what is done is not done again"})
	}
	r.mu.Lock()
	r.opened = true
	early := r.early
	r.mu.Unlock()
	err = r.note(journal.Frame{Opened: &r.Opened})
	for _, frame := range early {
		err = firstError(err, r.note(frame))
	}
	return err
}

// openArchive makes the archive, or opens the one of earlier attempts.
func (r *sweeper) openArchive() (err error) {
	if _, err := os.Lstat(r.Dir.Archive()); errors.Is(err, fs.ErrNotExist) {
		if r.history.Archived > 0 {
			return &plan.RefusedError{
				Reason: fmt.Sprintf("the archive of this run is gone: %s, with the bytes of %d keys", r.Dir.Archive(), r.history.Archived),
				Advice: "put it back in its place, or plan again for what is left: a run is gone on with whole, or not at all",
			}
		}
		r.archive, err = archive.Create(r.Dir.FS, r.Dir.Archive())
		return err
	}
	r.archived = map[string]revisions{}
	rootsStand := !r.allRootsWent() // then there is nothing in it but roots and collateral, which are compared again
	var cut int64
	r.archive, cut, err = archive.Open(r.Dir.FS, r.Dir.Archive(), func(record decode.Record) {
		if rootsStand || r.inDoubt(record.Key) {
			r.archived[record.Key] = revisions{record.CreateRevision, record.ModRevision}
		}
	})
	if cut > 0 {
		r.emit(run.Warning{Text: fmt.Sprintf("the archive ended within a frame, as after a crash: %d bytes were cut off; nothing in them was deleted", cut)})
	}
	return err
}

// inDoubt reports whether an earlier attempt may have archived a key without knowing what became of it.
func (r *sweeper) inDoubt(key string) bool {
	for _, keys := range r.history.Doubt {
		if keys[key] {
			return true
		}
	}
	_, root := r.history.Verdicts[string(run.StepRoots)][key] // one that stayed is tried again
	return root
}

// note writes a frame to the journal, and to the history. The history has it whatever the error.
func (r *sweeper) note(frame journal.Frame) error {
	if frame.At.IsZero() {
		frame.At = r.Now().UTC()
	}
	r.mu.Lock()
	r.history.Add(&frame)
	r.mu.Unlock()
	return r.journal.Append(frame)
}

// notePause writes down a pause, or what was said to the run, as soon as there is a journal. If it cannot be written to, the next
// page cannot either.
func (r *sweeper) notePause(frame journal.Frame) {
	r.mu.Lock()
	opened := r.opened
	if !opened {
		frame.At = r.Now().UTC()
		r.early = append(r.early, frame)
	}
	r.mu.Unlock()
	if opened {
		_ = r.note(frame)
	}
}

// conclude writes the report, and closes the journal's attempt: in this order, for a run whose journal says that it is done is
// not gone on with, and would have no report for ever.
func (r *sweeper) conclude(err error) (*Report, error) {
	if !r.opened {
		return nil, err // refused before it began: there is nothing to report, and what an earlier attempt was it stays
	}
	_ = r.concludeControllers() // an error of the journal is told by the frame below
	if reportErr := r.writeReport(err); reportErr != nil {
		err = run.Unfinished(err, reportErr)
	}
	if noteErr := r.note(journal.Frame{Closed: r.closing(err)}); noteErr != nil && !errors.Is(err, errors.Unwrap(noteErr)) {
		err = run.Unfinished(err, noteErr)
		_ = r.writeReport(err) // it may say that the run is done, and the next attempt goes on
	}
	r.fillReport(r.closing(err))
	return &r.report, err
}

// closing says how the attempt ends that ends with err.
func (r *sweeper) closing(err error) *journal.Closed {
	closed := &journal.Closed{State: run.StateOf(err, r.history.Began())}
	if err != nil {
		closed.Error = err.Error()
	}
	return closed
}

func (r *sweeper) writeReport(err error) error {
	r.fillReport(r.closing(err))
	return r.Dir.WriteReport(r.Dir.Report(), &r.report)
}

// close closes what the run has opened.
func (r *sweeper) close() error {
	var errs []error
	if r.snapshot != nil {
		errs = append(errs, r.snapshot.Close())
	}
	if r.archive != nil {
		errs = append(errs, r.archive.Close())
	}
	if r.journal != nil {
		errs = append(errs, r.journal.Close())
	}
	return errors.Join(errs...)
}
