// Package fileutil is what a lab's etcd is built with in place of client/pkg/v3/fileutil/sync_linux.go: the same, but on a disk
// that can be made slow.
package fileutil

import (
	"os"
	"syscall"
	"time"
)

// Fsync is as in etcd.
func Fsync(f *os.File) error {
	wait()
	return f.Sync()
}

// Fdatasync is as in etcd.
func Fdatasync(f *os.File) error {
	wait()
	return syscall.Fdatasync(int(f.Fd()))
}

// wait takes as long as stands in the file that LAB_SLOW_DISK names, if there is one.
func wait() {
	text, err := os.ReadFile(os.Getenv("LAB_SLOW_DISK"))
	if err != nil {
		return
	}
	if d, err := time.ParseDuration(string(text)); err == nil {
		time.Sleep(d)
	}
}
