package etcdops_test

import (
	"errors"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"etcdsweep/decode"
	"etcdsweep/etcdops"
	"etcdsweep/test/lab"
)

// TestRevisions reads what was, by key and by prefix, and says so when etcd does not have it any more, or yet: it does not go on at
// another revision, as a scan of the newest one does.
func TestRevisions(t *testing.T) {
	cluster, etcd := scanned(t, lab.Config{}, 3, 10)
	client := connect(t, credentials(cluster))
	const key = scannedPrefix + "00001"
	before, err := client.Get(t.Context(), key)
	if err != nil || before == nil {
		t.Fatal(before, err)
	}
	old, err := client.Revision(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := etcd.Put(t.Context(), key, "new"); err != nil {
		t.Fatal(err)
	}
	deleted, err := etcd.Delete(t.Context(), scannedPrefix+"00002")
	if err != nil {
		t.Fatal(err)
	}
	read := func(revision int64) (*decode.Record, []decode.Record, error) {
		record, err := client.GetAt(t.Context(), key, revision)
		var all []decode.Record
		for r, scanErr := range client.ScanWith(t.Context(), scannedPrefix, etcdops.ScanOptions{Revision: revision}) {
			if (scanErr == nil) != (err == nil) {
				t.Fatalf("get: %v, scan: %v", err, scanErr)
			}
			all = append(all, r)
		}
		return record, all, err
	}
	record, all, err := read(old)
	if err != nil || string(record.Value) != string(before.Value) || len(all) != 3 || string(all[1].Value) != string(before.Value) {
		t.Errorf("at revision %d: %+v, %+v, %v", old, record, all, err)
	}
	record, all, err = read(0)
	if err != nil || string(record.Value) != "new" || len(all) != 2 {
		t.Errorf("at the newest revision: %+v, %+v, %v", record, all, err)
	}
	if _, err := etcd.Compact(t.Context(), deleted.Header.Revision); err != nil {
		t.Fatal(err)
	}
	for revision, want := range map[int64]error{old: rpctypes.ErrCompacted, deleted.Header.Revision + 1000: rpctypes.ErrFutureRev} {
		_, _, err := read(revision)
		if wrong, ok := errors.AsType[*etcdops.RevisionError](err); !ok || !errors.Is(err, want) || wrong.Revision != revision || wrong.Hint() == "" {
			t.Errorf("at revision %d: %v, want %v", revision, err, want)
		}
	}
}
