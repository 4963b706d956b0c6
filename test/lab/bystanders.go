package lab

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Bystander is a key that a sweep must not touch.
type Bystander struct {
	Key         string
	ModRevision int64
	Digest      [sha256.Size]byte // of the value
}

// Bystanders returns every key in etcd, in key order, but for the given Jobs, their pods, and keys with a lease, which go by themselves.
func Bystanders(ctx context.Context, client *clientv3.Client, jobs []Job) ([]Bystander, error) {
	owners := make(map[string]bool, len(jobs)) // by UID
	keys := make(map[string]bool, len(jobs))
	for _, job := range jobs {
		owners[job.UID], keys[job.Key()] = true, true
	}
	var bystanders []Bystander
	for kv, err := range scan(ctx, client, "") {
		if err != nil {
			return nil, err
		}
		key := string(kv.Key)
		owner := podOwner(key, kv.Value)
		if kv.Lease != 0 || keys[key] || owner != nil && owners[string(owner.UID)] {
			continue
		}
		bystanders = append(bystanders, Bystander{Key: key, ModRevision: kv.ModRevision, Digest: sha256.Sum256(kv.Value)})
	}
	return bystanders, nil
}

// Changed returns those of the bystanders that are not in etcd as they were, each with what became of it.
func Changed(ctx context.Context, client *clientv3.Client, bystanders []Bystander) ([]Change, error) {
	left := make(map[string]Bystander, len(bystanders))
	for _, b := range bystanders {
		left[b.Key] = b
	}
	var changes []Change
	for kv, err := range scan(ctx, client, "") {
		if err != nil {
			return nil, err
		}
		b, ok := left[string(kv.Key)]
		if !ok {
			continue
		}
		delete(left, b.Key)
		switch {
		case sha256.Sum256(kv.Value) != b.Digest:
			changes = append(changes, Change{Key: b.Key, What: "another value"})
		case kv.ModRevision != b.ModRevision:
			changes = append(changes, Change{Key: b.Key, What: "written again"})
		}
	}
	for key := range left {
		changes = append(changes, Change{Key: key, What: "gone"})
	}
	slices.SortFunc(changes, func(a, b Change) int { return cmp.Compare(a.Key, b.Key) })
	return changes, nil
}

// Change is what became of a bystander that is not as it was.
type Change struct {
	Key  string
	What string // "gone", "another value" or, if only its revision changed, "written again"
}

// WriteBystanders writes a line for each bystander, for ReadBystanders.
func WriteBystanders(w io.Writer, bystanders []Bystander) error {
	buffered := bufio.NewWriter(w)
	for _, b := range bystanders {
		fmt.Fprintf(buffered, "%d %x %s\n", b.ModRevision, b.Digest, b.Key)
	}
	return buffered.Flush() // which has the first error of all writes
}

// ReadBystanders reads what WriteBystanders wrote.
func ReadBystanders(r io.Reader) ([]Bystander, error) {
	var bystanders []Bystander
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		b, err := parseBystander(lines.Text())
		if err != nil {
			return nil, fmt.Errorf("bystander %q: %w", lines.Text(), err)
		}
		bystanders = append(bystanders, b)
	}
	return bystanders, lines.Err()
}

func parseBystander(line string) (b Bystander, err error) {
	fields := strings.SplitN(line, " ", 3)
	if len(fields) != 3 || len(fields[1]) != hex.EncodedLen(len(b.Digest)) {
		return b, errors.New("want revision, digest and key")
	}
	if b.ModRevision, err = strconv.ParseInt(fields[0], 10, 64); err != nil {
		return b, err
	}
	_, err = hex.Decode(b.Digest[:], []byte(fields[1]))
	b.Key = fields[2]
	return b, err
}
