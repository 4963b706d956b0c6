// Package archive keeps the raw bytes of what a run deletes and its snapshot does not hold: objects that drifted after
// the snapshot, and newcomers. A record is on the disk before its key is deleted.
//
// A file begins with the line [Format]. Frames follow, one for each [Writer.Append]: the length of the payload and its
// CRC-32C, four bytes each, big endian, then the payload: records, compressed by zstd. Each record is a protobuf
// message with a varint length before it, with the field numbers of etcd's mvccpb.KeyValue. Values are never re-encoded.
package archive

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

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/encoding/protowire"

	"etcdsweep/decode"
	"etcdsweep/durable"
)

// Format is the first line of an archive.
const Format = "etcdsweep.archive/v1\n"

const (
	frameHeader = 8
	maxFrame    = 256 << 20 // compressed and not; a damaged length must not fill the memory
)

func checksum(payload []byte) uint32 {
	return crc32.Checksum(payload, crc32.MakeTable(crc32.Castagnoli))
}

// Writer appends to an archive. It is safe for concurrent use.
type Writer struct {
	mu      sync.Mutex
	file    *os.File
	zstd    *zstd.Encoder
	plain   []byte
	frame   []byte
	broken  error
	records int64
}

// Create makes an archive, mode 0600; its path must be free. The caller closes it.
func Create(path string) (_ *Writer, err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("archive: %w", err), file.Close())
		}
	}()
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	if _, err := file.WriteString(Format); err != nil {
		return nil, err
	}
	if err := file.Sync(); err != nil {
		return nil, err
	}
	if err := durable.SyncDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	return &Writer{file: file, zstd: encoder}, nil
}

// Append adds records in one frame. When it returns nil they are on the disk. After an error the archive takes no
// more: what was written last may be torn.
func (w *Writer) Append(records ...decode.Record) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken != nil {
		return w.broken
	}
	w.plain = w.plain[:0]
	for i := range records {
		w.plain = appendRecord(w.plain, &records[i])
	}
	w.frame = w.zstd.EncodeAll(w.plain, append(w.frame[:0], make([]byte, frameHeader)...))
	payload := w.frame[frameHeader:]
	binary.BigEndian.PutUint32(w.frame, uint32(len(payload)))
	binary.BigEndian.PutUint32(w.frame[4:], checksum(payload))
	_, err := w.file.Write(w.frame)
	if err == nil {
		err = w.file.Sync()
	}
	if err != nil {
		w.broken = fmt.Errorf("archive %s: %w", w.file.Name(), err)
		return w.broken
	}
	w.records += int64(len(records))
	return nil
}

// Records returns the number of records appended.
func (w *Writer) Records() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.records
}

// Close closes the file.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := errors.Join(w.zstd.Close(), w.file.Close()); err != nil {
		return fmt.Errorf("archive %s: %w", w.file.Name(), err)
	}
	return nil
}

// ErrTorn says that an archive ends within a frame, as after a crash. All records before it were yielded.
var ErrTorn = errors.New("the last frame is torn")

// Read yields the records of an archive in the order in which they were appended. An error is the last pair: [ErrTorn]
// in its chain for a tail that is cut off, another for damage.
func Read(r io.Reader) iter.Seq2[decode.Record, error] {
	return func(yield func(decode.Record, error) bool) {
		if err := read(r, func(record decode.Record) bool { return yield(record, nil) }); err != nil {
			yield(decode.Record{}, fmt.Errorf("archive: %w", err))
		}
	}
}

func read(r io.Reader, each func(decode.Record) bool) error {
	in := bufio.NewReaderSize(r, 64<<10)
	format := make([]byte, len(Format))
	if _, err := io.ReadFull(in, format); err != nil || string(format) != Format {
		return errors.New("not an archive of format " + Format[:len(Format)-1])
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxFrame))
	if err != nil {
		return err
	}
	defer decoder.Close()
	header := make([]byte, frameHeader)
	var payload, plain []byte
	for frame := 1; ; frame++ {
		switch _, err := io.ReadFull(in, header); {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			return fmt.Errorf("frame %d: %w", frame, ErrTorn)
		case err != nil:
			return err
		}
		length := binary.BigEndian.Uint32(header)
		if length > maxFrame {
			return fmt.Errorf("frame %d: %d bytes long", frame, length)
		}
		payload, err = readN(in, payload[:0], int64(length))
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("frame %d: %w", frame, ErrTorn)
		}
		if err != nil {
			return fmt.Errorf("frame %d: %w", frame, err)
		}
		if checksum(payload) != binary.BigEndian.Uint32(header[4:]) {
			return fmt.Errorf("frame %d: wrong checksum", frame)
		}
		if plain, err = decoder.DecodeAll(payload, plain[:0]); err != nil {
			return fmt.Errorf("frame %d: %w", frame, err)
		}
		for rest := plain; len(rest) > 0; {
			record, n, err := parseRecord(rest)
			if err != nil {
				return fmt.Errorf("frame %d: %w", frame, err)
			}
			if !each(record) {
				return nil
			}
			rest = rest[n:]
		}
	}
}

// readN reads n bytes, growing as they come: a damaged length takes no memory that no bytes stand for.
func readN(r io.Reader, into []byte, n int64) ([]byte, error) {
	const step = 1 << 20
	for n > 0 {
		part := min(n, step)
		into = append(into, make([]byte, part)...)
		if _, err := io.ReadFull(r, into[int64(len(into))-part:]); err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) {
				err = io.EOF
			}
			return into, err
		}
		n -= part
	}
	return into, nil
}

// Field numbers of mvccpb.KeyValue (etcd api/mvccpb/kv.proto).
const (
	fieldKey            = 1
	fieldCreateRevision = 2
	fieldModRevision    = 3
	fieldVersion        = 4
	fieldValue          = 5
	fieldLease          = 6
)

func appendRecord(b []byte, r *decode.Record) []byte {
	var m []byte
	m = protowire.AppendTag(m, fieldKey, protowire.BytesType)
	m = protowire.AppendString(m, r.Key)
	for _, f := range []struct {
		number protowire.Number
		value  int64
	}{
		{fieldCreateRevision, r.CreateRevision},
		{fieldModRevision, r.ModRevision},
		{fieldVersion, r.Version},
		{fieldLease, r.Lease},
	} {
		m = protowire.AppendTag(m, f.number, protowire.VarintType)
		m = protowire.AppendVarint(m, uint64(f.value))
	}
	m = protowire.AppendTag(m, fieldValue, protowire.BytesType)
	m = protowire.AppendBytes(m, r.Value)
	return protowire.AppendBytes(b, m)
}

func parseRecord(b []byte) (r decode.Record, n int, err error) {
	message, n := protowire.ConsumeBytes(b)
	if n < 0 {
		return r, 0, protowire.ParseError(n)
	}
	for len(message) > 0 {
		number, kind, tag := protowire.ConsumeTag(message)
		if tag < 0 {
			return r, 0, protowire.ParseError(tag)
		}
		message = message[tag:]
		var size int
		switch {
		case kind == protowire.BytesType && (number == fieldKey || number == fieldValue):
			var value []byte
			value, size = protowire.ConsumeBytes(message)
			if number == fieldKey {
				r.Key = string(value)
			} else {
				r.Value = append([]byte{}, value...)
			}
		case kind == protowire.VarintType:
			var value uint64
			value, size = protowire.ConsumeVarint(message)
			switch number {
			case fieldCreateRevision:
				r.CreateRevision = int64(value)
			case fieldModRevision:
				r.ModRevision = int64(value)
			case fieldVersion:
				r.Version = int64(value)
			case fieldLease:
				r.Lease = int64(value)
			}
		default:
			size = protowire.ConsumeFieldValue(number, kind, message)
		}
		if size < 0 {
			return r, 0, protowire.ParseError(size)
		}
		message = message[size:]
	}
	return r, n, nil
}
