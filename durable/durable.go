// Package durable writes files that survive a power cut: files that are whole or absent ([File]), and logs of which every
// frame is whole or absent ([Log]).
package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// File is a file that appears under its name only when it is committed: a reader never sees a half-written one. It is
// not safe for concurrent use.
type File struct {
	Handle
	fsys    FS
	path    string
	replace bool
	done    bool
}

// Create opens a temporary file, mode 0600, in the directory of path. It refuses a path that exists, with fs.ErrExist:
// a plan, a snapshot or an archive is never overwritten. The caller ends the file with Commit or Abort.
func Create(fsys FS, path string) (*File, error) {
	if err := absent(path); err != nil {
		return nil, err
	}
	return create(fsys, path, false)
}

func create(fsys FS, path string, replace bool) (*File, error) {
	f, err := fsys.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		if cause := errors.Unwrap(err); cause != nil {
			err = cause // the temporary name tells nobody anything
		}
		return nil, &fs.PathError{Op: "create", Path: path, Err: err}
	}
	return &File{Handle: f, fsys: fsys, path: path, replace: replace}, nil
}

// Commit makes the file appear under its name: sync, close, rename, sync of the directory. After an error the file is
// absent, unless only the last step failed.
func (f *File) Commit() (err error) {
	defer f.Abort()
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if !f.replace {
		if err := absent(f.path); err != nil {
			return err
		}
	}
	if err := f.fsys.Rename(f.Name(), f.path); err != nil {
		return err
	}
	f.done = true
	return f.fsys.SyncDir(filepath.Dir(f.path))
}

// Abort closes the file and removes it. After Commit it does nothing, so that it can be deferred.
func (f *File) Abort() {
	if f.done {
		return
	}
	f.done = true
	_ = f.Close() // a second close is harmless
	_ = f.fsys.Remove(f.Name())
}

// Replace writes a small file durably in the place of another: a reader finds the old one or the new one, whole.
func Replace(fsys FS, path string, data []byte) error {
	f, err := create(fsys, path, true)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Commit()
}

// ExistError says that a path is taken. It is an fs.ErrExist.
type ExistError struct{ Path string }

func (e *ExistError) Error() string { return e.Path + ": " + fs.ErrExist.Error() }

// Unwrap returns fs.ErrExist.
func (e *ExistError) Unwrap() error { return fs.ErrExist }

// Hint says what to do about it.
func (e *ExistError) Hint() string {
	return "nothing is overwritten: choose another name, or move the file away"
}

func absent(path string) error {
	switch _, err := os.Lstat(path); {
	case err == nil:
		return &ExistError{Path: path}
	case errors.Is(err, fs.ErrNotExist):
		return nil
	default:
		return err
	}
}
