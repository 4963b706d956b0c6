package etcdops

import (
	"context"
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"etcdsweep/decode"
)

// Sample reads a few records of the keys with a prefix, spread over them: the first two of each family of names, then of the
// next family. The pods of a Job are a family, because their names differ in their last part only; a name of one part stands
// for the rest of its namespace.
//
// Each family costs a request, and each request makes the server count the keys that are left, so reads bounds them.
func (c *Client) Sample(ctx context.Context, prefix string, reads int) ([]decode.Record, error) {
	c, err := c.keeperOf(prefix)
	if err != nil {
		return nil, fmt.Errorf("sample %s: %w", prefix, err)
	}
	const each = 2
	end := clientv3.GetPrefixRangeEnd(prefix)
	var all []decode.Record
	for next := prefix; reads > 0; reads-- {
		response, err := repeated(ctx, c, func(ctx context.Context, etcd *clientv3.Client) (*clientv3.GetResponse, error) {
			return etcd.Get(ctx, next, clientv3.WithRange(end), clientv3.WithLimit(each))
		})
		if err != nil {
			return nil, fmt.Errorf("sample %s: %w", prefix, classify(err, readUnder(prefix)))
		}
		for _, kv := range response.Kvs {
			r, err := c.record(ctx, kv)
			if err != nil {
				return nil, err
			}
			all = append(all, r)
		}
		if len(response.Kvs) < each {
			break
		}
		if next = clientv3.GetPrefixRangeEnd(family(all[len(all)-1].Key)); next >= end {
			break
		}
	}
	return all, nil
}

// family returns what the keys of a family begin with: a key up to the last part of its name, or up to its name.
func family(key string) string {
	name := strings.LastIndexByte(key, '/') + 1
	if part := strings.LastIndexAny(key[name:], "-."); part > 0 {
		return key[:name+part+1]
	}
	return key[:name]
}
