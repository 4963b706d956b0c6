package durable

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"os"
	"path/filepath"
	"sync"
)

// A log begins with a line that names its format. Frames follow, one for each Append: the length of the payload, never 0; the
// CRC-32C of these four bytes, so that a damaged length is not taken for a cut-off file; the CRC-32C of the payload; the
// payload. Numbers are of four bytes, big endian.
const (
	frameHeader = 12
	maxPayload  = 256 << 20 // a damaged length must not fill the memory
)

// ErrTorn says that a log ends within a frame, as after a crash. Every frame before it is whole.
var ErrTorn = errors.New("the last frame is torn")

// DamagedError says that a log is damaged in its middle: no crash does that.
type DamagedError struct {
	Frame  int   // from 1
	Offset int64 // of the frame in the file
	Err    error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("frame %d at byte %d: %v", e.Frame, e.Offset, e.Err)
}

// Unwrap returns what is wrong.
func (e *DamagedError) Unwrap() error { return e.Err }

// Hint says what to do about it.
func (e *DamagedError) Hint() string {
	return "the disk or somebody has damaged the file; keep it as it is: what stands before the damage can still be read"
}

// Log is an append-only file of frames, each whole or absent. Each is on the disk before the next one is written: a crash
// leaves one torn frame at most, the last. It is safe for concurrent use.
type Log struct {
	path string

	mu     sync.Mutex // guards what follows
	file   Handle
	frame  []byte
	size   int64 // all of it on the disk
	broken error // after a failed write or sync nothing is certain any more
}

// CreateLog makes a log, mode 0600; its path must be free. It appears with its first line, whole. The format ends in a newline.
// The caller closes the log.
func CreateLog(fsys FS, path, format string) (*Log, error) {
	file, err := Create(fsys, path)
	if err != nil {
		return nil, err
	}
	defer file.Abort()
	if _, err := io.WriteString(file, format); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := file.Commit(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	handle, err := fsys.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, err
	}
	return &Log{path: path, file: handle, size: int64(len(format))}, nil
}

// OpenLog opens a log to append to it, after it has called each for every payload that it holds. A torn tail is cut off;
// cut is its length in bytes. What it has called each for is on the disk when it returns, whether or not the process that
// appended it came to syncing it. The error is a *DamagedError for a log that is damaged before its tail, which is left as
// it is.
func OpenLog(fsys FS, path, format string, each func(payload []byte) error) (_ *Log, cut int64, err error) {
	file, err := fsys.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w", path, err), file.Close())
		}
	}()
	in := newFrames(file)
	switch err = in.log(format, each); {
	case errors.Is(err, ErrTorn):
		cut = in.source.read - in.good
		if err := file.Truncate(in.good); err != nil {
			return nil, 0, err
		}
	case err != nil:
		return nil, 0, err
	}
	if err := file.Sync(); err != nil {
		return nil, 0, err
	}
	if err := fsys.SyncDir(filepath.Dir(path)); err != nil {
		return nil, 0, err
	}
	return &Log{path: path, file: file, size: in.good}, cut, nil
}

// Append adds a frame. When it returns nil the frame is on the disk. After an error the log takes no more.
func (l *Log) Append(payload []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return l.broken
	}
	if len(payload) == 0 || len(payload) > maxPayload {
		return fmt.Errorf("%s: a frame of %d bytes", l.path, len(payload))
	}
	l.frame = binary.BigEndian.AppendUint32(l.frame[:0], uint32(len(payload)))
	l.frame = binary.BigEndian.AppendUint32(l.frame, checksum(l.frame))
	l.frame = binary.BigEndian.AppendUint32(l.frame, checksum(payload))
	l.frame = append(l.frame, payload...)
	_, err := l.file.Write(l.frame)
	if err == nil {
		err = l.file.Sync()
	}
	if err != nil {
		// Linux drops what it could not write, and still shows it to who reads the file, until the machine goes down. So
		// nobody must find it: whoever opens the log next would trust it. Where this fails too there is nothing left to do.
		_ = l.file.Truncate(l.size)
		l.broken = fmt.Errorf("%s: %w", l.path, err)
		return l.broken
	}
	l.size += int64(len(l.frame))
	return nil
}

// Close closes the file.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken == nil {
		l.broken = fmt.Errorf("%s: %w", l.path, os.ErrClosed)
	}
	if err := l.file.Close(); err != nil {
		return fmt.Errorf("%s: %w", l.path, err)
	}
	return nil
}

// ReadLog yields the payloads of a log, each until the next. An error is the last pair: [ErrTorn] in its chain for a tail
// that is cut off, a *DamagedError for damage before it, or that of r.
func ReadLog(r io.Reader, format string) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		in := newFrames(r)
		err := in.format(format)
		for err == nil {
			var payload []byte
			if payload, err = in.next(); err == nil && !yield(payload, nil) {
				return
			}
		}
		if !errors.Is(err, io.EOF) {
			yield(nil, err)
		}
	}
}

// frames reads a log.
type frames struct {
	source  *counter
	in      *bufio.Reader
	frame   int   // number of the frame that was read last
	start   int64 // where it begins
	good    int64 // end of the last whole frame
	payload []byte
}

func newFrames(r io.Reader) *frames {
	source := &counter{r: r}
	return &frames{source: source, in: bufio.NewReaderSize(source, 64<<10)}
}

// counter counts what is read from a file.
type counter struct {
	r    io.Reader
	read int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.read += int64(n)
	return n, err
}

// log reads a whole log. The error is ErrTorn if it ends within a frame, or a *DamagedError, or that of each.
func (f *frames) log(format string, each func(payload []byte) error) error {
	if err := f.format(format); err != nil {
		return err
	}
	for {
		payload, err := f.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := each(payload); err != nil {
			return &DamagedError{Frame: f.frame, Offset: f.start, Err: err}
		}
	}
}

func (f *frames) format(want string) error {
	got := make([]byte, len(want))
	if _, err := io.ReadFull(f.in, got); err != nil || string(got) != want {
		return fmt.Errorf("not of format %s", want[:len(want)-1])
	}
	f.good = int64(len(want))
	return nil
}

// next returns the next payload, which is its caller's until the next call, or io.EOF, [ErrTorn] or a *DamagedError. It
// returns ErrTorn at the end of the file only.
func (f *frames) next() ([]byte, error) {
	f.frame++
	f.start = f.good
	var header [frameHeader]byte
	switch _, err := io.ReadFull(f.in, header[:]); {
	case errors.Is(err, io.EOF):
		return nil, io.EOF
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, f.torn()
	case err != nil:
		return nil, err
	}
	length := binary.BigEndian.Uint32(header[:4])
	if checksum(header[:4]) != binary.BigEndian.Uint32(header[4:]) || length == 0 || length > maxPayload {
		return nil, f.damaged(errors.New("wrong length"))
	}
	switch err := f.read(int64(length)); {
	case errors.Is(err, io.EOF):
		return nil, f.torn()
	case err != nil:
		return nil, err
	}
	if checksum(f.payload) != binary.BigEndian.Uint32(header[8:]) {
		return nil, f.damaged(errors.New("wrong checksum"))
	}
	f.good += frameHeader + int64(length)
	return f.payload, nil
}

func (f *frames) torn() error {
	return fmt.Errorf("frame %d at byte %d: %w", f.frame, f.start, ErrTorn)
}

// damaged tells a frame that a crash has left, because the file ends behind it or is blank from there on, from one that is
// damaged.
func (f *frames) damaged(cause error) error {
	blank := true
	for {
		b, err := f.in.ReadByte()
		if errors.Is(err, io.EOF) {
			return f.torn()
		}
		if err != nil {
			return err
		}
		if blank = blank && b == 0; !blank {
			return &DamagedError{Frame: f.frame, Offset: f.start, Err: cause}
		}
	}
}

// read reads a payload, growing as the bytes come: a damaged length takes no memory that no bytes stand for.
func (f *frames) read(n int64) error {
	const step = 1 << 20
	f.payload = f.payload[:0]
	for n > 0 {
		part := int(min(n, step))
		f.payload = append(f.payload, make([]byte, part)...)
		if _, err := io.ReadFull(f.in, f.payload[len(f.payload)-part:]); err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) {
				err = io.EOF
			}
			return err
		}
		n -= int64(part)
	}
	return nil
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }
