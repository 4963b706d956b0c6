package etcdops

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"etcdsweep/test/lab"
)

// FuzzWindow checks that a window always leads on, and never behind the end: whatever it guesses, a scan reads each key once, and ends.
func FuzzWindow(f *testing.F) {
	f.Add([]byte("/a/runaway-22222"), []byte("/a/runaway-9zzzz"), "/a/runaway-9zzzz\x00", "/a0", 3000, int64(3000))
	f.Add([]byte("/a/x"), []byte("/a/x"), "/a/x\x00", "/a0", 1, int64(1))
	f.Add([]byte("/a/x"), []byte("/a/x\x00\x00"), "/a/x\x00\x00\x00", "/a0", 2, int64(7))
	f.Add([]byte("\xff\xff"), []byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), "\xff\xff\xff", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 50, int64(20_000))
	f.Fuzz(func(t *testing.T, first, last []byte, next, end string, keys int, limit int64) {
		if bytes.Compare(first, last) > 0 {
			first, last = last, first
		}
		keys, limit = 1+keys&0xffff, 1+limit&0xffff // a page has one key at least, and thousands at most
		limit = max(limit, int64(keys))
		if next += "k"; end <= next {
			end = next + end + "0"
		}
		for w, at, step := newWindow(first, last, keys, limit), next, 0; ; w, step = w.scaled(0, limit), step+1 {
			bound := w.from(at, end)
			if bound <= at || bound > end {
				t.Fatalf("from %q to %q, want it before %q", at, bound, end)
			}
			if bound == end {
				break
			}
			if at = bound; step > 4*(len(first)+len(last)+len(end)+windowFine) {
				t.Fatalf("%d empty windows, and not at the end", step)
			}
		}
	})
}

// Of keys that are spread as names are, windows have about as many as they are made for: a few have more, where no key begins with
// what lies between digits and letters.
func TestWindowHolds(t *testing.T) {
	const letters = "bcdfghjklmnpqrstvwxz2456789" // k8s.io/apimachinery pkg/util/rand
	var keys [][]byte
	for i := range len(letters) * len(letters) * len(letters) {
		keys = append(keys, fmt.Appendf(nil, "/registry/pods/a/runaway-%c%c%cxx", letters[i%27], letters[i/27%27], letters[i/729]))
	}
	slices.SortFunc(keys, bytes.Compare)
	const limit = 500
	windows, held := 0, 0
	for from := 0; from+2*limit < len(keys); from += limit {
		page := keys[from : from+limit]
		next := string(page[limit-1]) + "\x00"
		bound := newWindow(page[0], page[limit-1], limit, limit).from(next, "/registry/pods/a0")
		windows++
		for _, key := range keys[from+limit:] {
			if string(key) < bound {
				held++
			}
		}
	}
	if mean := held / windows; mean < limit/2 || mean > 2*windowPages*limit {
		t.Errorf("%d keys in a window, want about %d", mean, windowPages*limit)
	}
}

// recorded notes how many keys a server has counted for the pages.
type recorded struct {
	clientv3.KV
	counted, requests int64
}

func (r *recorded) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	response, err := r.KV.Get(ctx, key, opts...)
	if err == nil {
		r.counted += response.Count
		r.requests++
	}
	return response, err
}

// The server counts each key of a long range a few times, where it would count the half of them for every page; and that does not take
// many more requests, although the keys are of several families with nothing between them.
func TestWindowsCount(t *testing.T) {
	const families, each, pageKeys = 4, 2000, 50
	cluster, err := lab.Start(t.Context(), lab.Config{Dir: t.TempDir(), NoFsync: true, PlainText: true})
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	client, _, err := Connect(t.Context(), Config{Endpoints: cluster.Endpoints()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	etcd, err := client.at(t.Context(), client.Endpoints()[0])
	if err != nil {
		t.Fatal(err)
	}
	for family := range families {
		for from := 0; from < each; from += 100 {
			var puts []clientv3.Op
			for i := range 100 {
				digest := sha256.Sum256(fmt.Appendf(nil, "%d", from+i))
				puts = append(puts, clientv3.OpPut(fmt.Sprintf("/registry/pods/a/runaway-%d-%x", family, digest[:3]), ""))
			}
			if _, err := etcd.Txn(t.Context()).Then(puts...).Commit(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct{ above, least, most int64 }{ // that the server counts
		"windows": {above: 500, most: 6 * families * each},
		"none":    {above: families * each, least: 50 * families * each, most: 100 * families * each},
	} {
		kv := &recorded{KV: etcd.KV}
		s := &scan{client: client, opts: ScanOptions{PageKeys: pageKeys, WindowAbove: c.above}.withDefaults(), next: "/registry/pods/a/", end: "/registry/pods/a0", pages: make(chan []*mvccpb.KeyValue)}
		read := 0
		var drained sync.WaitGroup
		drained.Go(func() {
			for page := range s.pages {
				read += len(page)
			}
		})
		err := s.paged(t.Context(), &clientv3.Client{KV: kv})
		close(s.pages)
		drained.Wait()
		if err != nil || read != families*each {
			t.Errorf("%s: %d keys, want %d: %v", name, read, families*each, err)
		}
		if kv.counted < c.least || kv.counted > c.most {
			t.Errorf("%s: the server has counted %d keys, want %d to %d", name, kv.counted, c.least, c.most)
		}
		if pages := int64(families * each / pageKeys); kv.requests > 2*pages {
			t.Errorf("%s: %d requests for %d pages", name, kv.requests, pages)
		}
	}
}
