// Package faultfs is a durable.FS on a disk that fails when it is told to, and that knows what a power cut would leave.
package faultfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"etcdsweep/durable"
)

// Op is a kind of change on the disk.
type Op string

// The changes that are counted and can fail. Reading is neither.
const (
	OpenFile   Op = "open"
	CreateTemp Op = "create"
	Write      Op = "write"
	Sync       Op = "sync"
	Truncate   Op = "truncate"
	Close      Op = "close"
	Rename     Op = "rename"
	Remove     Op = "remove"
	SyncDir    Op = "sync directory"
)

// Call is one change.
type Call struct {
	Op   Op
	Path string // of the file, or of the directory of SyncDir
}

func (c Call) String() string { return string(c.Op) + " " + filepath.Base(c.Path) }

// Fault says which call fails, and how.
type Fault struct {
	// At is the number, from 1, of the call that fails among those that Only takes; 0 for none.
	At int
	// Err is what it fails with. A Write that fails with ENOSPC, or as the last thing that a process does, writes half of
	// its bytes first.
	Err error
	// Dead makes every later call fail as well: the process was killed, and what it wrote stays.
	Dead bool
	// Only says which calls count; nil for all. After a death all fail.
	Only func(Call) bool
	// Struck is called when the fault strikes; nil for nothing.
	Struck func(Call)
}

// Disk is the file system of this machine with a fault. It outlives the processes that use it: what was written before a
// fault stays, and what was synced is remembered. It is safe for concurrent use.
type Disk struct {
	mu     sync.Mutex
	fault  Fault
	calls  int // that Only takes
	struck *Call
	synced map[string]int64 // by path: how much of a file a power cut leaves
	lost   map[string]bool  // files of which a sync failed: the kernel has dropped what it should have written
	names  map[string]bool  // names that were made since their directory was synced
}

// New returns a disk without a fault.
func New() *Disk {
	return &Disk{synced: map[string]int64{}, lost: map[string]bool{}, names: map[string]bool{}}
}

// Break replaces the fault, as for a new process. The zero Fault is none.
func (d *Disk) Break(fault Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault, d.calls, d.struck = fault, 0, nil
}

// Struck returns the call at which the fault has struck; ok is false if it has not.
func (d *Disk) Struck() (call Call, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.struck == nil {
		return Call{}, false
	}
	return *d.struck, true
}

// Synced returns how many bytes of a file a power cut would leave now, 0 if it would not leave its name.
func (d *Disk) Synced(path string) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names[path] {
		return 0
	}
	return d.synced[path]
}

// ErrDead is what everything fails with that a killed process would have done.
var ErrDead = errors.New("the process is dead")

// begin counts a call, and returns the error that it is to fail with; nil lets it be made. A Write that tears comes half way.
func (d *Disk) begin(call Call) (err error, tears bool) {
	d.mu.Lock()
	f := d.fault
	dead := d.struck != nil && f.Dead
	strikes := false
	if !dead && (f.Only == nil || f.Only(call)) {
		d.calls++
		strikes = d.calls == f.At
	}
	if strikes {
		d.struck = &call
		d.lost[call.Path] = d.lost[call.Path] || call.Op == Sync && !f.Dead
	}
	d.mu.Unlock()
	if strikes && f.Struck != nil {
		f.Struck(call)
	}
	switch {
	case dead, strikes && f.Dead:
		return &fs.PathError{Op: string(call.Op), Path: call.Path, Err: ErrDead}, strikes
	case strikes:
		return &fs.PathError{Op: string(call.Op), Path: call.Path, Err: f.Err}, errors.Is(f.Err, syscall.ENOSPC)
	default:
		return nil, false
	}
}

// OpenFile opens a file.
func (d *Disk) OpenFile(path string, flag int, perm fs.FileMode) (durable.Handle, error) {
	if err, _ := d.begin(Call{OpenFile, path}); err != nil {
		return nil, err
	}
	_, missing := os.Lstat(path)
	h, err := durable.OS().OpenFile(path, flag, perm)
	return d.handle(h, err, missing != nil)
}

// CreateTemp makes a temporary file.
func (d *Disk) CreateTemp(dir, pattern string) (durable.Handle, error) {
	if err, _ := d.begin(Call{CreateTemp, filepath.Join(dir, pattern)}); err != nil {
		return nil, err
	}
	h, err := durable.OS().CreateTemp(dir, pattern)
	return d.handle(h, err, true)
}

func (d *Disk) handle(h durable.Handle, err error, made bool) (durable.Handle, error) {
	if err != nil {
		return nil, err
	}
	if made {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.names[h.Name()] = true
	}
	return &file{h, d}, nil
}

// Rename renames a file.
func (d *Disk) Rename(from, to string) error {
	if err, _ := d.begin(Call{Rename, to}); err != nil {
		return err
	}
	if err := durable.OS().Rename(from, to); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.synced[to], d.lost[to] = d.synced[from], d.lost[from]
	d.names[to] = true
	d.forget(from)
	return nil
}

// Remove removes a file.
func (d *Disk) Remove(path string) error {
	if err, _ := d.begin(Call{Remove, path}); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forget(path)
	return durable.OS().Remove(path)
}

func (d *Disk) forget(path string) {
	delete(d.synced, path)
	delete(d.lost, path)
	delete(d.names, path)
}

// SyncDir makes the names in a directory durable.
func (d *Disk) SyncDir(path string) error {
	if err, _ := d.begin(Call{SyncDir, path}); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for name := range d.names {
		if filepath.Dir(name) == path {
			delete(d.names, name)
		}
	}
	return nil
}

// file is an open file of a disk. What it says to be durable is counted, not done: no power is cut here.
type file struct {
	durable.Handle
	disk *Disk
}

func (f *file) call(op Op) Call { return Call{op, f.Name()} }

func (f *file) Write(p []byte) (int, error) {
	err, tears := f.disk.begin(f.call(Write))
	switch {
	case tears:
		n, _ := f.Handle.Write(p[:len(p)/2])
		return n, err
	case err != nil:
		return 0, err
	default:
		return f.Handle.Write(p)
	}
}

func (f *file) Sync() error {
	if err, _ := f.disk.begin(f.call(Sync)); err != nil {
		return err
	}
	info, err := os.Stat(f.Name())
	if err != nil {
		return err
	}
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if !f.disk.lost[f.Name()] {
		f.disk.synced[f.Name()] = info.Size()
	}
	return nil
}

func (f *file) Truncate(size int64) error {
	if err, _ := f.disk.begin(f.call(Truncate)); err != nil {
		return err
	}
	if err := f.Handle.Truncate(size); err != nil {
		return err
	}
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if size <= f.disk.synced[f.Name()] {
		f.disk.synced[f.Name()] = size
		delete(f.disk.lost, f.Name()) // what the kernel has dropped is cut off
	}
	return nil
}

// Close closes the file, even where it fails: nothing is left open behind a dead process.
func (f *file) Close() error {
	err, _ := f.disk.begin(f.call(Close))
	if closeErr := f.Handle.Close(); err == nil {
		err = closeErr
	}
	return err
}
