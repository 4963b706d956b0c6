package plan

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
)

// A plan ends with the digest of all bytes before it, as the last field of the trailer.
const (
	digestOpen  = `,"sha256":"`
	digestClose = `"}`
	digestTail  = len(digestOpen) + 2*sha256.Size + len(digestClose)
)

// Writer writes a plan line by line: the header at once, entries as they come, and the trailer with the digest at the
// end. Until Finish has returned the plan cannot be read: a reader refuses it as cut off.
type Writer struct {
	out    *bufio.Writer
	digest hash.Hash
	line   []byte
}

// NewWriter writes the header, with [Format] set. The writer is the caller's to close.
func NewWriter(w io.Writer, header Header) (*Writer, error) {
	header.Format = Format
	digest := sha256.New()
	pw := &Writer{out: bufio.NewWriterSize(io.MultiWriter(w, digest), 64<<10), digest: digest}
	line, err := json.Marshal(header)
	if err != nil {
		return nil, fmt.Errorf("plan header: %w", err)
	}
	_, err = pw.out.Write(append(line, '\n'))
	return pw, err
}

// Write adds an entry: first the roots, in the order in which they go, then those of each later stage in the order of their keys.
// Lines of stage collateral may stand anywhere below the roots.
func (w *Writer) Write(e *Entry) error {
	w.line = append(e.appendJSON(w.line[:0]), '\n')
	_, err := w.out.Write(w.line)
	return err
}

// Finish writes the trailer and returns the plan's ID.
func (w *Writer) Finish(trailer Trailer) (id string, err error) {
	line, err := json.Marshal(trailer)
	if err != nil {
		return "", fmt.Errorf("plan trailer: %w", err)
	}
	if _, err := w.out.Write(line[:len(line)-1]); err != nil { // without its closing brace
		return "", err
	}
	if err := w.out.Flush(); err != nil {
		return "", err
	}
	sum := hex.EncodeToString(w.digest.Sum(nil))
	if _, err := w.out.WriteString(digestOpen + sum + digestClose + "\n"); err != nil {
		return "", err
	}
	return sum[:IDLength], w.out.Flush()
}
