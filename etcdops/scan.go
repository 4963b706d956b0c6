package etcdops

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"

	"etcdsweep/decode"
)

// ScanOptions bounds the pages of a scan. The zero value is right for a live cluster.
type ScanOptions struct {
	KeysOnly bool // leave the values out

	// PageBytes is the size that a page aims at, 2 MiB if 0. The first page guesses at the size of values, later ones go by the mean
	// of what was read.
	PageBytes int
	// PageKeys is the most keys in a page: 10,000 if 0, 20,000 with KeysOnly.
	PageKeys int
	// WindowAbove is how many keys may be left of the range for a page to be asked of all of it; 50,000 if 0. Every page makes the
	// server count the keys of the range that it is asked of, so of more it is asked of a part.
	WindowAbove int64
	// Revision is read, and no other: without it the newest, and on after a compaction.
	Revision int64
	// NoStream reads by pages even where the endpoint has RangeStream (etcd 3.7).
	NoStream bool
}

const (
	defaultPageBytes    = 2 << 20
	defaultPageKeys     = 10_000
	defaultPageKeysOnly = 20_000
	firstPageKeys       = 500 // until the size of a value is known
	minPageKeys         = 50

	maxIdleRounds  = 5 // in which no endpoint has brought a key, after a first one: some eight seconds
	firstRoundWait = 250 * time.Millisecond
)

func (o ScanOptions) withDefaults() ScanOptions {
	o.PageBytes = cmp.Or(o.PageBytes, defaultPageBytes)
	o.WindowAbove = cmp.Or(o.WindowAbove, windowAbove)
	if o.PageKeys == 0 {
		o.PageKeys = defaultPageKeys
		if o.KeysOnly {
			o.PageKeys = defaultPageKeysOnly
		}
	}
	return o
}

// Scan yields every record under prefix, values included, in the order of their keys. See [Client.ScanWith].
func (c *Client) Scan(ctx context.Context, prefix string) iter.Seq2[decode.Record, error] {
	return c.ScanWith(ctx, prefix, ScanOptions{})
}

// ScanKeys yields every record under prefix without its value, in the order of their keys. See [Client.ScanWith].
func (c *Client) ScanKeys(ctx context.Context, prefix string) iter.Seq2[decode.Record, error] {
	return c.ScanWith(ctx, prefix, ScanOptions{KeysOnly: true})
}

// ScanWith yields every record under prefix in the order of their keys, each key at most once.
//
// All records are of one revision, unless that was not asked for and is compacted meanwhile: kube-apiserver compacts every five
// minutes, so starting over might never end. The scan then goes on from its last key at the newest revision, and each
// record tells its own. The next page is fetched while the consumer works on this one; memory depends on the size of a
// page, not on the number of keys. The scan moves to the next endpoint when its own stops answering.
//
// An error is yielded once, as the last pair. Breaking off the loop, or cancelling ctx, ends the reads before the
// iterator returns.
func (c *Client) ScanWith(ctx context.Context, prefix string, opts ScanOptions) iter.Seq2[decode.Record, error] {
	keeper, err := c.keeperOf(prefix)
	if err != nil {
		return func(yield func(decode.Record, error) bool) {
			yield(decode.Record{}, fmt.Errorf("scan %s: %w", prefix, err))
		}
	}
	if places := keeper.placesUnder(prefix); len(places) > 0 {
		return keeper.scanSpread(ctx, prefix, opts, places)
	}
	return keeper.scanOwn(ctx, prefix, opts)
}

// scanOwn is a scan of this client's own etcd.
func (c *Client) scanOwn(ctx context.Context, prefix string, opts ScanOptions) iter.Seq2[decode.Record, error] {
	return func(yield func(decode.Record, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		s := &scan{
			client:   c,
			opts:     opts.withDefaults(),
			next:     prefix,
			end:      clientv3.GetPrefixRangeEnd(prefix),
			revision: opts.Revision,
			pages:    make(chan []*mvccpb.KeyValue),
		}
		var err error
		go func() {
			defer close(s.pages)
			err = s.run(ctx)
		}()
		defer func() {
			cancel()
			for range s.pages { // until the goroutine above has ended
			}
		}()
		for page := range s.pages {
			for _, kv := range page {
				r, err := c.record(ctx, kv)
				if !yield(r, err) || err != nil {
					return
				}
			}
		}
		if err != nil {
			yield(decode.Record{}, fmt.Errorf("scan %s: %w", prefix, atRevision(opts.Revision, classify(err, readUnder(prefix)))))
		}
	}
}

// scan is one scan under way: where it stands and where its pages go.
type scan struct {
	client *Client
	opts   ScanOptions

	next, end string // the range that is left
	revision  int64  // pinned; 0 until the first read, and again after a compaction
	keys      int64  // read so far
	bytes     int64  // of keys and values read so far

	pages chan []*mvccpb.KeyValue
}

// run reads to the end of the range, from one endpoint after the other as they fail. It goes round them again, after a
// while, until several rounds have brought nothing: an election costs a second, a sweep must not end for it. Before each round it
// asks whether it may read, and whoever lets it wait, because nobody answers, decides how long that may last.
func (s *scan) run(ctx context.Context) error {
	for idle := 0; ; idle++ {
		asked := time.Now()
		if err := s.client.hold.read(ctx, 0); err != nil {
			return err
		}
		if time.Since(asked) > firstRoundWait {
			idle = 0
		}
		var failed []error
		before, began := s.keys, time.Now()
		for _, endpoint := range s.client.order(ctx) {
			err := s.readFrom(ctx, endpoint)
			if err == nil || ctx.Err() != nil || !endpointFault(err) {
				return err
			}
			failed = append(failed, fmt.Errorf("endpoint %s: after %d keys: %w", endpoint, s.keys, err))
		}
		if s.keys > before {
			idle = 0
		}
		if idle == maxIdleRounds {
			return lineError(failed)
		}
		s.client.suspect(ctx, began) // so that the next round goes by what is so now
		timer := time.NewTimer(firstRoundWait<<idle + rand.N(firstRoundWait))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// readFrom reads from one endpoint until the range ends or the endpoint fails.
func (s *scan) readFrom(ctx context.Context, endpoint string) error {
	etcd, err := s.client.at(ctx, endpoint)
	if err != nil {
		return err
	}
	for {
		if s.revision == 0 {
			// A stream tells its revision only at its end, so it is learned before.
			s.revision, err = within(ctx, s.client.cfg.CommandTimeout, func(ctx context.Context) (int64, error) {
				return revisionAt(s.next)(ctx, etcd)
			})
			if err != nil {
				return err
			}
		}
		if !s.opts.NoStream && s.client.streams.usable(endpoint) {
			err = s.stream(ctx, etcd)
			if errorCode(err) == codes.Unimplemented {
				s.client.streams.refuse(endpoint)
				continue
			}
		} else {
			err = s.paged(ctx, etcd)
		}
		if !errors.Is(err, rpctypes.ErrCompacted) || s.opts.Revision != 0 {
			return err
		}
		s.revision = 0
	}
}

// stream reads the rest of the range by one RangeStream. One that brings nothing for a command timeout has stalled.
func (s *scan) stream(ctx context.Context, etcd *clientv3.Client) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timeout := s.client.cfg.CommandTimeout
	stalled := time.AfterFunc(timeout, func() { cancel(context.DeadlineExceeded) })
	defer stalled.Stop()
	responses, err := etcd.GetStream(ctx, s.next, s.rangeOptions(s.end)...)
	if err != nil {
		return rpctypes.Error(err)
	}
	defer func() {
		cancel(nil)
		for range responses { // client/v3 blocks in its send otherwise, for ever
		}
	}()
	for response := range responses {
		stalled.Stop()
		switch err := response.Err(); {
		case err != nil && ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return rpctypes.Error(err)
		}
		if err := s.deliver(ctx, response.Kvs); err != nil {
			return err
		}
		stalled.Reset(timeout)
	}
	return context.Cause(ctx)
}

// paged reads the rest of the range page by page: of all of it until a page has told how many keys are left, then by windows as long
// as these are many.
func (s *scan) paged(ctx context.Context, etcd *clientv3.Client) error {
	var part window
	end, left := s.end, int64(0)
	for {
		limit := s.pageLimit()
		response, err := within(ctx, s.client.cfg.CommandTimeout, func(ctx context.Context) (*clientv3.GetResponse, error) {
			return etcd.Get(ctx, s.next, append(s.rangeOptions(end), clientv3.WithLimit(limit))...)
		})
		if err != nil {
			return err
		}
		page := response.Kvs
		if err := s.deliver(ctx, page); err != nil {
			return err
		}
		switch {
		case !response.More && end == s.end:
			return nil
		case !response.More:
			s.next = end
		}
		if left -= int64(len(page)); end == s.end {
			left = response.Count - int64(len(page))
		}
		if left <= s.opts.WindowAbove {
			end = s.end
			continue
		}
		if response.More {
			part = newWindow(page[0].Key, page[len(page)-1].Key, len(page), s.pageLimit())
		} else {
			part = part.scaled(len(page), limit)
		}
		end = part.from(s.next, s.end)
	}
}

// rangeOptions asks for what is left up to an end.
func (s *scan) rangeOptions(end string) []clientv3.OpOption {
	opts := []clientv3.OpOption{clientv3.WithRange(end), clientv3.WithRev(s.revision)}
	if s.opts.KeysOnly {
		opts = append(opts, clientv3.WithKeysOnly())
	}
	return opts
}

// pageLimit turns the size that a page should have into a number of keys, by the mean of what was read so far.
func (s *scan) pageLimit() int64 {
	most := int64(s.opts.PageKeys)
	if s.opts.KeysOnly {
		return most
	}
	if s.keys == 0 {
		return min(firstPageKeys, most)
	}
	mean := max(s.bytes/s.keys, 1)
	return min(max(int64(s.opts.PageBytes)/mean, minPageKeys), most)
}

// deliver hands a page to the consumer, moves the range past it, and waits until more may be read.
func (s *scan) deliver(ctx context.Context, page []*mvccpb.KeyValue) error {
	if len(page) == 0 {
		return nil
	}
	select {
	case s.pages <- page:
	case <-ctx.Done():
		return ctx.Err()
	}
	s.keys += int64(len(page))
	s.next = string(page[len(page)-1].Key) + "\x00"
	bytes := 0
	for _, kv := range page {
		bytes += len(kv.Key) + len(kv.Value)
	}
	s.bytes += int64(bytes)
	return s.client.hold.read(ctx, bytes)
}
