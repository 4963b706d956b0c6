package etcdops

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

const (
	// maxLook bounds each request of a look: a member that hangs must not hold up what is decided from the others.
	maxLook = time.Second
	// listedFor is how long a list of members is believed. Members are added and removed by hand.
	listedFor = 10 * time.Second
	// healthKey is one that anybody may ask for, as `etcdctl endpoint health` does.
	healthKey = "health"
)

// MemberVitals is what a look saw of one member, as that sees itself.
type MemberVitals struct {
	Member
	Latency  time.Duration // of its status
	LeaderID uint64        // whom it takes for the leader; 0 for nobody
	Corrupt  bool          // it knows of an alarm CORRUPT, of any member
	Metrics  *Metrics      // nil if it was not its turn, or if they are not to be had
}

// Vitals takes one light look at the cluster: what each member says of itself, at its own endpoint, in the order of
// [Client.Status]. All are asked at once, and none is waited for longer than a second; one that doesn't answer carries its
// own error. Nothing is proposed: a list of alarms is a proposal, while a status tells of them as well.
//
// By what is seen the client chooses which member its requests go to.
//
// Vitals fails only if nobody has told yet who the members are, or if ctx ends.
func (c *Client) Vitals(ctx context.Context) ([]MemberVitals, error) {
	known, err := c.known(ctx)
	if err != nil {
		return nil, err
	}
	var wg sync.WaitGroup
	if known.age >= listedFor {
		wg.Go(func() {
			_ = c.listMembers(ctx) // if nobody tells, what is known stays
		})
	}
	metrics := make([]*Metrics, len(known.listed))
	for i, m := range known.listed {
		if endpoint, met := known.at[m.ID]; met {
			wg.Go(func() { metrics[i] = c.lookAtMetrics(ctx, m, endpoint) })
		}
	}
	vitals, err := c.look(ctx, known)
	wg.Wait()
	if err != nil {
		return nil, err
	}
	c.choose(vitals)
	for i, m := range metrics {
		vitals[i].Metrics = m
	}
	return vitals, nil
}

// look asks the members for their status. It fails only if ctx ends.
func (c *Client) look(ctx context.Context, known known) ([]MemberVitals, error) {
	answers := c.statuses(ctx, known.endpoints(c.cfg.Endpoints), c.lookTimeout())
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.roster.meet(answers)
	vitals := make([]MemberVitals, len(known.listed))
	for i, m := range known.listed {
		vitals[i] = memberVitals(m, known.at[m.ID], answers)
	}
	c.roster.see(slices.Clone(vitals), time.Now())
	return vitals, nil
}

// lookTimeout bounds each request of a look.
func (c *Client) lookTimeout() time.Duration { return min(maxLook, c.cfg.CommandTimeout) }

// Ping makes one linearizable read, of one key that anybody may ask for, so that its latency can be measured. Etcd waits
// for the quorum before it looks at permissions (etcdserver/v3_server.go, Range), so that a missing one is an answer as
// well.
func (c *Client) Ping(ctx context.Context) error {
	_, err := once(ctx, c, revisionAt(healthKey))
	if err != nil && !errors.Is(err, rpctypes.ErrPermissionDenied) {
		return fmt.Errorf("linearizable read: %w", err)
	}
	return nil
}

func (c *Client) lookAtMetrics(ctx context.Context, m Member, endpoint string) *Metrics {
	ctx, cancel := context.WithTimeout(ctx, c.lookTimeout())
	defer cancel()
	return c.metrics.metrics(ctx, m, endpoint)
}

// memberVitals returns a member, which was met at an endpoint before, as it is by the answers.
func memberVitals(member Member, met string, answers []answer) MemberVitals {
	m := MemberVitals{Member: member}
	a := m.fill(answers, met)
	if a == nil {
		return m
	}
	m.Latency = a.took
	m.LeaderID = a.status.Leader
	for _, trouble := range a.status.Errors { // such as "memberID:1 alarm:CORRUPT"
		m.Corrupt = m.Corrupt || strings.Contains(trouble, string(AlarmCorrupt))
	}
	return m
}
