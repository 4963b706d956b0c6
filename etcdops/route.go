package etcdops

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// patience is how long a request may go without an answer before its member is suspected.
	patience = time.Second
	// againAtLeast is what a read waits before it is made again.
	againAtLeast = 25 * time.Millisecond
)

// route is the member that requests go to. It is safe for concurrent use.
type route struct {
	mu     sync.Mutex
	way    way       // its endpoint is empty before the first choice
	looked time.Time // when the members were looked at last, to choose by

	looking sync.Mutex // held by the one who suspects the member, while it looks at all of them
}

// way is the way to one member, for as long as it is used.
type way struct {
	endpoint string
	here     context.Context // of requests: ends when the member is left for cause
	stay     context.Context // of what would stay there for ever: ends when requests go to another member
	leave    context.CancelCauseFunc
	move     context.CancelCauseFunc
}

// now returns the way to the member in use.
func (r *route) now() way {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.way
}

// move makes a member the one in use. With a cause requests that are under way at the one before end by it. The client's
// context is life.
func (r *route) move(life context.Context, endpoint string, cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.way
	if endpoint == before.endpoint {
		return
	}
	r.way = way{endpoint: endpoint}
	r.way.here, r.way.leave = context.WithCancelCause(life)
	r.way.stay, r.way.move = context.WithCancelCause(life)
	if before.endpoint == "" {
		return
	}
	before.move(unavailable(before.endpoint, "another member is used now"))
	if cause != nil {
		before.leave(cause)
	}
}

func (r *route) lookedSince(t time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.looked.After(t)
}

func (r *route) look() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looked = time.Now()
}

// once makes one request at the member in use, within CommandTimeout.
//
// When that member hangs, is gone, or has lost the leader, requests go to another one from then on, and those that are
// under way there end: by the error of an endpoint that is unavailable. What they were to change may have been changed.
func once[T any](ctx context.Context, c *Client, request func(context.Context, *clientv3.Client) (T, error)) (T, error) {
	limited, cancel := context.WithTimeout(ctx, c.cfg.CommandTimeout)
	defer cancel()
	return attempt(ctx, limited, c, request)
}

// repeated makes a request that changes nothing, as once does, and again and again while its member is unavailable.
func repeated[T any](ctx context.Context, c *Client, request func(context.Context, *clientv3.Client) (T, error)) (T, error) {
	limited, cancel := context.WithTimeout(ctx, c.cfg.CommandTimeout)
	defer cancel()
	for {
		answer, err := attempt(ctx, limited, c, request)
		if err == nil || errorCode(err) != codes.Unavailable {
			return answer, err
		}
		timer := time.NewTimer(againAtLeast + rand.N(againAtLeast))
		select {
		case <-timer.C:
		case <-limited.Done():
			timer.Stop()
			return answer, err
		}
	}
}

// attempt makes a request until limited ends. If it goes wrong, or takes long, its member is suspected, until ctx ends.
func attempt[T any](ctx, limited context.Context, c *Client, request func(context.Context, *clientv3.Client) (T, error)) (answer T, err error) {
	began := time.Now()
	etcd, way, err := c.inUse(ctx)
	if err != nil {
		return answer, err
	}
	limited, cancel := context.WithCancel(limited)
	defer cancel()
	defer context.AfterFunc(way.here, cancel)()
	defer c.suspectAfter(ctx, patience, began)()
	answer, err = request(limited, etcd)
	switch {
	case err == nil, ctx.Err() != nil:
	case way.here.Err() != nil:
		err = context.Cause(way.here)
	case endpointFault(err):
		c.suspect(ctx, began)
	}
	return answer, err
}

// inUse returns the connection to the member in use. The first one is chosen here; one endpoint alone is no choice.
func (c *Client) inUse(ctx context.Context) (*clientv3.Client, way, error) {
	w := c.route.now()
	if w.endpoint == "" && len(c.cfg.Endpoints) > 1 {
		c.suspect(ctx, time.Now())
		w = c.route.now()
	}
	if w.endpoint == "" {
		c.route.move(c.etcd.Ctx(), c.cfg.Endpoints[0], nil)
		w = c.route.now()
	}
	etcd, err := c.at(ctx, w.endpoint)
	return etcd, w, err
}

// suspectAfter suspects the member in use after a while, unless it is stopped before. To stop it waits for what it has begun.
func (c *Client) suspectAfter(ctx context.Context, after time.Duration, since time.Time) (stop func()) {
	done := make(chan struct{})
	timer := time.AfterFunc(after, func() {
		defer close(done)
		c.suspect(ctx, since)
	})
	return func() {
		if !timer.Stop() {
			<-done
		}
	}
}

// suspect looks at the members and chooses again, unless somebody else has looked since then.
func (c *Client) suspect(ctx context.Context, since time.Time) {
	c.route.looking.Lock()
	defer c.route.looking.Unlock()
	if c.route.lookedSince(since) {
		return
	}
	defer c.route.look()
	known, err := c.known(ctx)
	if err != nil {
		return // there is nothing to choose by
	}
	if vitals, err := c.look(ctx, known); err == nil {
		c.choose(vitals)
	}
}

// choose says, from a look at the members, which one requests go to.
func (c *Client) choose(vitals []MemberVitals) {
	defer c.route.look()
	endpoint, cause := choice(vitals, c.cfg.Endpoints, c.route.now().endpoint)
	if endpoint != "" {
		c.route.move(c.etcd.Ctx(), endpoint, cause)
	}
}

// choice returns the endpoint of the member to go to, and why requests that are under way at the one in use have to end, if
// they have to.
//
// A member will do if it answers, votes, and knows a leader: one that is cut off from the others does not, after a while.
// If none will do the one in use stays. Members at the configured endpoints come before those that only advertise where
// they are; among them comes the leader, which would be sent all writes by the others. One that was cut off takes itself
// for the leader a little longer; its term is lower than that of the new one.
func choice(vitals []MemberVitals, configured []string, inUse string) (endpoint string, cause error) {
	var good []MemberVitals
	cause = unavailable(inUse, "does not answer")
	for _, m := range vitals {
		switch {
		case m.Err == nil && !m.Learner && m.LeaderID != 0:
			good = append(good, m)
			if m.Endpoint == inUse {
				cause = nil
			}
		case m.Err == nil && m.Endpoint == inUse:
			cause = unavailable(inUse, "is cut off from the leader")
		}
	}
	if len(good) == 0 {
		return inUse, nil
	}
	leaderTerm := func(m MemberVitals) uint64 {
		if !m.Leader {
			return 0
		}
		return m.RaftTerm
	}
	best := slices.MinFunc(good, func(a, b MemberVitals) int {
		return cmp.Or(
			first(slices.Contains(configured, a.Endpoint), slices.Contains(configured, b.Endpoint)),
			cmp.Compare(leaderTerm(b), leaderTerm(a)),
			first(a.Endpoint == inUse, b.Endpoint == inUse),
		)
	})
	return best.Endpoint, cause
}

// first compares by a condition: what meets it comes first.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	default:
		return 1
	}
}

func unavailable(endpoint, why string) error {
	return status.Errorf(codes.Unavailable, "endpoint %s: %s", endpoint, why)
}
