package snapshot

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"etcdsweep/test/fixtures"
)

// Memory of an index does not grow with the writes to a key, and the last write wins whenever the others are sorted out.
func TestIndexSettlesMeanwhile(t *testing.T) {
	const keys = 1000
	var x index
	for main := range int64(20 * leastRoom) {
		key := fmt.Appendf(nil, "%03d", main%keys)
		x.add(place{key: key, main: main, gone: main%keys == 7})
		if len(x.places) > 2*leastRoom {
			t.Fatalf("%d places for %d keys", len(x.places), keys)
		}
	}
	x.settle()
	if len(x.places) != keys-1 || len(x.under("00")) != 9 || len(x.under("")) != keys-1 || len(x.under("9999")) != 0 {
		t.Fatalf("%d keys, %d under 00", len(x.places), len(x.under("00")))
	}
	const last = 20*leastRoom - 1
	for _, p := range x.places {
		if p.main <= last-keys {
			t.Fatalf("%s has revision %d", p.key, p.main)
		}
	}
}

// everything calls whatever a view can be asked for.
func everything(ctx context.Context, path string, revision int64) (records int, err error) {
	view, err := OpenView(ctx, path, ViewOptions{Revision: revision})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	for record, scanErr := range view.Scan(ctx, "") {
		if scanErr != nil {
			return records, scanErr
		}
		records++
		again, err := view.Get(ctx, record.Key)
		if err != nil {
			return records, err
		}
		if again == nil || again.ModRevision != record.ModRevision {
			return records, fmt.Errorf("%q is read in two ways", record.Key)
		}
	}
	for record, err := range view.ScanKeys(ctx, "a") {
		if err != nil {
			return records, err
		}
		if record.Value != nil {
			return records, errors.New("a value in a read of keys")
		}
	}
	_, err = view.CountEach(ctx, []string{"", "a", "\xff"})
	return records, err
}

func TestClosedView(t *testing.T) {
	view, err := OpenView(t.Context(), unpack(t, fixtures.Zoo), ViewOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := view.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := view.Get(t.Context(), "/registry/namespaces/kube-system"); err == nil {
		t.Error("Get of a closed view answers")
	}
	for _, err := range view.Scan(t.Context(), "") {
		if err == nil {
			t.Error("Scan of a closed view yields a record")
		}
	}
	if _, err := view.Count(t.Context(), ""); err == nil {
		t.Error("Count of a closed view answers")
	}
}

func TestViewIsCancelled(t *testing.T) {
	path := unpack(t, fixtures.Zoo)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	view, err := OpenView(ctx, path, ViewOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	records := 0
	for _, err := range view.Scan(ctx, "") {
		cancel()
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			break
		}
		records++
	}
	if records > askEvery {
		t.Errorf("%d records after the end of the context", records)
	}
	if _, err := OpenView(ctx, path, ViewOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// What is no file, no database, or cut off is refused in words.
func TestViewRefuses(t *testing.T) {
	whole, err := os.ReadFile(unpack(t, fixtures.Zoo))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	flipped := append([]byte(nil), whole...)
	flipped[len(flipped)/2] ^= 1
	for name, c := range map[string]struct {
		path string
		is   func(error) bool
	}{
		"absent":     {filepath.Join(dir, "absent"), is[*fs.PathError]},
		"empty":      {write("empty", nil), is[*DamagedError]},
		"text":       {write("text", []byte("apiVersion: v1\n")), is[*DamagedError]},
		"directory":  {dir, func(err error) bool { return err != nil }},
		"flipped":    {write("flipped", flipped), is[*ChecksumError]},
		"half":       {write("half", whole[:len(whole)/2]), is[*DamagedError]},
		"quarter":    {write("quarter", whole[:len(whole)/4&^(4096-1)]), is[*DamagedError]},
		"one byte":   {write("one", whole[:len(whole)-1]), is[*DamagedError]},
		"no buckets": {database(t, nil, nil), func(err error) bool { return err == nil }},
	} {
		if _, err := everything(t.Context(), c.path, 0); !c.is(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// small is a database with all that the pages of etcd's may have: branches, overflow pages, small buckets and large ones.
func small(t testing.TB) []byte {
	t.Helper()
	var entries []entry
	for main := range int64(150) {
		key := fmt.Appendf(nil, "key-%02d", main%40)
		e := entry{main: main + 2, kv: &mvccpb.KeyValue{Key: key, CreateRevision: 2, ModRevision: main + 2, Version: main, Value: make([]byte, 60)}}
		switch {
		case main%50 == 0:
			e.kv.Value = make([]byte, 6000)
		case main%7 == 0:
			e = entry{main: main + 2, tombstone: true, kv: &mvccpb.KeyValue{Key: key}}
		}
		entries = append(entries, e)
	}
	data, err := os.ReadFile(database(t, entries, map[string]int64{"finishedCompactRev": 20}))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// FuzzView changes and cuts off a database: whatever comes of it is an error or a view, and never the end of the process. Three
// places are changed, since a page that is to lead somewhere else needs more than one; the checksums of the first two pages,
// which would end most attempts, are made right again on demand.
func FuzzView(f *testing.F) {
	original := small(f)
	f.Add(uint32(0), uint32(0), uint32(0), uint32(0), uint32(0), uint32(0), uint32(len(original)), false)
	for page := range uint32(len(original) / 4096) {
		at := page * 4096
		f.Add(at, uint32(1), at+8, uint32(3), at+10, uint32(0xffff), uint32(len(original)), true) // id, flags, count
		f.Add(at+12, uint32(9), at+16, uint32(0xfff), at+24, uint32(7), uint32(len(original)), true)
		f.Add(at+20, uint32(0xffff_ff00), at+28, uint32(0x8000_0000), at+32, uint32(page), at+4096, true)
	}
	f.Fuzz(func(t *testing.T, at1, flip1, at2, flip2, at3, flip3, size uint32, reseal bool) {
		data := append([]byte(nil), original...)
		for _, change := range [][2]uint32{{at1, flip1}, {at2, flip2}, {at3, flip3}} {
			place := data[int(change[0])%(len(data)-4):]
			binary.LittleEndian.PutUint32(place, binary.LittleEndian.Uint32(place)^change[1])
		}
		if reseal {
			for _, meta := range [][]byte{data[16:80], data[4096+16 : 4096+80]} { // bbolt internal/common/meta.go
				sum := fnv.New64a()
				sum.Write(meta[:56])
				binary.LittleEndian.PutUint64(meta[56:], sum.Sum64())
			}
		}
		path := filepath.Join(t.TempDir(), "db")
		if err := os.WriteFile(path, data[:int(size)%(len(data)+1)], 0o600); err != nil {
			t.Fatal(err)
		}
		for _, revision := range []int64{0, 30} {
			if n, err := everything(t.Context(), path, revision); err == nil && n > 150 {
				t.Fatalf("%d records of 150 writes", n)
			}
		}
	})
}
