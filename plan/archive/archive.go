// Package archive keeps the raw bytes of all that a run deletes, and of what the garbage collector deletes because of it.
// A record is on the disk before its key is deleted.
//
// An archive is a durable.Log of the format [Format]. The payload of a frame is a page of records, compressed by zstd. Each
// record is a protobuf message with a varint length before it, with the field numbers of etcd's mvccpb.KeyValue. Values
// are never re-encoded. A key may stand in it more than once, when it has drifted in between: the last record counts.
package archive

import (
	"fmt"
	"io"
	"iter"
	"os"
	"sync"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/encoding/protowire"

	"etcdsweep/decode"
	"etcdsweep/durable"
)

// Format is the first line of an archive.
const Format = "etcdsweep.archive/v1\n"

const maxPage = 256 << 20 // uncompressed; a damaged page must not fill the memory

// Writer appends to an archive. It is safe for concurrent use.
type Writer struct {
	log  *durable.Log
	zstd *zstd.Encoder

	mu    sync.Mutex // guards what follows
	plain []byte
	page  []byte
}

// Create makes an archive, mode 0600; its path must be free. The caller closes it.
func Create(fsys durable.FS, path string) (*Writer, error) {
	encoder, err := newEncoder()
	if err != nil {
		return nil, err
	}
	log, err := durable.CreateLog(fsys, path, Format)
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	return &Writer{log: log, zstd: encoder}, nil
}

// Open opens an archive to append to it, after it has called each for every record that it holds. A torn tail is cut off;
// cut is its length in bytes. The caller closes the archive.
func Open(fsys durable.FS, path string, each func(decode.Record)) (_ *Writer, cut int64, err error) {
	encoder, err := newEncoder()
	if err != nil {
		return nil, 0, err
	}
	pages, err := newPages()
	if err != nil {
		return nil, 0, err
	}
	defer pages.close()
	log, cut, err := durable.OpenLog(fsys, path, Format, func(page []byte) error {
		return pages.records(page, func(r decode.Record) bool {
			each(r)
			return true
		})
	})
	if err != nil {
		return nil, 0, fmt.Errorf("archive: %w", err)
	}
	return &Writer{log: log, zstd: encoder}, cut, nil
}

func newEncoder() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
}

// Append adds records as one page. When it returns nil they are on the disk. After an error the archive takes no more.
func (w *Writer) Append(records ...decode.Record) error {
	if len(records) == 0 {
		return nil
	}
	if err := w.append(records); err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	return nil
}

func (w *Writer) append(records []decode.Record) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.plain = w.plain[:0]
	for i := range records {
		w.plain = appendRecord(w.plain, &records[i])
	}
	w.page = w.zstd.EncodeAll(w.plain, w.page[:0])
	return w.log.Append(w.page)
}

// Close closes the file.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.zstd.Close() // it holds nothing back
	if err := w.log.Close(); err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	return nil
}

// Read yields the records of an archive in the order in which they were appended. An error is the last pair:
// durable.ErrTorn in its chain for a tail that is cut off, another for damage.
func Read(r io.Reader) iter.Seq2[decode.Record, error] {
	return func(yield func(decode.Record, error) bool) {
		if err := read(r, func(record decode.Record) bool { return yield(record, nil) }); err != nil {
			yield(decode.Record{}, fmt.Errorf("archive: %w", err))
		}
	}
}

// ReadFile is Read of the file at path.
func ReadFile(path string) iter.Seq2[decode.Record, error] {
	return func(yield func(decode.Record, error) bool) {
		file, err := os.Open(path)
		if err != nil {
			yield(decode.Record{}, fmt.Errorf("archive: %w", err))
			return
		}
		defer file.Close() // was only read
		for record, err := range Read(file) {
			if !yield(record, err) {
				return
			}
		}
	}
}

func read(r io.Reader, each func(decode.Record) bool) error {
	pages, err := newPages()
	if err != nil {
		return err
	}
	defer pages.close()
	stopped := false
	for page, err := range durable.ReadLog(r, Format) {
		if err != nil {
			return err
		}
		err := pages.records(page, func(r decode.Record) bool {
			stopped = !each(r)
			return !stopped
		})
		if err != nil || stopped {
			return err
		}
	}
	return nil
}

// pages takes pages apart.
type pages struct {
	zstd  *zstd.Decoder
	plain []byte
}

func newPages() (*pages, error) {
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxPage))
	return &pages{zstd: decoder}, err
}

func (p *pages) close() { p.zstd.Close() }

func (p *pages) records(page []byte, each func(decode.Record) bool) (err error) {
	if p.plain, err = p.zstd.DecodeAll(page, p.plain[:0]); err != nil {
		return err
	}
	for rest := p.plain; len(rest) > 0; {
		record, n, err := parseRecord(rest)
		if err != nil {
			return err
		}
		if !each(record) {
			return nil
		}
		rest = rest[n:]
	}
	return nil
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
