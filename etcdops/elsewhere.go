package etcdops

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"etcdsweep/decode"
)

// place is a part of the keys that is kept in another etcd.
type place struct {
	prefix string // with its trailing slash
	client *Client
	err    error // why that etcd can't be read; client is nil then
}

// KeepElsewhere says that what is under a prefix is kept in another etcd (kube-apiserver's --etcd-servers-overrides): from
// now on it is read there, by whatever method reads keys, and what the first etcd may still have there is passed over. A nil
// other is an etcd that can't be reached, for the reason why; reads there fail with it.
//
// Writes never go there: DeleteIf and CreateIf refuse its keys. Nor does what is about one etcd as a whole: revisions,
// watches, leases, members, snapshots.
//
// It is called before anything else uses the client. The other client belongs to this one now, and is closed with it.
func (c *Client) KeepElsewhere(prefix string, other *Client, why error) {
	c.elsewhere = append(c.elsewhere, place{prefix, other, why})
	slices.SortFunc(c.elsewhere, func(a, b place) int { return strings.Compare(a.prefix, b.prefix) })
}

// placeOf returns where a key is kept, or all keys with a prefix are; nil for this client's own etcd.
func (c *Client) placeOf(key string) *place {
	for i := range c.elsewhere {
		if strings.HasPrefix(key, c.elsewhere[i].prefix) {
			return &c.elsewhere[i]
		}
	}
	return nil
}

// placesUnder returns what is kept elsewhere of the keys with a prefix, in the order of keys.
func (c *Client) placesUnder(prefix string) []place {
	var under []place
	for _, p := range c.elsewhere {
		if strings.HasPrefix(p.prefix, prefix) && p.prefix != prefix {
			under = append(under, p)
		}
	}
	return under
}

// keeperOf returns the client that a read of a key goes to.
func (c *Client) keeperOf(key string) (*Client, error) {
	p := c.placeOf(key)
	switch {
	case p == nil:
		return c, nil
	case p.client == nil:
		return nil, fmt.Errorf("%s is kept in another etcd: %w", p.prefix, p.err)
	}
	return p.client, nil
}

// notWritten refuses a write of a key that is kept elsewhere.
func (c *Client) notWritten(key string) error {
	p := c.placeOf(key)
	if p == nil {
		return nil
	}
	return &RefusedError{
		Err:    errors.New(p.prefix + " is kept in another etcd, which is never written to"),
		advice: "kube-apiserver's --etcd-servers-overrides says so; what is kept there is no part of a plan",
	}
}

// getAllSpread is GetAll of keys in several etcds.
func (c *Client) getAllSpread(ctx context.Context, keys []string) ([]*decode.Record, error) {
	indexes := map[*Client][]int{}
	for i, key := range keys {
		keeper, err := c.keeperOf(key)
		if err != nil {
			return nil, fmt.Errorf("get %s: %w", key, err)
		}
		indexes[keeper] = append(indexes[keeper], i)
	}
	records := make([]*decode.Record, len(keys))
	for keeper, at := range indexes {
		own := make([]string, len(at))
		for i, index := range at {
			own[i] = keys[index]
		}
		got, err := keeper.getAll(ctx, own)
		if err != nil {
			return nil, err
		}
		for i, index := range at {
			records[index] = got[i]
		}
	}
	return records, nil
}

// countSpread is Count under a prefix that has places elsewhere below it.
func (c *Client) countSpread(ctx context.Context, prefix string, places []place) (int64, error) {
	total, err := c.count(ctx, prefix)
	for _, p := range places {
		if err != nil {
			break
		}
		var left, there int64
		if left, err = c.count(ctx, p.prefix); err == nil {
			there, err = c.Count(ctx, p.prefix)
		}
		total += there - left
	}
	return total, err
}

// scanSpread is a scan of a prefix that has places elsewhere below it: each takes its turn in the order of keys.
func (c *Client) scanSpread(ctx context.Context, prefix string, opts ScanOptions, places []place) iter.Seq2[decode.Record, error] {
	return func(yield func(decode.Record, error) bool) {
		next := 0
		elsewhere := func(until string, all bool) bool { // the places that come before a key
			for ; next < len(places) && (all || places[next].prefix <= until); next++ {
				for r, err := range c.ScanWith(ctx, places[next].prefix, opts) {
					if !yield(r, err) || err != nil {
						return false
					}
				}
			}
			return true
		}
		for r, err := range c.scanOwn(ctx, prefix, opts) {
			if err != nil {
				yield(r, err)
				return
			}
			if !elsewhere(r.Key, false) {
				return
			}
			if c.placeOf(r.Key) == nil && !yield(r, nil) {
				return
			}
		}
		elsewhere("", true)
	}
}
