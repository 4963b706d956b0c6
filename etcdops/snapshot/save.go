package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"etcdsweep/durable"
)

// ChunkBytes is the most that Save reads at a time, and with it the most that Options.Pace is asked for.
const ChunkBytes = 256 << 10

const (
	chunks        = 16      // in flight between reading, hashing and writing: 4 MiB
	syncEachBytes = 4 << 20 // what the kernel may hold back before it is told to write, and again while it does
)

// Options are what Save does besides. The zero value is ready for use.
type Options struct {
	// Progress is called with the bytes written so far, after each chunk, by one goroutine, and no more once Save has returned.
	Progress func(bytes int64)
	// FS is the file system that the snapshot is written to; nil for this machine's.
	FS durable.FS
	// Pace is called before each chunk is read, and holds the stream up until it returns. Its error ends Save.
	Pace func(ctx context.Context, bytes int) error
}

// Info describes a whole snapshot.
type Info struct {
	Bytes    int64         // of the file, the hash at its end included
	SHA256   string        // of the bbolt file, in hexadecimal; the file ends in the same hash
	Duration time.Duration // of the saving or verifying
}

// Save writes the snapshot that src streams to path, which must not exist, with mode 0600. The file appears only when it is whole: the
// hash at its end was computed again on the way and is the same, and the file and its name are synced. On the way it is synced in small steps, so that
// the disk, which may be etcd's too, is never given much at once. After an error nothing is left behind.
//
// The error is a *ChecksumError for a stream that is cut off or damaged, a *NoSpaceError for a full disk, and fs.ErrExist if path exists.
// If src blocks, ctx ends Save only if it ends src's Read as well. Memory is bounded, whatever the length of src. Closing src is the caller's.
func Save(ctx context.Context, src io.Reader, path string, opts Options) (Info, error) {
	start := time.Now()
	if opts.FS == nil {
		opts.FS = durable.OS()
	}
	file, err := durable.Create(opts.FS, path)
	if err != nil {
		return Info{}, fmt.Errorf("snapshot: %w", spaceError(filepath.Dir(path), 0, err))
	}
	defer file.Abort()
	s := saver{opts: opts, dir: filepath.Dir(path)}
	if err := s.save(ctx, src, file); err != nil {
		return Info{}, fmt.Errorf("snapshot %s: %w", path, err)
	}
	return Info{Bytes: s.written, SHA256: s.sum.hex(), Duration: time.Since(start)}, nil
}

// target is the file to write to, as durable.File is one.
type target interface {
	io.Writer
	Sync() error
	Commit() error
}

// saver is one Save.
type saver struct {
	opts    Options
	dir     string
	sum     checksum
	written int64
}

// save copies src to file in four steps that work side by side: read, hash, write, sync. A chunk goes through the first three and comes back to be filled again.
func (s *saver) save(ctx context.Context, src io.Reader, file target) error {
	var (
		group, groupCtx = errgroup.WithContext(ctx)

		empty  = make(chan []byte, chunks)
		full   = make(chan []byte, chunks)
		hashed = make(chan []byte, chunks)
		syncs  = make(chan int64) // without a buffer: one sync runs while the next step is written, no more
	)
	for range chunks {
		empty <- make([]byte, ChunkBytes)
	}
	group.Go(func() error {
		defer close(full)
		return s.read(groupCtx, src, empty, full)
	})
	group.Go(func() error {
		defer close(hashed)
		for chunk := range full {
			s.sum.write(chunk)
			hashed <- chunk // never blocks: there are no more chunks than places
		}
		return nil
	})
	group.Go(func() error {
		defer close(syncs)
		return s.write(groupCtx, file, hashed, empty, syncs)
	})
	group.Go(func() error {
		for written := range syncs {
			if err := file.Sync(); err != nil {
				return fmt.Errorf("sync: %w", spaceError(s.dir, written, err))
			}
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return err
	}
	if err := s.sum.check(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := file.Commit(); err != nil {
		return spaceError(s.dir, s.written, err)
	}
	return nil
}

func (s *saver) read(ctx context.Context, src io.Reader, empty <-chan []byte, full chan<- []byte) error {
	for {
		var chunk []byte
		select {
		case chunk = <-empty:
		case <-ctx.Done():
			return ctx.Err()
		}
		if s.opts.Pace != nil {
			if err := s.opts.Pace(ctx, ChunkBytes); err != nil {
				return err
			}
		}
		n, err := io.ReadFull(src, chunk[:ChunkBytes])
		if n > 0 {
			full <- chunk[:n]
		}
		switch {
		case err == io.EOF, err == io.ErrUnexpectedEOF:
			return nil
		case err != nil:
			return fmt.Errorf("read: %w", err)
		}
	}
}

func (s *saver) write(ctx context.Context, file io.Writer, hashed <-chan []byte, empty chan<- []byte, syncs chan<- int64) error {
	var unsynced int
	for chunk := range hashed {
		n, err := file.Write(chunk)
		s.written += int64(n)
		if err != nil {
			return fmt.Errorf("write: %w", spaceError(s.dir, s.written, err))
		}
		if s.opts.Progress != nil {
			s.opts.Progress(s.written)
		}
		if unsynced += n; unsynced >= syncEachBytes {
			unsynced = 0
			select {
			case syncs <- s.written:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		empty <- chunk
	}
	return nil
}

// NoSpaceError is a file system that a snapshot doesn't fit on.
type NoSpaceError struct {
	Dir        string
	Need, Free int64 // bytes; Need is what was asked for, or had been written when the disk was full
	Err        error // nil if it was noticed beforehand
}

func (e *NoSpaceError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: full after %s: %v", e.Dir, mebibytes(e.Need), e.Err)
	}
	return fmt.Sprintf("%s: %s needed, %s free", e.Dir, mebibytes(e.Need), mebibytes(e.Free))
}

func (e *NoSpaceError) Unwrap() error { return e.Err }

// Hint says what to do about it.
func (e *NoSpaceError) Hint() string {
	return fmt.Sprintf("make room in %s, or use another directory; a full disk stops etcd as well if its data is on it", e.Dir)
}

// CheckSpace makes sure that a file of need bytes fits into the file system of a directory, as far as this user may fill it.
// The error is a *NoSpaceError, or that of statfs.
func CheckSpace(dir string, need int64) error {
	free, err := FreeSpace(dir)
	if err != nil {
		return err
	}
	if free < need {
		return &NoSpaceError{Dir: dir, Need: need, Free: free}
	}
	return nil
}

// FreeSpace returns how many bytes this user may still write to the file system of a directory.
func FreeSpace(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("statfs %s: %w", dir, err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// spaceError recognises a full disk, or a used-up quota, among the errors of a write.
func spaceError(dir string, written int64, err error) error {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	free, statErr := FreeSpace(dir)
	if statErr != nil {
		free = 0
	}
	return &NoSpaceError{Dir: dir, Need: written, Free: free, Err: err}
}

// mebibytes prints bytes, rounded up: a need must not look smaller than it is.
func mebibytes(bytes int64) string { return fmt.Sprintf("%d MiB", (bytes+1<<20-1)>>20) }
