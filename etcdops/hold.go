package etcdops

import (
	"context"
	"sync/atomic"
)

// hold is what large reads are slowed by, if anything.
type hold struct{ hook atomic.Pointer[ReadHook] }

// ReadHook is called by large reads for the bytes that they have read, before they read on, and holds them up until it
// returns. Its error ends the read, and is wrapped in the read's. It is called by several goroutines at once.
type ReadHook func(ctx context.Context, bytes int) error

// HoldReads slows the client's scans and its reads of many keys from now on, nil no more. Each calls the hook before its
// first request, for no bytes, and then for each page: a hook that waits pauses it. A scan that no endpoint has answered calls it for
// no bytes again before it goes round them once more, so that one that waits through an outage is not ended by it. Reads of one key are never held up, and
// a snapshot has a hook of its own (package snapshot, Options.Pace).
func (c *Client) HoldReads(hook ReadHook) {
	c.hold.hook.Store(&hook)
	for _, p := range c.elsewhere {
		if p.client != nil {
			p.client.HoldReads(hook)
		}
	}
}

// read calls the hook.
func (h *hold) read(ctx context.Context, bytes int) error {
	hook := h.hook.Load()
	if hook == nil || *hook == nil {
		return nil
	}
	return (*hook)(ctx, bytes)
}
