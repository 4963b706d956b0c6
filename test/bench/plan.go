package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"etcdsweep/decode"
	"etcdsweep/durable"
	"etcdsweep/etcdops"
	"etcdsweep/plan"
)

const (
	keysPerSecond = "keys/s"
	scansPerTurn  = 5 // one scan takes a fraction of a second
)

// plan compares a scan that decodes, selects and writes a plan to the disk with one that drops what it reads: by pages,
// and by a stream where the server has RangeStream.
func (b *bench) plan(ctx context.Context) (_ []line, err error) {
	s, err := b.start(ctx, b.pods)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	client, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	etcd, err := s.bare(ctx)
	if err != nil {
		return nil, err
	}
	defer etcd.Close()

	goal := goal{atLeast: 0.9}
	byPages, err := b.compare(ctx, "plan by pages", b.planned(paged{client}), scanned(etcd, rangePages))
	if err != nil {
		return nil, err
	}
	lines := []line{byPages.line("plan, by pages", "bare range loop", keysPerSecond, keysPerSecond, goal)}
	if _, err := rangeStream(ctx, etcd); status.Code(err) == codes.Unimplemented {
		return lines, nil
	}
	byStream, err := b.compare(ctx, "plan by stream", b.planned(client), scanned(etcd, rangeStream))
	if err != nil {
		return nil, err
	}
	return append(lines, byStream.line("plan, by stream", "bare range stream", keysPerSecond, keysPerSecond, goal)), nil
}

// paged is a client that never streams.
type paged struct{ *etcdops.Client }

func (p paged) Scan(ctx context.Context, prefix string) iter.Seq2[decode.Record, error] {
	return p.ScanWith(ctx, prefix, etcdops.ScanOptions{NoStream: true})
}

func (b *bench) planned(source plan.Source) side {
	return func(ctx context.Context) (sample, error) {
		return repeat(func() (int64, error) {
			path := filepath.Join(b.dir, "measured.plan")
			defer os.Remove(path)
			return writePlan(ctx, source, path)
		})
	}
}

// writePlan plans the runaway pods as the command does, and returns how many records it has read.
func writePlan(ctx context.Context, source plan.Source, path string) (int64, error) {
	file, err := durable.Create(durable.OS(), path)
	if err != nil {
		return 0, err
	}
	defer file.Abort()
	var query plan.Query
	for _, name := range jobNames() {
		query.Owners = append(query.Owners, plan.OwnerName{GroupKind: schema.GroupKind{Group: "batch", Kind: "Job"}, Namespace: namespace, Name: name})
	}
	_, _, trailer, err := plan.Build(ctx, source, query, plan.Options{Tool: "bench", Prefix: prefix, Now: time.Now()}, file)
	if err != nil {
		return 0, err
	}
	return trailer.Summary.Scanned, file.Commit()
}

func scanned(etcd *clientv3.Client, read func(context.Context, *clientv3.Client) (int64, error)) side {
	return func(ctx context.Context) (sample, error) {
		return repeat(func() (int64, error) { return read(ctx, etcd) })
	}
}

// repeat makes one sample of several scans.
func repeat(scan func() (int64, error)) (sample, error) {
	var keys int64
	began := time.Now()
	for range scansPerTurn {
		n, err := scan()
		if err != nil {
			return nil, err
		}
		keys += n
	}
	return sample{keysPerSecond: float64(keys) / time.Since(began).Seconds()}, nil
}

// Pages as etcdops has them.
const (
	firstPageKeys = 500
	maxPageKeys   = 10_000
	pageBytes     = 2 << 20
)

// rangePages reads the pods page by page, and returns their number.
func rangePages(ctx context.Context, etcd *clientv3.Client) (keys int64, err error) {
	next, end := podsPrefix, clientv3.GetPrefixRangeEnd(podsPrefix)
	limit := int64(firstPageKeys)
	var revision, bytes int64
	for {
		page, err := etcd.Get(ctx, next, clientv3.WithRange(end), clientv3.WithRev(revision), clientv3.WithLimit(limit))
		if err != nil {
			return 0, err
		}
		for _, kv := range page.Kvs {
			bytes += int64(len(kv.Key) + len(kv.Value))
		}
		keys += int64(len(page.Kvs))
		if !page.More {
			return keys, nil
		}
		next = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
		revision = page.Header.Revision
		limit = min(pageBytes*keys/bytes, maxPageKeys)
	}
}

// rangeStream reads the pods by one RangeStream, and returns their number.
func rangeStream(ctx context.Context, etcd *clientv3.Client) (keys int64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	responses, err := etcd.GetStream(ctx, podsPrefix, clientv3.WithPrefix())
	if err != nil {
		return 0, err
	}
	for response := range responses { // to the end, or client/v3 blocks in its send
		if e := response.Err(); e != nil {
			err = e // the last response, which has no range
			continue
		}
		keys += int64(len(response.Kvs))
	}
	if err != nil {
		return 0, fmt.Errorf("range stream: %w", err)
	}
	return keys, nil
}
