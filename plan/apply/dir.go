package apply

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"

	"etcdsweep/durable"
	"etcdsweep/plan"
)

// Dir is the directory of a run: <state dir>/runs/<plan ID>. It is of mode 0700, because what it holds has Secrets in it.
// A plan that is applied again gets files of its own beside the first ones: a snapshot that may be the only place where
// deleted pods still are is never overwritten.
type Dir struct {
	Path string
	// First says that no run of this plan from this state directory has come to deleting yet.
	First bool

	attempt int
	lock    *flock.Flock
}

// OpenDir makes the directory of a plan's run, or finds it, and locks it: a plan that another process is carrying out is
// refused, and so is one whose run was done. The lock ends with Close, or with the process.
func OpenDir(stateDir string, p *plan.File) (_ *Dir, err error) {
	d := &Dir{Path: filepath.Join(stateDir, "runs", p.ID), First: true, attempt: 1}
	if err := os.MkdirAll(d.Path, 0o700); err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	d.lock = flock.New(filepath.Join(d.Path, "lock"), flock.SetPermissions(0o600))
	switch locked, err := d.lock.TryLock(); {
	case err != nil:
		return nil, fmt.Errorf("run directory: %w", err)
	case !locked:
		return nil, &plan.RefusedError{
			Reason: "another etcdsweep is carrying out plan " + p.ID + " from " + d.Path,
			Advice: "wait for it, or interrupt it with Ctrl-C in its terminal",
		}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if err := d.removeTemporary(); err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	for ; d.taken(); d.attempt++ {
		report, err := readReport(d.Report())
		if errors.Is(err, fs.ErrNotExist) {
			// Cut off before it could report. The archive is made right before the first delete.
			_, archiveErr := os.Lstat(d.Archive())
			d.First = d.First && archiveErr != nil
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("report %s: %w", d.Report(), err)
		}
		d.First = d.First && report.Roots.Total()+report.Pods.Total() == 0
		if report.State == StateDone || report.State == StateLeft {
			return nil, &plan.RefusedError{
				Reason: fmt.Sprintf("plan %s was carried out at %s: %s", p.ID, report.Ended.Format("2006-01-02 15:04:05 MST"), report.Pods.Words()),
				Advice: "its report is " + d.Report() + "; plan again for what is left",
			}
		}
	}
	return d, nil
}

// Close unlocks the directory.
func (d *Dir) Close() error { return d.lock.Close() }

// removeTemporary removes what a killed run has left half-written: a snapshot may be as large as etcd, and has Secrets in it.
func (d *Dir) removeTemporary() error {
	entries, err := os.ReadDir(d.Path)
	for _, entry := range entries {
		if name := entry.Name(); strings.HasPrefix(name, ".") && strings.HasSuffix(name, ".tmp") {
			err = errors.Join(err, os.Remove(filepath.Join(d.Path, name)))
		}
	}
	return err
}

// taken reports whether an earlier attempt has left files under these names.
func (d *Dir) taken() bool {
	for _, path := range []string{d.Snapshot(), d.Archive(), d.Report()} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return true
		}
	}
	return false
}

// KeepPlan copies the plan into the directory, unless it is there, and opens the copy: what is carried out cannot be
// changed from outside any more.
func (d *Dir) KeepPlan(p *plan.File) (*plan.File, error) {
	path := filepath.Join(d.Path, "plan")
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		if err := copyFile(path, p.Path()); err != nil {
			return nil, fmt.Errorf("run directory: %w", err)
		}
	}
	kept, err := plan.Open(path)
	if err != nil {
		return nil, err
	}
	if kept.ID != p.ID {
		return nil, fmt.Errorf("plan %s: has the ID %s, want %s", path, kept.ID, p.ID)
	}
	return kept, nil
}

func copyFile(path, from string) error {
	data, err := os.Open(from)
	if err != nil {
		return err
	}
	defer data.Close()
	file, err := durable.Create(path)
	if err != nil {
		return err
	}
	defer file.Abort()
	if _, err := file.ReadFrom(data); err != nil {
		return err
	}
	return file.Commit()
}

// Discard removes what a run has left that was refused before it began: the copy of the plan, and the directory. It
// reports whether it did: what an attempt has kept is left alone.
func (d *Dir) Discard() bool {
	if d.attempt > 1 || d.taken() {
		return false
	}
	for _, name := range []string{"plan", "lock", ""} {
		_ = os.Remove(filepath.Join(d.Path, name))
	}
	return true
}

// Snapshot returns the path of this attempt's snapshot.
func (d *Dir) Snapshot() string { return d.name("snapshot", ".db") }

// Archive returns the path of this attempt's archive.
func (d *Dir) Archive() string { return d.name("archive", ".zst") }

// Report returns the path of this attempt's report.
func (d *Dir) Report() string { return d.name("report", ".json") }

func (d *Dir) name(stem, suffix string) string {
	if d.attempt > 1 {
		stem += fmt.Sprintf("-%d", d.attempt)
	}
	return filepath.Join(d.Path, stem+suffix)
}

// WriteReport writes the report durably.
func (d *Dir) WriteReport(report *Report) error {
	data, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if err := durable.WriteFile(d.Report(), append(data, '\n')); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

func readReport(path string) (*Report, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var report Report
	return &report, json.Unmarshal(data, &report)
}
