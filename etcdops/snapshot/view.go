package snapshot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"

	"etcdsweep/decode"
)

// DamagedError is a file that cannot be read as what it seems to be. Nothing of it is to be believed.
type DamagedError struct{ Err error }

func (e *DamagedError) Error() string { return "damaged: " + e.Err.Error() }

// Unwrap returns what is wrong with it.
func (e *DamagedError) Unwrap() error { return e.Err }

// Hint says what to do about it.
func (e *DamagedError) Hint() string {
	return "take another snapshot; a database file may only be copied while its member stands still"
}

// RevisionError is a revision at which a file cannot be read.
type RevisionError struct {
	Revision       int64
	Oldest, Newest int64 // what can be read
}

func (e *RevisionError) Error() string {
	if e.Revision < e.Oldest {
		return fmt.Sprintf("revision %d has been compacted", e.Revision)
	}
	return fmt.Sprintf("revision %d is in the future of this file", e.Revision)
}

// Hint says which revisions there are.
func (e *RevisionError) Hint() string {
	return fmt.Sprintf("it can be read at revisions %d to %d", e.Oldest, e.Newest)
}

// Origin says what a View was read from.
type Origin struct {
	Path     string `json:"path"`
	Bytes    int64  `json:"bytes"`
	SHA256   string `json:"sha256,omitempty"` // of a snapshot, in hexadecimal; "" of a member's database file, which has none
	Revision int64  `json:"revision"`         // at which it is read
	Oldest   int64  `json:"oldest"`           // revision that could be read: that of the last compaction
	Newest   int64  `json:"newest"`           // revision that could be read
}

// Member reports whether the file is a member's own database: what the member had written to its write-ahead log only is not in
// it, and nothing proves that the file is whole.
func (o Origin) Member() bool { return o.SHA256 == "" }

// View is a snapshot, or a member's database file, as the cluster that it was at one revision. It has the methods to read that a
// client has; none of them changes the file. They may be called from many goroutines, and fail once it is closed.
type View struct {
	file   *File
	opener Opener // nil leaves encrypted values closed
	origin Origin
	index  index
	closed bool
}

// Opener opens encrypted values until it is closed.
type Opener interface {
	decode.Opener
	Close() error
}

// ViewOptions say how a file is read.
type ViewOptions struct {
	Revision int64 // 0 for the newest
	// Opener opens the encrypted values that are read; nil leaves them closed. A View that OpenView returns closes it.
	Opener Opener
}

// OpenView opens a file. A snapshot must end in its own hash; of a member's database file, which
// has none, it is only made sure that it can be read without harm. The file is read once from beginning to end, and mapped into
// memory; in memory of its own the View keeps 48 bytes for each key. The caller closes it.
//
// The error is a *LockedError for the file of a running member, after a second; a *ChecksumError or a *DamagedError for a file
// that is not whole; a *RevisionError for a revision that it does not have.
func OpenView(ctx context.Context, path string, opts ViewOptions) (*View, error) {
	v, err := openView(ctx, path, opts)
	if err != nil {
		return nil, fmt.Errorf("snapshot %s: %w", path, err)
	}
	return v, nil
}

func openView(ctx context.Context, path string, opts ViewOptions) (_ *View, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close() // was only read
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() == 0 { // which bbolt would try to make a database of
		return nil, &DamagedError{errors.New("not a file, or empty")}
	}
	f, err := open(path)
	if is[*LockedError](err) {
		return nil, err
	}
	if err != nil {
		return nil, &DamagedError{err}
	}
	v := &View{file: f, opener: opts.Opener, origin: Origin{Path: path, Bytes: info.Size()}}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if err := v.check(ctx, file); err != nil {
		return nil, err
	}
	if err := f.seek(); err != nil {
		return nil, &DamagedError{err}
	}
	if err := v.choose(opts.Revision); err != nil {
		return nil, err
	}
	return v, v.read(ctx)
}

// check makes sure that the file is what it says, as far as that can be told, and that bbolt can read it without harm.
func (v *View) check(ctx context.Context, file *os.File) error {
	pageSize := int64(v.file.db.Info().PageSize)
	if pageSize < leastPage || pageSize > mostPage || pageSize&(pageSize-1) != 0 {
		return &DamagedError{fmt.Errorf("pages of %d bytes", pageSize)}
	}
	switch v.origin.Bytes % pageSize {
	case 0:
	case sha256.Size:
		whole, err := verify(ctx, file)
		if err != nil {
			return err
		}
		v.origin.SHA256 = whole.SHA256
	default:
		return &DamagedError{fmt.Errorf("%d bytes: neither whole pages nor a hash behind them", v.origin.Bytes)}
	}
	root := uint64(v.file.tx.Cursor().Bucket().Root())
	err := checkTree(ctx, file, v.origin.Bytes/pageSize, pageSize, root)
	if err != nil && ctx.Err() == nil {
		return &DamagedError{err}
	}
	return err
}

// choose sets the revision at which the view is read.
func (v *View) choose(revision int64) error {
	o := &v.origin
	var err error
	if o.Newest, err = v.file.Revision(); err != nil {
		return err
	}
	o.Oldest = v.file.compacted()
	if o.Newest < 0 || o.Oldest < 0 {
		return &DamagedError{errors.New("a revision is negative")}
	}
	if o.Revision = revision; revision == 0 {
		o.Revision = o.Newest
	}
	if o.Revision < o.Oldest || o.Revision > o.Newest {
		return &RevisionError{Revision: revision, Oldest: o.Oldest, Newest: o.Newest}
	}
	return nil
}

// read finds the last write of every key.
func (v *View) read(ctx context.Context) error {
	cursor := v.file.cursor
	n := 0
	for k, value := cursor.First(); k != nil; k, value = cursor.Next() {
		if n++; n%askEvery == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if len(k) != revisionBytes && len(k) != tombstoneBytes {
			return &DamagedError{fmt.Errorf("a revision of %d bytes", len(k))}
		}
		at := place{main: mainRevision(k), sub: subRevision(k), gone: len(k) == tombstoneBytes}
		w, err := parseWrite(value)
		if err == nil && len(w.key) == 0 {
			err = errors.New("a write to no key")
		}
		if err != nil {
			return &DamagedError{fmt.Errorf("revision %d: %w", at.main, err)}
		}
		if at.key = w.key; at.main <= v.origin.Revision {
			v.index.add(at)
		}
	}
	v.index.settle()
	return nil
}

// Close ends the use of the file, and of the View.
func (v *View) Close() error {
	v.closed = true
	err := v.file.Close()
	if v.opener != nil {
		err = errors.Join(err, v.opener.Close())
	}
	return err
}

// Origin says what is read.
func (v *View) Origin() Origin { return v.origin }

// Get returns the record of a key; nil if it is absent.
func (v *View) Get(ctx context.Context, key string) (*decode.Record, error) {
	places, err := v.under(key)
	if err != nil || len(places) == 0 || string(places[0].key) != key {
		return nil, err
	}
	record, err := v.record(ctx, places[0], true)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", key, err)
	}
	return &record, nil
}

// GetAll returns the records of many keys, in their order, with nil for each that is absent.
func (v *View) GetAll(ctx context.Context, keys []string) ([]*decode.Record, error) {
	records := make([]*decode.Record, len(keys))
	for i, key := range keys {
		var err error
		if records[i], err = v.Get(ctx, key); err != nil {
			return nil, err
		}
	}
	return records, nil
}

// Scan yields the records under a prefix in the order of their keys; an error is the last pair.
func (v *View) Scan(ctx context.Context, prefix string) iter.Seq2[decode.Record, error] {
	return v.scan(ctx, prefix, true)
}

// ScanKeys yields them without their values.
func (v *View) ScanKeys(ctx context.Context, prefix string) iter.Seq2[decode.Record, error] {
	return v.scan(ctx, prefix, false)
}

func (v *View) scan(ctx context.Context, prefix string, values bool) iter.Seq2[decode.Record, error] {
	return func(yield func(decode.Record, error) bool) {
		places, err := v.under(prefix)
		if err != nil {
			yield(decode.Record{}, err)
			return
		}
		for i, p := range places {
			var record decode.Record
			var err error
			if i%askEvery == 0 {
				err = ctx.Err()
			}
			if err == nil {
				record, err = v.record(ctx, p, values)
			}
			if err != nil {
				yield(decode.Record{}, fmt.Errorf("scan %s: %w", prefix, err))
				return
			}
			if !yield(record, nil) {
				return
			}
		}
	}
}

// Count returns how many keys there are under a prefix.
func (v *View) Count(_ context.Context, prefix string) (int64, error) {
	places, err := v.under(prefix)
	return int64(len(places)), err
}

// CountEach returns how many keys there are under each prefix.
func (v *View) CountEach(_ context.Context, prefixes []string) ([]int64, error) {
	counts := make([]int64, len(prefixes))
	for i, prefix := range prefixes {
		places, err := v.under(prefix)
		if err != nil {
			return nil, err
		}
		counts[i] = int64(len(places))
	}
	return counts, nil
}

// Revision returns the revision at which the view is read.
func (v *View) Revision(context.Context, string) (int64, error) { return v.origin.Revision, nil }

// under returns the places of the keys under a prefix.
func (v *View) under(prefix string) ([]place, error) {
	if v.closed {
		return nil, fmt.Errorf("snapshot %s: closed", v.origin.Path)
	}
	return v.index.under(prefix), nil
}

// record reads a write. It is a copy, which outlives the View.
func (v *View) record(ctx context.Context, p place, value bool) (decode.Record, error) {
	w, err := v.file.at(p)
	if err != nil {
		return decode.Record{}, err
	}
	r := decode.Record{
		Key:            string(p.key),
		CreateRevision: w.createRevision,
		ModRevision:    w.modRevision,
		Version:        w.version,
		Lease:          w.lease,
	}
	if value {
		r.Value = bytes.Clone(w.value)
	}
	if value && v.opener != nil {
		err = v.opener.Open(ctx, &r)
	}
	return r, err
}

// at returns the write at a place, as memory of the file.
func (f *File) at(p place) (write, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.tx == nil {
		return write{}, fmt.Errorf("snapshot %s: closed", f.path)
	}
	var k [revisionBytes]byte
	binary.BigEndian.PutUint64(k[:], uint64(p.main))
	k[8] = '_'
	binary.BigEndian.PutUint64(k[9:], uint64(p.sub))
	found, value := f.cursor.Seek(k[:])
	w, err := parseWrite(value)
	if err == nil && (!bytes.Equal(found, k[:]) || !bytes.Equal(w.key, p.key)) {
		err = errors.New("its revisions are out of order")
	}
	if err != nil {
		return write{}, &DamagedError{fmt.Errorf("revision %d: %w", p.main, err)}
	}
	return w, nil
}

func subRevision(k []byte) int64 { return int64(binary.BigEndian.Uint64(k[9:])) }

func is[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}
