package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"etcdsweep/durable"
	"etcdsweep/plan"
	"etcdsweep/plan/journal"
)

// Names of the files in a run's directory.
const (
	planFile       = "plan"
	snapshotFile   = "snapshot.db"
	archiveFile    = "archive.zst"
	journalFile    = "journal"
	reportFile     = "report.json"
	undoJournal    = "undo.journal"
	undoReportFile = "undo-report.json"
	logFile        = "log"
	controlSocket  = "control"
)

// Dir is the directory of a run: <state dir>/runs/<plan ID>. It is of mode 0700 and its files are of mode 0600, because
// what it holds has Secrets in it.
type Dir struct {
	Path string
	FS   durable.FS
}

// DirOf returns the directory that a plan's run has, or would have.
func DirOf(fsys durable.FS, stateDir string, p *plan.File) *Dir {
	return &Dir{Path: filepath.Join(stateDir, "runs", p.ID), FS: fsys}
}

// MakeDir makes the directory of a plan's run, or finds it, and removes what a killed process has left half-written in
// it. The cluster must be locked.
func MakeDir(fsys durable.FS, stateDir string, p *plan.File) (*Dir, error) {
	d := DirOf(fsys, stateDir, p)
	if err := os.MkdirAll(d.Path, 0o700); err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	if err := d.removeTemporary(); err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	return d, nil
}

// FindDir opens the directory of a run that was made before, and its plan. A link is followed: the run's state directory, and
// with it the lock, is that of the directory itself.
func FindDir(fsys durable.FS, path string) (*Dir, *plan.File, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, nil, fmt.Errorf("run directory: %w", err)
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	d := &Dir{Path: path, FS: fsys}
	p, err := plan.Open(d.Plan())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, &plan.RefusedError{
			Reason: path + " is no directory of a run: there is no plan in it",
			Advice: "etcdsweep runs lists the runs and their directories",
		}
	}
	return d, p, err
}

// StateDir returns the state directory that the run's directory is in.
func (d *Dir) StateDir() string { return filepath.Dir(filepath.Dir(d.Path)) }

// The paths of the files in the directory.
func (d *Dir) Plan() string        { return filepath.Join(d.Path, planFile) }
func (d *Dir) Snapshot() string    { return filepath.Join(d.Path, snapshotFile) }
func (d *Dir) Archive() string     { return filepath.Join(d.Path, archiveFile) }
func (d *Dir) Journal() string     { return filepath.Join(d.Path, journalFile) }
func (d *Dir) Report() string      { return filepath.Join(d.Path, reportFile) }
func (d *Dir) UndoJournal() string { return filepath.Join(d.Path, undoJournal) }
func (d *Dir) UndoReport() string  { return filepath.Join(d.Path, undoReportFile) }

// Log is where everything goes that the run says, whether anybody sees it or not.
func (d *Dir) Log() string { return filepath.Join(d.Path, logFile) }

// Control is the socket on which a run listens while it is under way.
func (d *Dir) Control() string { return filepath.Join(d.Path, controlSocket) }

// removeTemporary removes what a killed run has left half-written: a snapshot may be as large as etcd, and has Secrets in it.
func (d *Dir) removeTemporary() error {
	entries, err := os.ReadDir(d.Path)
	for _, entry := range entries {
		if name := entry.Name(); temporary(name) {
			err = errors.Join(err, d.FS.Remove(filepath.Join(d.Path, name)))
		}
	}
	return err
}

// KeepPlan copies the plan into the directory, unless it is there, and opens the copy: what is carried out cannot be
// changed from outside any more.
func (d *Dir) KeepPlan(p *plan.File) (*plan.File, error) {
	if !exists(d.Plan()) {
		if err := copyFile(d.FS, d.Plan(), p.Path()); err != nil {
			return nil, fmt.Errorf("run directory: %w", err)
		}
	}
	kept, err := plan.Open(d.Plan())
	if err != nil {
		return nil, err
	}
	if kept.ID != p.ID {
		return nil, fmt.Errorf("plan %s: has the ID %s, want %s", d.Plan(), kept.ID, p.ID)
	}
	return kept, nil
}

func copyFile(fsys durable.FS, path, from string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close() // was only read
	file, err := durable.Create(fsys, path)
	if err != nil {
		return err
	}
	defer file.Abort()
	if _, err := io.Copy(file, source); err != nil {
		return err
	}
	return file.Commit()
}

// Began reports whether a run has come so far that it keeps a journal.
func (d *Dir) Began() bool { return exists(d.Journal()) }

// Undone reports whether an undo of the run was begun.
func (d *Dir) Undone() bool { return exists(d.UndoJournal()) }

// OpenJournal opens the journal at path, or makes it, and returns what it tells so far. A torn tail is cut off; cut is its
// length in bytes. The caller closes the journal.
func (d *Dir) OpenJournal(path string, now func() time.Time, keep ...string) (_ *journal.Writer, _ *journal.History, cut int64, err error) {
	history := &journal.History{}
	history.Keep(keep...)
	if !exists(path) {
		w, err := journal.Create(d.FS, path, now)
		return w, history, 0, err
	}
	w, cut, err := journal.Open(d.FS, path, now, history.Add)
	return w, history, cut, err
}

// Discard removes what a run has left that was refused before it began, and the directory. It reports whether it did: what
// an attempt has kept is left alone.
func (d *Dir) Discard() bool {
	if d.Began() || exists(d.Snapshot()) {
		return false
	}
	for _, path := range []string{d.Plan(), d.Log(), d.Path} {
		_ = os.Remove(path)
	}
	return true
}

// WriteReport writes a report durably.
func (d *Dir) WriteReport(path string, report any) error {
	data, err := json.MarshalIndent(report, "", "  ")
	if err == nil {
		err = durable.Replace(d.FS, path, append(data, '\n'))
	}
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// temporary reports whether a file is one that a killed process has left half-written.
func temporary(name string) bool {
	return strings.HasPrefix(name, ".") && strings.HasSuffix(name, ".tmp")
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
