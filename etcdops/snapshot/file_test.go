package snapshot

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"etcdsweep/decode"
	"etcdsweep/test/fixtures"
)

// unpack returns the path of a real snapshot.
func unpack(tb testing.TB, name fixtures.Name) string {
	tb.Helper()
	path, err := fixtures.Unpack(name, tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

// openFixture opens a real snapshot after it has verified it.
func openFixture(tb testing.TB, name fixtures.Name) (*File, string) {
	tb.Helper()
	path := unpack(tb, name)
	if _, err := Verify(tb.Context(), path); err != nil {
		tb.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := f.Close(); err != nil {
			tb.Error(err)
		}
	})
	return f, path
}

func TestEveryRecordIsFound(t *testing.T) {
	for _, name := range []fixtures.Name{fixtures.Incident, fixtures.Zoo} {
		t.Run(string(name), func(t *testing.T) {
			f, path := openFixture(t, name)
			var n int
			var last int64
			for want, err := range fixtures.Records(path) {
				if err != nil {
					t.Fatal(err)
				}
				n++
				last = max(last, want.ModRevision)
				got, found, err := f.Record(want.Key, want.ModRevision)
				if err != nil || !found {
					t.Fatalf("%s at revision %d: found %v, %v", want.Key, want.ModRevision, found, err)
				}
				if !reflect.DeepEqual(want, got) { // cmp.Diff takes a millisecond where nothing differs
					t.Fatalf("%s: -want +got:\n%s", want.Key, cmp.Diff(want, got))
				}
				for _, c := range []struct {
					key         string
					create, mod int64
					want        bool
				}{
					{want.Key, want.CreateRevision, want.ModRevision, true},
					{want.Key, want.CreateRevision - 1, want.ModRevision, false}, // the same key, made at another time
					{want.Key + "x", want.CreateRevision, want.ModRevision, false},
					{want.Key[:len(want.Key)-1], want.CreateRevision, want.ModRevision, false},
					{want.Key, want.CreateRevision, want.ModRevision + 1<<40, false},
				} {
					if got, err := f.Holds(c.key, c.create, c.mod); err != nil || got != c.want {
						t.Fatalf("holds %s, created at %d, modified at %d: got %v, %v, want %v", c.key, c.create, c.mod, got, err, c.want)
					}
				}
			}
			if n == 0 {
				t.Fatal("the snapshot has no records")
			}
			revision, err := f.Revision()
			if err != nil || revision < last {
				t.Fatalf("revision %d, %v, but a record has %d", revision, err, last)
			}
			t.Logf("%d records, revision %d", n, revision)
		})
	}
}

// entry is a key and a value of the bucket "key".
type entry struct {
	main, sub int64
	tombstone bool
	kv        *mvccpb.KeyValue
}

// database writes a bbolt file as etcd has it.
func database(t testing.TB, entries []entry, meta map[string]int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		keys, err := tx.CreateBucket([]byte("key"))
		if err != nil {
			return err
		}
		for _, e := range entries {
			value, err := proto.Marshal(e.kv)
			if err != nil {
				return err
			}
			k := revision(e.main, e.sub)
			if e.tombstone {
				k = append(k, 't')
			}
			if err := keys.Put(k, value); err != nil {
				return err
			}
		}
		bucket, err := tx.CreateBucket([]byte("meta"))
		if err != nil {
			return err
		}
		for name, main := range meta {
			if err := bucket.Put([]byte(name), revision(main, 0)); err != nil {
				return err
			}
		}
		return nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

func revision(main, sub int64) []byte {
	k := make([]byte, 0, tombstoneBytes)
	for shift := 56; shift >= 0; shift -= 8 {
		k = append(k, byte(main>>shift))
	}
	k = append(k, '_')
	for shift := 56; shift >= 0; shift -= 8 {
		k = append(k, byte(sub>>shift))
	}
	return k
}

func TestSubRevisionsAndTombstones(t *testing.T) {
	path := database(t, []entry{
		{6, 0, false, &mvccpb.KeyValue{Key: []byte("a"), CreateRevision: 6, ModRevision: 6, Version: 1, Value: []byte("1")}},
		{7, 0, true, &mvccpb.KeyValue{Key: []byte("a")}},
		{7, 1, false, &mvccpb.KeyValue{Key: []byte("b"), CreateRevision: 7, ModRevision: 7, Version: 1, Lease: 99}},
		{7, 2, false, &mvccpb.KeyValue{Key: []byte("c"), CreateRevision: 3, ModRevision: 7, Version: 5, Value: []byte{}}},
		{9, 0, true, &mvccpb.KeyValue{Key: []byte("c")}},
	}, nil)
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, c := range []struct {
		key         string
		create, mod int64
		want        bool
	}{
		{"a", 6, 6, true},
		{"a", 0, 7, false}, // a deletion
		{"b", 7, 7, true},
		{"c", 3, 7, true},
		{"c", 3, 9, false},
		{"b", 7, 8, false}, // no such revision; the next one is no answer
		{"", 7, 7, false},
	} {
		if got, err := f.Holds(c.key, c.create, c.mod); err != nil || got != c.want {
			t.Errorf("holds %q, created at %d, modified at %d: got %v, %v, want %v", c.key, c.create, c.mod, got, err, c.want)
		}
	}
	got, found, err := f.Record("b", 7)
	want := decode.Record{Key: "b", CreateRevision: 7, ModRevision: 7, Version: 1, Lease: 99}
	if err != nil || !found {
		t.Fatalf("found %v, %v", found, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("-want +got:\n%s", diff)
	}
	if r, err := f.Revision(); err != nil || r != 9 {
		t.Fatalf("revision %d, %v, want 9", r, err)
	}
}

func TestRevisionOfACompactedSnapshot(t *testing.T) {
	for _, name := range []string{"scheduledCompactRev", "finishedCompactRev"} {
		path := database(t, []entry{{6, 0, false, &mvccpb.KeyValue{Key: []byte("a"), CreateRevision: 6, ModRevision: 6}}}, map[string]int64{name: 11})
		f, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := f.Revision(); err != nil || r != 11 {
			t.Errorf("%s: revision %d, %v, want 11", name, r, err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if _, err := f.Holds("a", 6, 6); err == nil {
			t.Error("a closed file answers")
		}
		if _, err := f.Revision(); err == nil {
			t.Error("a closed file answers")
		}
	}
}

func TestLookingUpFromSeveralGoroutines(t *testing.T) {
	f, path := openFixture(t, fixtures.Zoo)
	var records []decode.Record
	for r, err := range fixtures.Records(path) {
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for _, r := range records {
				if held, err := f.Holds(r.Key, r.CreateRevision, r.ModRevision); err != nil || !held {
					t.Errorf("%s: %v, %v", r.Key, held, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestOpenTellsALockedFile(t *testing.T) {
	path := database(t, nil, nil)
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, err = Open(path)
	var locked *LockedError
	if !errors.As(err, &locked) || locked.Path != path || locked.Hint() == "" {
		t.Fatalf("got %v, want a *LockedError", err)
	}
}

func TestOpenRefusesWhatIsNoSnapshot(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, bytes.Repeat([]byte("no database "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "other")
	db, err := bolt.Open(other, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{text, other, filepath.Join(dir, "absent")} {
		if f, err := Open(path); err == nil {
			t.Errorf("%s: opened", path)
			_ = f.Close()
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "absent")); err == nil {
		t.Error("opening a file that isn't there has made it")
	}
}

func TestVerifyRefusesADamagedSnapshot(t *testing.T) {
	path := unpack(t, fixtures.Zoo)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := filepath.Join(t.TempDir(), "damaged.db")
	refused := func(what string, content []byte) {
		t.Helper()
		if err := os.WriteFile(damaged, content, 0o600); err != nil {
			t.Fatal(err)
		}
		var checksum *ChecksumError
		if _, err := Verify(t.Context(), damaged); !errors.As(err, &checksum) || checksum.Hint() == "" {
			t.Fatalf("%s: got %v, want a *ChecksumError", what, err)
		}
	}
	refused("empty", nil)
	refused("nothing but a hash", data[len(data)-32:])
	refused("without its hash", data[:len(data)-32])
	refused("without its last byte", data[:len(data)-1])
	refused("one byte more", append(bytes.Clone(data), 0))
	refused("half", data[:len(data)/2])
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		i := random.IntN(len(data))
		data[i] ^= 0x10
		refused("a flipped bit", data)
		data[i] ^= 0x10
	}
}

// FuzzVerify changes and cuts off a stream: nothing but the original passes, in whatever pieces it comes, so that bbolt is never given another.
func FuzzVerify(f *testing.F) {
	original := stream(200)
	f.Add(uint16(0), byte(1), uint16(len(original)))
	f.Add(uint16(231), byte(0xff), uint16(len(original)))
	f.Add(uint16(5), byte(0), uint16(100))
	f.Add(uint16(5), byte(0), uint16(len(original))) // the original itself
	f.Fuzz(func(t *testing.T, place uint16, flip byte, size uint16) {
		at, length := int(place)%len(original), int(size)%(len(original)+1)
		mutated := bytes.Clone(original)
		mutated[at] ^= flip
		mutated = mutated[:length]
		var sum checksum
		for rest := mutated; len(rest) > 0; {
			n := min(1+at%50, len(rest))
			sum.write(rest[:n])
			rest = rest[n:]
		}
		if got, want := sum.check() == nil, bytes.Equal(mutated, original); got != want {
			t.Fatalf("passes: %v, want %v", got, want)
		}
	})
}

// FuzzParseWrite holds the parser against protobuf's own: what that reads, it reads alike.
func FuzzParseWrite(f *testing.F) {
	for _, kv := range []*mvccpb.KeyValue{
		{},
		{Key: []byte("/registry/pods/a/b"), CreateRevision: 5, ModRevision: 1 << 40, Version: 3, Value: []byte("k8s\x00v"), Lease: -1},
	} {
		data, err := proto.Marshal(kv)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var want mvccpb.KeyValue
		wantErr := proto.Unmarshal(data, &want)
		got, err := parseWrite(data)
		if wantErr != nil {
			return // protobuf is stricter about fields that nobody reads
		}
		if err != nil || !bytes.Equal(got.key, want.Key) || !bytes.Equal(got.value, want.Value) || got.createRevision != want.CreateRevision ||
			got.modRevision != want.ModRevision || got.version != want.Version || got.lease != want.Lease {
			t.Fatalf("got %+v, %v, want %v", got, err, &want)
		}
	})
}

func BenchmarkHolds(b *testing.B) {
	f, path := openFixture(b, fixtures.Incident)
	var records []decode.Record
	for r, err := range fixtures.Records(path) {
		if err != nil {
			b.Fatal(err)
		}
		r.Value = nil
		records = append(records, r)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r := &records[i%len(records)]
		if held, err := f.Holds(r.Key, r.CreateRevision, r.ModRevision); err != nil || !held {
			b.Fatal(r.Key, held, err)
		}
	}
}
