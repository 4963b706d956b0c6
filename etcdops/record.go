package etcdops

import (
	"context"
	"fmt"
	"io"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"etcdsweep/decode"
)

// Opener opens encrypted values until it is closed. It may be closed more than once: clients can share it.
type Opener interface {
	decode.Opener
	io.Closer
}

// record is the one place where what etcd sends becomes a record, opened if it is encrypted and there is an opener. The
// error is that of ctx.
func (c *Client) record(ctx context.Context, kv *mvccpb.KeyValue) (decode.Record, error) {
	r := decode.Record{
		Key:            string(kv.Key),
		Value:          kv.Value,
		CreateRevision: kv.CreateRevision,
		ModRevision:    kv.ModRevision,
		Version:        kv.Version,
		Lease:          kv.Lease,
	}
	if err := c.Open(ctx, &r); err != nil {
		return decode.Record{}, err
	}
	return r, nil
}

// Open opens a record that did not come from this client, such as one of an archive, as the client opens its own: it sets
// Plain or Sealed if the value is encrypted. The error is that of ctx.
func (c *Client) Open(ctx context.Context, r *decode.Record) error {
	if c.cfg.Opener == nil {
		return nil
	}
	if err := c.cfg.Opener.Open(ctx, r); err != nil {
		return fmt.Errorf("decrypt %s: %w", r.Key, err)
	}
	return nil
}
