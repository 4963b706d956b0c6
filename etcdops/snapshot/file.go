package snapshot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"google.golang.org/protobuf/encoding/protowire"

	"etcdsweep/decode"
)

// lockTimeout is how long Open waits for the lock that a running member has on its database file.
const lockTimeout = time.Second

const (
	revisionBytes  = 8 + 1 + 8         // main revision, '_', sub revision
	tombstoneBytes = revisionBytes + 1 // and 't'
)

// LockedError is a database file that another process has open for writing: a running member's own.
type LockedError struct{ Path string }

func (e *LockedError) Error() string { return "locked by another process" }

// Hint says what to do about it.
func (e *LockedError) Hint() string {
	return "this is the database of a running etcd: take a snapshot from it instead, its file alone is not whole without its write-ahead log"
}

// File is a snapshot open for looking things up. Its methods are safe for concurrent use, one at a time.
type File struct {
	path string
	db   *bolt.DB

	mu     sync.Mutex
	tx     *bolt.Tx
	cursor *bolt.Cursor // over the bucket "key"
}

// Open opens a snapshot that Save has written or Verify has passed; any other may be damaged so that bbolt ends the process.
// The error is a *LockedError for the file of a running member. The caller closes the File.
//
// The file is mapped into memory: what is looked up counts as resident, but the kernel takes it back at will.
func Open(path string) (*File, error) {
	f, err := open(path)
	if err == nil {
		if err = f.seek(); err != nil {
			err = errors.Join(err, f.Close())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("snapshot %s: %w", path, err)
	}
	return f, nil
}

// open locks and maps the file. Of its pages only the first two are looked at.

func open(path string) (*File, error) {
	db, err := bolt.Open(path, 0, &bolt.Options{ReadOnly: true, Timeout: lockTimeout})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, &LockedError{Path: path}
	}
	if err != nil {
		return nil, err
	}
	f := &File{path: path, db: db}
	if f.tx, err = db.Begin(false); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// seek finds where the writes are.
func (f *File) seek() error {
	bucket := f.tx.Bucket([]byte("key"))
	if bucket == nil {
		return errors.New(`no bucket "key": not a snapshot of etcd`)
	}
	f.cursor = bucket.Cursor()
	return nil
}

// Close ends the use of the file.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var err error
	if f.tx != nil {
		err = f.tx.Rollback() // bbolt waits for it
		f.tx, f.cursor = nil, nil
	}
	return errors.Join(err, f.db.Close())
}

// Holds reports whether the snapshot holds what was written to the key at modRevision, by the creation at createRevision. It costs one seek.
func (f *File) Holds(key string, createRevision, modRevision int64) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w, found, err := f.find(key, modRevision)
	return found && w.createRevision == createRevision && w.modRevision == modRevision, err
}

// Record returns what was written to the key at modRevision, and whether the snapshot holds it.
// The record is a copy that outlives the File.
func (f *File) Record(key string, modRevision int64) (decode.Record, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w, found, err := f.find(key, modRevision)
	if err != nil || !found {
		return decode.Record{}, false, err
	}
	return decode.Record{
		Key:            key,
		Value:          bytes.Clone(w.value),
		CreateRevision: w.createRevision,
		ModRevision:    w.modRevision,
		Version:        w.version,
		Lease:          w.lease,
	}, true, nil
}

// Revision returns the cluster's revision that the snapshot has reached: that of its last write, or of its last compaction if
// that has taken the last write away (etcd server/storage/mvcc/kvstore.go, restore).
func (f *File) Revision() (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.tx == nil {
		return 0, fmt.Errorf("snapshot %s: closed", f.path)
	}
	var last int64
	if k, _ := f.cursor.Last(); len(k) >= revisionBytes {
		last = mainRevision(k)
	}
	return max(last, f.compacted()), nil
}

// compacted returns the revision of the last compaction, done or only begun; 0 without one. What was written before it, and
// written again up to it, is gone.
func (f *File) compacted() (revision int64) {
	meta := f.tx.Bucket([]byte("meta"))
	if meta == nil {
		return 0
	}
	for _, name := range []string{"scheduledCompactRev", "finishedCompactRev"} {
		if v := meta.Get([]byte(name)); len(v) >= revisionBytes {
			revision = max(revision, mainRevision(v))
		}
	}
	return revision
}

// find looks for the write of a key at a revision. What it returns is memory of the file.
func (f *File) find(key string, modRevision int64) (write, bool, error) {
	if f.tx == nil {
		return write{}, false, fmt.Errorf("snapshot %s: closed", f.path)
	}
	var from [8]byte
	binary.BigEndian.PutUint64(from[:], uint64(modRevision))
	for k, v := f.cursor.Seek(from[:]); bytes.HasPrefix(k, from[:]); k, v = f.cursor.Next() {
		if len(k) == tombstoneBytes {
			continue
		}
		w, err := parseWrite(v)
		if err != nil {
			return write{}, false, fmt.Errorf("snapshot %s: revision %d: %w", f.path, modRevision, err)
		}
		if string(w.key) == key {
			return w, true, nil
		}
	}
	return write{}, false, nil
}

func mainRevision(k []byte) int64 { return int64(binary.BigEndian.Uint64(k)) }

// write is an mvccpb.KeyValue that shares the memory of the bytes that it was read from.
type write struct {
	key, value                                  []byte
	createRevision, modRevision, version, lease int64
}

// parseWrite reads an mvccpb.KeyValue (etcd api/mvccpb/kv.proto) without a copy.
func parseWrite(data []byte) (write, error) {
	var w write
	for len(data) > 0 {
		field, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return write{}, fmt.Errorf("key-value: %w", protowire.ParseError(n))
		}
		data = data[n:]
		switch {
		case kind == protowire.BytesType && (field == 1 || field == 5):
			var v []byte
			if v, n = protowire.ConsumeBytes(data); field == 1 {
				w.key = v
			} else {
				w.value = v
			}
		case kind == protowire.VarintType && field >= 2 && field <= 6:
			var v uint64
			v, n = protowire.ConsumeVarint(data)
			switch field {
			case 2:
				w.createRevision = int64(v)
			case 3:
				w.modRevision = int64(v)
			case 4:
				w.version = int64(v)
			case 6:
				w.lease = int64(v)
			}
		default:
			n = protowire.ConsumeFieldValue(field, kind, data)
		}
		if n < 0 {
			return write{}, fmt.Errorf("key-value: field %d: %w", field, protowire.ParseError(n))
		}
		data = data[n:]
	}
	return w, nil
}
