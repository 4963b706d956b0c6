// Package durable writes files that are whole or absent: a reader never sees a half-written one under its final name,
// and a file that was committed survives a power cut.
package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// File is a file that appears under its name only when it is committed. It is not safe for concurrent use.
type File struct {
	*os.File
	path string
	done bool
}

// Create opens a temporary file, mode 0600, in the directory of path. It refuses a path that exists, with fs.ErrExist:
// a plan, a snapshot or an archive is never overwritten. The caller ends the file with Commit or Abort.
func Create(path string) (*File, error) {
	if err := absent(path); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		if cause := errors.Unwrap(err); cause != nil {
			err = cause // the temporary name tells nobody anything
		}
		return nil, &fs.PathError{Op: "create", Path: path, Err: err}
	}
	return &File{File: f, path: path}, nil
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
	if err := absent(f.path); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), f.path); err != nil {
		return err
	}
	f.done = true
	return SyncDir(filepath.Dir(f.path))
}

// Abort closes the file and removes it. After Commit it does nothing, so that it can be deferred.
func (f *File) Abort() {
	if f.done {
		return
	}
	f.done = true
	_ = f.Close() // a second close is harmless
	_ = os.Remove(f.Name())
}

// WriteFile writes a small file durably.
func WriteFile(path string, data []byte) error {
	f, err := Create(path)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Commit()
}

// SyncDir makes the names in a directory durable.
func SyncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
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
