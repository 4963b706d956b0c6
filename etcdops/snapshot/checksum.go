package snapshot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"time"
)

// ChecksumError is a snapshot that doesn't end in the SHA-256 of what comes before: it is cut off or damaged, or has none,
// like the database file of a member.
type ChecksumError struct {
	Bytes     int64  // of the snapshot
	Want, Got string // the hash at its end and that of its content, in hexadecimal; empty if it is shorter than a hash
}

func (e *ChecksumError) Error() string {
	if e.Want == "" {
		return fmt.Sprintf("%d bytes: too short for a snapshot", e.Bytes)
	}
	return fmt.Sprintf("%d bytes: ends in SHA-256 %.12s..., content has %.12s...: cut off, damaged, or no snapshot", e.Bytes, e.Want, e.Got)
}

// Hint says what to do about it.
func (e *ChecksumError) Hint() string {
	return "take the snapshot again; a file copied from a member's data directory is none, because it has no hash at its end"
}

// checksum computes the SHA-256 of all but the last 32 bytes that are written to it, and compares the two. The zero value is ready for use.
type checksum struct {
	hash  hash.Hash
	tail  []byte // the last bytes written, up to 32, not hashed yet
	bytes int64
}

func (c *checksum) write(p []byte) {
	if c.hash == nil {
		c.hash = sha256.New()
	}
	c.bytes += int64(len(p))
	if len(p) >= sha256.Size {
		c.hash.Write(c.tail)
		c.hash.Write(p[:len(p)-sha256.Size])
		c.tail = append(c.tail[:0], p[len(p)-sha256.Size:]...)
		return
	}
	c.tail = append(c.tail, p...)
	if surplus := len(c.tail) - sha256.Size; surplus > 0 {
		c.hash.Write(c.tail[:surplus])
		c.tail = append(c.tail[:0], c.tail[surplus:]...)
	}
}

// check returns a *ChecksumError unless the last 32 bytes are the hash of the others, of which there must be some.
func (c *checksum) check() error {
	if c.bytes <= sha256.Size {
		return &ChecksumError{Bytes: c.bytes}
	}
	if sum := c.hash.Sum(nil); !bytes.Equal(sum, c.tail) {
		return &ChecksumError{Bytes: c.bytes, Want: hex.EncodeToString(c.tail), Got: hex.EncodeToString(sum)}
	}
	return nil
}

// hex returns the hash that check has found right.
func (c *checksum) hex() string { return hex.EncodeToString(c.tail) }

// Verify reads a whole snapshot and makes sure that it ends in its own hash. The error is a *ChecksumError, or one of reading.
func Verify(ctx context.Context, path string) (Info, error) {
	f, err := os.Open(path)
	if err != nil {
		return Info{}, fmt.Errorf("snapshot: %w", err)
	}
	defer f.Close() // was only read
	info, err := verify(ctx, f)
	if err != nil {
		return Info{}, fmt.Errorf("snapshot %s: %w", path, err)
	}
	return info, nil
}

// verify reads a snapshot from where it is to its end.
func verify(ctx context.Context, f io.Reader) (Info, error) {
	start := time.Now()
	var sum checksum
	chunk := make([]byte, ChunkBytes)
	for {
		if err := ctx.Err(); err != nil {
			return Info{}, err
		}
		n, err := f.Read(chunk)
		sum.write(chunk[:n])
		if err == io.EOF {
			break
		}
		if err != nil {
			return Info{}, err
		}
	}
	if err := sum.check(); err != nil {
		return Info{}, err
	}
	return Info{Bytes: sum.bytes, SHA256: sum.hex(), Duration: time.Since(start)}, nil
}
