package sweep_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"etcdsweep/durable"
	"etcdsweep/plan"
	"etcdsweep/plan/apply"
	"etcdsweep/plan/run"
	"etcdsweep/test/faultfs"
)

// diskFaults are the ways in which the disk fails, each of them once at every call.
func diskFaults() map[string]faultfs.Fault {
	return map[string]faultfs.Fault{
		"EIO":    {Err: syscall.EIO},
		"ENOSPC": {Err: syscall.ENOSPC},
		"killed": {Dead: true},
	}
}

// names reports whether an error names the file, or the directory, of a call.
func names(err error, call faultfs.Call) bool {
	name := filepath.Base(call.Path)
	if temporary, ok := strings.CutPrefix(name, "."); ok {
		name, _, _ = strings.Cut(temporary, ".")
	}
	return strings.Contains(err.Error(), name)
}

// Whatever fails on the disk, and whenever: nothing goes whose bytes are not kept, and the next attempt goes on to the end.
func TestDiskFaults(t *testing.T) {
	g := newGround(t, 40)
	for name, fault := range diskFaults() {
		t.Run(name, func(t *testing.T) {
			g.t = t
			for fault.At = 1; ; fault.At++ {
				tr := g.try()
				tr.disk.Break(fault)
				report, err := tr.attempt(t.Context())
				call, struck := tr.disk.Struck()
				tr.what = fmt.Sprintf("%s at call %d, %s", name, fault.At, call)
				if !struck {
					tr.finished(report, err)
					tr.end()
					break
				}
				if err == nil || !errors.Is(err, fault.Err) && !errors.Is(err, faultfs.ErrDead) || !names(err, call) {
					tr.errorf("the error is %v", err)
				}
				tr.safe()
				tr.disk.Break(faultfs.Fault{})
				tr.goOn()
				tr.end()
				if t.Failed() {
					break
				}
			}
			t.Logf("%d calls", fault.At-1)
		})
	}
}

// goOn makes another attempt, which finishes the run; or it is refused, because all had been written down when something
// failed.
func (tr *trial) goOn() {
	tr.t.Helper()
	report, err := tr.attempt(tr.t.Context())
	if _, refused := errors.AsType[*plan.RefusedError](err); refused {
		report, err = tr.report(), nil
	}
	tr.finished(report, err)
}

// report reads the report that the run has left.
func (tr *trial) report() *apply.Report {
	tr.t.Helper()
	data, err := os.ReadFile(tr.dir().Report())
	must(tr.t, err)
	report := new(apply.Report)
	must(tr.t, json.Unmarshal(data, report))
	return report
}

// A plan that cannot be written is not there, and leaves nothing behind.
func TestPlanFileFaults(t *testing.T) {
	g := newGround(t, 40)
	write := func(fsys durable.FS, path string) error {
		file, err := durable.Create(fsys, path)
		if err != nil {
			return err
		}
		defer file.Abort()
		if _, _, _, err := plan.Build(t.Context(), g.client, g.query, g.options(), file); err != nil {
			return err
		}
		return file.Commit()
	}
	for name, fault := range diskFaults() {
		t.Run(name, func(t *testing.T) {
			for fault.At = 1; ; fault.At++ {
				path := filepath.Join(t.TempDir(), "p.plan")
				disk := faultfs.New()
				disk.Break(fault)
				err := write(disk, path)
				call, struck := disk.Struck()
				if (err != nil) != struck || struck && !names(err, call) {
					t.Errorf("call %d, %s: %v", fault.At, call, err)
				}
				p, openErr := plan.Open(path)
				switch {
				case openErr == nil && p.Trailer.Entries != 41:
					t.Errorf("call %d, %s: a plan of %d entries", fault.At, call, p.Trailer.Entries)
				case openErr != nil && !errors.Is(openErr, os.ErrNotExist):
					t.Errorf("call %d, %s: %v", fault.At, call, openErr)
				}
				left, err := os.ReadDir(filepath.Dir(path))
				must(t, err)
				if openErr != nil && len(left) > 0 && !fault.Dead {
					t.Errorf("call %d, %s: left behind: %v", fault.At, call, left)
				}
				if !struck {
					must(t, openErr)
					break
				}
			}
		})
	}
}

// A report that cannot be written leaves the one that is there.
func TestReportFaults(t *testing.T) {
	for name, fault := range diskFaults() {
		t.Run(name, func(t *testing.T) {
			for fault.At = 1; ; fault.At++ {
				disk := faultfs.New()
				dir := &run.Dir{Path: t.TempDir(), FS: disk}
				must(t, dir.WriteReport(dir.Report(), apply.Report{Attempts: 1}))
				disk.Break(fault)
				err := dir.WriteReport(dir.Report(), apply.Report{Attempts: 2})
				call, struck := disk.Struck()
				if (err != nil) != struck || struck && !names(err, call) {
					t.Errorf("call %d, %s: %v", fault.At, call, err)
				}
				data, readErr := os.ReadFile(dir.Report())
				must(t, readErr)
				var got apply.Report
				if err := json.Unmarshal(data, &got); err != nil || got.Attempts == 0 {
					t.Errorf("call %d, %s: the report is %q", fault.At, call, data)
				}
				if !struck {
					break
				}
			}
		})
	}
}
