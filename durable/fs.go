package durable

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// FS is what this module writes files through. Every change on the disk is one call, so that a test can make each of
// them fail.
type FS interface {
	OpenFile(path string, flag int, perm fs.FileMode) (Handle, error)
	CreateTemp(dir, pattern string) (Handle, error) // mode 0600
	Rename(from, to string) error
	Remove(path string) error
	SyncDir(path string) error // makes the names in a directory durable
}

// Handle is an open file, as *os.File is one.
type Handle interface {
	io.Reader
	io.Writer
	io.Closer
	Name() string
	Sync() error
	Truncate(size int64) error
}

// OS returns the file system of this machine.
func OS() FS { return osFS{} }

type osFS struct{}

func (osFS) OpenFile(path string, flag int, perm fs.FileMode) (Handle, error) {
	return handle(os.OpenFile(path, flag, perm))
}

func (osFS) CreateTemp(dir, pattern string) (Handle, error) {
	return handle(os.CreateTemp(dir, pattern))
}

// handle keeps a nil *os.File from becoming a Handle that is not nil.
func handle(file *os.File, err error) (Handle, error) {
	if err != nil {
		return nil, err
	}
	return file, nil
}

func (osFS) Rename(from, to string) error { return os.Rename(from, to) }
func (osFS) Remove(path string) error     { return os.Remove(path) }

func (osFS) SyncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
