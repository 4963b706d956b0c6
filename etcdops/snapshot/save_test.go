package snapshot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/iotest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stream returns n random bytes and their SHA-256, as a server streams a database.
func stream(n int) []byte {
	content := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(content) // never fails
	sum := sha256.Sum256(content)
	return append(content, sum[:]...)
}

// names returns what is in a directory.
func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestSaveWritesTheStreamAsItIs(t *testing.T) {
	for _, n := range []int{1, 31, 32, 33, ChunkBytes - 33, ChunkBytes - 32, ChunkBytes - 31, ChunkBytes, 3*ChunkBytes + 17, syncEachBytes + 5*ChunkBytes} {
		data := stream(n)
		path := filepath.Join(t.TempDir(), "s.db")
		var progress int64
		info, err := Save(t.Context(), iotest.HalfReader(bytes.NewReader(data)), path, Options{Progress: func(bytes int64) {
			if bytes <= progress {
				t.Errorf("%d bytes: progress went from %d to %d", n, progress, bytes)
			}
			progress = bytes
		}})
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		want := Info{Bytes: int64(len(data)), SHA256: hex.EncodeToString(data[n:]), Duration: info.Duration}
		if info != want {
			t.Errorf("%d bytes: got %+v, want %+v", n, info, want)
		}
		if progress != info.Bytes {
			t.Errorf("%d bytes: progress ended at %d", n, progress)
		}
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes: the file differs from the stream: %v", n, err)
		}
		stat, err := os.Stat(path)
		if err != nil || stat.Mode().Perm() != 0o600 {
			t.Errorf("%d bytes: mode %v, %v, want 0600", n, stat.Mode(), err)
		}
		verified, err := Verify(t.Context(), path)
		if err != nil || verified.SHA256 != info.SHA256 || verified.Bytes != info.Bytes {
			t.Errorf("%d bytes: verify: %+v, %v", n, verified, err)
		}
	}
}

func TestSaveRefusesACutOffStream(t *testing.T) {
	data := stream(2*ChunkBytes + 7)
	for _, n := range []int{0, 1, 31, 32, 33, ChunkBytes, ChunkBytes + 32, len(data) - 33, len(data) - 32, len(data) - 1} {
		dir := t.TempDir()
		_, err := Save(t.Context(), bytes.NewReader(data[:n]), filepath.Join(dir, "s.db"), Options{})
		var checksum *ChecksumError
		if !errors.As(err, &checksum) || checksum.Bytes != int64(n) {
			t.Errorf("cut after %d bytes: got %v, want a *ChecksumError", n, err)
		}
		if left := names(t, dir); left != nil {
			t.Errorf("cut after %d bytes: left behind %v", n, left)
		}
	}
}

func TestSaveRefusesEveryFlippedByte(t *testing.T) {
	data := stream(300)
	for i := range data {
		dir := t.TempDir()
		flipped := bytes.Clone(data)
		flipped[i] ^= 1
		_, err := Save(t.Context(), bytes.NewReader(flipped), filepath.Join(dir, "s.db"), Options{})
		var checksum *ChecksumError
		if !errors.As(err, &checksum) {
			t.Fatalf("byte %d: got %v, want a *ChecksumError", i, err)
		}
		if left := names(t, dir); left != nil {
			t.Fatalf("byte %d: left behind %v", i, left)
		}
	}
}

func TestSaveOverwritesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s.db")
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Save(t.Context(), bytes.NewReader(stream(100)), path, Options{}); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("got %v, want fs.ErrExist", err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "mine" {
		t.Fatalf("the file is now %q, %v", got, err)
	}
	if left := names(t, dir); len(left) != 1 {
		t.Fatalf("left behind %v", left)
	}
}

func TestSavePassesOnTheErrorOfTheStream(t *testing.T) {
	dir := t.TempDir()
	broken := errors.New("connection lost")
	src := io.MultiReader(bytes.NewReader(stream(3*ChunkBytes)), iotest.ErrReader(broken))
	path := filepath.Join(dir, "s.db")
	_, err := Save(t.Context(), src, path, Options{})
	if want := "snapshot " + path + ": read: connection lost"; !errors.Is(err, broken) || err.Error() != want {
		t.Fatalf("got %v, want %s", err, want)
	}
	if left := names(t, dir); left != nil {
		t.Fatalf("left behind %v", left)
	}
}

// endless is a stream that never ends, and calls a function once a number of bytes was read.
type endless struct {
	left int
	then func()
}

func (e *endless) Read(p []byte) (int, error) {
	if e.left -= len(p); e.left <= 0 && e.then != nil {
		e.then()
		e.then = nil
	}
	return len(p), nil
}

func TestSaveEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Save(ctx, &endless{left: 40 * ChunkBytes, then: cancel}, filepath.Join(dir, "s.db"), Options{})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want context.Canceled", err)
	}
	if left := names(t, dir); left != nil {
		t.Fatalf("left behind %v", left)
	}
}

func TestSaveIsPaced(t *testing.T) {
	slow := errors.New("slow down for good")
	var asked int
	_, err := Save(t.Context(), &endless{}, filepath.Join(t.TempDir(), "s.db"), Options{Pace: func(_ context.Context, bytes int) error {
		if asked += bytes; asked > 3*ChunkBytes {
			return slow
		}
		return nil
	}})
	if !errors.Is(err, slow) || asked != 4*ChunkBytes {
		t.Fatalf("got %v after %d bytes", err, asked)
	}
}

// disk is a file on a disk with room for some bytes.
type disk struct {
	room      int
	syncErr   error
	committed bool
}

func (d *disk) Write(p []byte) (int, error) {
	if len(p) > d.room {
		return d.room, &fs.PathError{Op: "write", Path: "f", Err: syscall.ENOSPC}
	}
	d.room -= len(p)
	return len(p), nil
}

func (d *disk) Sync() error   { return d.syncErr }
func (d *disk) Commit() error { d.committed = true; return nil }

func TestSaveToAFullDisk(t *testing.T) {
	for name, full := range map[string]*disk{
		"write": {room: 5*ChunkBytes + 1},
		"sync":  {room: 1 << 40, syncErr: &fs.PathError{Op: "sync", Path: "f", Err: syscall.EDQUOT}},
	} {
		t.Run(name, func(t *testing.T) {
			s := saver{dir: t.TempDir()}
			err := s.save(t.Context(), &endless{}, full)
			var noSpace *NoSpaceError
			if !errors.As(err, &noSpace) || noSpace.Dir != s.dir || noSpace.Need == 0 || noSpace.Hint() == "" {
				t.Fatalf("got %v, want a *NoSpaceError", err)
			}
			if full.committed {
				t.Fatal("committed all the same")
			}
		})
	}
}

func TestSaveReportsTheErrorOfAWrite(t *testing.T) {
	dir := t.TempDir()
	failing := &failingDisk{err: syscall.EIO}
	s := saver{dir: dir}
	err := s.save(t.Context(), &endless{}, failing)
	var noSpace *NoSpaceError
	if !errors.Is(err, syscall.EIO) || errors.As(err, &noSpace) {
		t.Fatalf("got %v, want EIO", err)
	}
}

// failingDisk is a file that can't be written.
type failingDisk struct {
	disk
	err error
}

func (d *failingDisk) Write([]byte) (int, error) { return 0, d.err }

func TestCheckSpace(t *testing.T) {
	dir := t.TempDir()
	if err := CheckSpace(dir, 1); err != nil {
		t.Fatal(err)
	}
	var noSpace *NoSpaceError
	if err := CheckSpace(dir, 1<<60); !errors.As(err, &noSpace) || noSpace.Need != 1<<60 || noSpace.Free <= 0 {
		t.Fatalf("got %v, want a *NoSpaceError", err)
	}
	if err := CheckSpace(filepath.Join(dir, "absent"), 1); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("got %v, want fs.ErrNotExist", err)
	}
}
