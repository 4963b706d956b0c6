package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"etcdsweep/durable"
	"etcdsweep/plan"
	"etcdsweep/plan/journal"
)

// States of runs beside those that a journal knows.
const (
	StateRunning journal.State = "running" // a process of this machine works on it
	StatePlanned journal.State = "planned" // it has not begun to keep a journal
	StateDamaged journal.State = "damaged" // its plan or its journal cannot be read
	StatePartly  journal.State = "partly"  // of an undo: only what --only selected
)

// Summary is a run at a glance.
type Summary struct {
	ID        string        `json:"id"` // of the plan; the name of the directory, if the plan cannot be read
	Directory string        `json:"directory"`
	State     journal.State `json:"state"`
	Damage    string        `json:"damage,omitempty"` // what cannot be read
	Started   time.Time     `json:"started,omitzero"`
	Ended     time.Time     `json:"ended,omitzero"` // of the last thing that was written down
	Deleted   int64         `json:"deleted"`
	Owners    []string      `json:"owners,omitempty"` // whose dependents it has deleted; the namespaces, if it names no owner
	Bytes     int64         `json:"bytes"`            // on the disk
	Secrets   bool          `json:"secrets"`          // a snapshot or an archive is there
	Undo      journal.State `json:"undo,omitempty"`   // "" if no undo was begun

	dir  *Dir
	plan *plan.File // nil if it cannot be read
}

// List returns the runs of a state directory, the newest first. One that cannot be read is among them, as a damaged one.
func List(fsys durable.FS, stateDir string) ([]Summary, error) {
	entries, err := os.ReadDir(filepath.Join(stateDir, "runs"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("runs: %w", err)
	}
	var all []Summary
	for _, entry := range entries {
		if entry.IsDir() {
			s := summarize(&Dir{Path: filepath.Join(stateDir, "runs", entry.Name()), FS: fsys})
			s.findRunning()
			all = append(all, s)
		}
	}
	slices.SortStableFunc(all, func(a, b Summary) int { return b.Started.Compare(a.Started) })
	return all, nil
}

func summarize(d *Dir) Summary {
	s := Summary{ID: filepath.Base(d.Path), Directory: d.Path, dir: d}
	s.Secrets = exists(d.Snapshot()) || exists(d.Archive())
	entries, err := os.ReadDir(d.Path)
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil {
			s.Bytes += info.Size()
		}
	}
	if err == nil {
		s.plan, err = plan.Open(d.Plan())
	}
	if err == nil {
		s.ID = s.plan.ID
		s.Owners = about(&s.plan.Header.Selection)
		err = s.read()
	}
	if err != nil {
		s.State, s.Damage = StateDamaged, err.Error()
	}
	return s
}

// about says what a selection is about, shortly.
func about(selection *plan.Selection) []string {
	var owners []string
	for i := range selection.Owners {
		owners = append(owners, selection.Owners[i].String())
	}
	if len(owners) == 0 {
		return selection.Namespaces
	}
	return owners
}

// read reads the journals of a run.
func (s *Summary) read() error {
	history, err := readHistory(s.dir.Journal())
	if errors.Is(err, fs.ErrNotExist) {
		s.State, s.Started = StatePlanned, s.plan.Header.Created
		return nil
	}
	if err != nil {
		return err
	}
	for _, step := range []Step{StepRoots, StepPods, StepObjects, StepNewcomers, StepNamespace} {
		outcomes := history.Tally(string(step)).Outcomes
		s.Deleted += outcomes[journal.Deleted] + outcomes[journal.DriftedDeleted] + outcomes[journal.GoneUnknown]
	}
	s.State = history.State()
	if n := len(history.Attempts); n > 0 {
		s.Started, s.Ended = history.Attempts[0].Began, history.Attempts[n-1].Ended
	}
	switch undo, err := readHistory(s.dir.UndoJournal()); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		s.Undo = undoState(undo)
		if n := len(undo.Attempts); n > 0 {
			s.Ended = undo.Attempts[n-1].Ended
		}
	}
	return nil
}

// undoState says how far the run is undone. The last attempt counts while it is not finished; after that the last one that was
// not limited by --only does. Any number of limited ones are a part, because nobody has compared them with the archive.
func undoState(h *journal.History) journal.State {
	state := h.State()
	if len(h.Attempts) == 0 || !state.Finished() {
		return state
	}
	for i := len(h.Attempts) - 1; i >= 0; i-- {
		switch a := &h.Attempts[i]; {
		case a.Command != "undo":
		case a.Closed == nil:
			return journal.StateKilled
		default:
			return a.Closed.State
		}
	}
	return StatePartly
}

// findRunning finds out whether a run that seems to be killed is under way.
func (s *Summary) findRunning() {
	if s.State != journal.StateKilled && s.Undo != journal.StateKilled {
		return
	}
	if holder, locked := lockedBy(s.dir.StateDir(), s.plan.Header.Cluster.SystemUID); locked && holder.Plan == s.ID {
		switch holder.Command {
		case "undo":
			s.Undo = StateRunning
		case "apply":
			s.State = StateRunning
		}
	}
}

func readHistory(path string) (*journal.History, error) {
	history := &journal.History{}
	for frame, err := range journal.ReadFile(path) {
		if errors.Is(err, durable.ErrTorn) {
			break
		}
		if err != nil {
			return nil, err
		}
		history.Add(frame)
	}
	return history, nil
}

// Finished reports whether nothing is to go on with the run: it went to its end, or was undone. To be undone partly changes
// nothing of that.
func (s *Summary) Finished() bool {
	if s.Undo != "" && s.Undo != StatePartly {
		return s.Undo.Finished()
	}
	return s.State.Finished()
}

// Pruning says which runs are pruned.
type Pruning struct {
	Unfinished bool          // those that something may go on with, too
	OlderThan  time.Duration // only those whose last word is older
}

// Prune removes what of a run has Secrets in it: its snapshot and its archive. It keeps the plan, the journals and the reports.
// Afterwards the run cannot be undone. It returns how many bytes are free by that.
//
// What counts is the run as it is once its cluster is locked: it may have gone on since it was listed. A run that is not one of
// those to prune is refused, and so is one whose cluster is locked, or cannot be known.
func (s *Summary) Prune(which Pruning, who journal.Opened, now time.Time) (freed int64, err error) {
	if err := s.prunable(which, now); err != nil {
		return 0, err
	}
	who.Plan = s.ID
	lock, err := LockCluster(s.dir.StateDir(), s.plan.Header.Cluster.SystemUID, who, now)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	locked := summarize(s.dir)
	if err := locked.prunable(which, now); err != nil {
		return 0, err
	}
	return s.dir.prune()
}

// prunable returns why a run is not pruned.
func (s *Summary) prunable(which Pruning, now time.Time) error {
	switch {
	case s.plan == nil:
		return &plan.RefusedError{
			Reason: "nobody knows whose run " + s.Directory + " is: " + s.Damage,
			Advice: "look at it, and remove it by hand",
		}
	case !s.Finished() && !which.Unfinished:
		state := s.State
		switch s.Undo {
		case "":
		case StatePartly:
			state += ", partly undone"
		default:
			state = "undo " + s.Undo
		}
		return &plan.RefusedError{
			Reason: fmt.Sprintf("the run %s is not finished (%s): what is deleted already could not be put back", s.ID, state),
			Advice: "go on with it, or undo it; --unfinished prunes it all the same",
		}
	case now.Sub(s.Ended) < which.OlderThan:
		return &plan.RefusedError{
			Reason: fmt.Sprintf("the run %s was worked on less than %s ago", s.ID, which.OlderThan),
			Advice: "leave it, or give a shorter --older-than",
		}
	}
	return nil
}

func (d *Dir) prune() (freed int64, err error) {
	entries, err := os.ReadDir(d.Path)
	if err != nil {
		return 0, fmt.Errorf("run directory: %w", err)
	}
	for _, entry := range entries {
		name := entry.Name()
		if name != snapshotFile && name != archiveFile && !temporary(name) {
			continue
		}
		info, err := entry.Info()
		if err == nil {
			err = d.FS.Remove(filepath.Join(d.Path, name))
		}
		if err != nil {
			return freed, fmt.Errorf("run directory: %w", err)
		}
		freed += info.Size()
	}
	return freed, d.FS.SyncDir(d.Path)
}
