package apply

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

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
}

// OpenDir makes the directory of a plan's run, or finds it. A plan whose run was done is refused.
func OpenDir(stateDir string, p *plan.File) (*Dir, error) {
	d := &Dir{Path: filepath.Join(stateDir, "runs", p.ID), First: true, attempt: 1}
	if err := os.MkdirAll(d.Path, 0o700); err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	for ; d.taken(); d.attempt++ {
		report, err := readReport(d.Report())
		if err != nil {
			continue // cut off before it could report: whether it deleted anything is not known
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

// Discard removes what a run has left that was refused before it began: the copy of the plan, and the directory if
// nothing else is in it.
func (d *Dir) Discard() {
	if entries, err := os.ReadDir(d.Path); err == nil && len(entries) == 1 {
		_ = os.Remove(filepath.Join(d.Path, "plan"))
		_ = os.Remove(d.Path)
	}
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
