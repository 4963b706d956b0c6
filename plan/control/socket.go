package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// maxPath is the longest path that the address of a Unix socket takes.
const maxPath = 107

// listen makes the socket, mode 0600. What a killed run has left at its path is removed: whoever listens holds the lock on the
// run's cluster, so nobody else does. A file that is no socket is an error.
func listen(path string) (*net.UnixListener, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSocket {
		return nil, fmt.Errorf("%s is there, and no socket", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var listener *net.UnixListener
	err := withAddress(path, func(address string) (err error) {
		listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: address, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false) // its address may not be its path
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, listener.Close(), os.Remove(path))
	}
	return listener, nil
}

// dial calls whoever listens on the socket. The error is ErrNoRun if nobody does.
func dial(ctx context.Context, path string) (net.Conn, error) {
	var conn net.Conn
	err := withAddress(path, func(address string) (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, "unix", address)
		return err
	})
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED): // never there, or left by a killed run
		return nil, ErrNoRun
	case err != nil:
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return conn, nil
}

// withAddress calls use with an address of the socket at path: the path itself or, where that is too long, one that leads
// through an open directory.
func withAddress(path string, use func(address string) error) error {
	if len(path) <= maxPath {
		return use(path)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close() // was only looked through
	return use(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)))
}
