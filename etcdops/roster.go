package etcdops

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
)

// roster remembers who the members are, and at which endpoint each has answered last. It is safe for concurrent use.
type roster struct {
	mu      sync.Mutex
	members []Member // as they were listed last, by name, then ID
	listed  time.Time
	at      map[uint64]string // endpoints, by the members' IDs

	vitals []MemberVitals // as they were looked at last
	looked time.Time
}

// known is what a roster knows at one moment.
type known struct {
	listed []Member
	age    time.Duration // of the list
	at     map[uint64]string
}

func (r *roster) known(now time.Time) known {
	r.mu.Lock()
	defer r.mu.Unlock()
	return known{listed: r.members, age: now.Sub(r.listed), at: maps.Clone(r.at)}
}

// seen returns the last look at the members, nil if it is too long ago.
func (r *roster) seen(now time.Time) []MemberVitals {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.looked) >= listedFor {
		return nil
	}
	return r.vitals
}

func (r *roster) see(vitals []MemberVitals, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.vitals, r.looked = vitals, now
}

// list takes a list of members, and returns it sorted.
func (r *roster) list(response []*etcdserverpb.Member, now time.Time) []Member {
	listed := make([]Member, len(response))
	for i, m := range response {
		listed[i] = Member{ID: m.ID, Name: m.Name, ClientURLs: m.ClientURLs, Learner: m.IsLearner}
	}
	slices.SortFunc(listed, func(a, b Member) int {
		if a.Name != b.Name {
			return strings.Compare(a.Name, b.Name)
		}
		return cmp.Compare(a.ID, b.ID)
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.members, r.listed = slices.Clone(listed), now
	return listed
}

// meet remembers where members answered: each at the first endpoint of those it has answered at now. Endpoints of the configuration
// come first in a look: what a member advertises beside may lead there by another way.
func (r *roster) meet(answers []answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at == nil {
		r.at = map[uint64]string{}
	}
	met := map[uint64]bool{}
	for _, a := range answers {
		if a.err != nil {
			continue
		}
		id := a.status.Header.MemberId
		maps.DeleteFunc(r.at, func(other uint64, endpoint string) bool { return other != id && endpoint == a.endpoint })
		if !met[id] {
			met[id], r.at[id] = true, a.endpoint
		}
	}
}

// endpoints returns where the members are to be asked for their status: each where it has answered last, and for those that
// never did, where they say that they are, and at the configured endpoints that are nobody's yet. Configured ones come first.
func (k known) endpoints(configured []string) []string {
	all := slices.Collect(maps.Values(k.at))
	for _, member := range k.listed {
		if k.at[member.ID] == "" {
			all = slices.Concat(all, member.ClientURLs, configured)
		}
	}
	slices.SortFunc(all, func(a, b string) int {
		return cmp.Or(first(slices.Contains(configured, a), slices.Contains(configured, b)), strings.Compare(a, b))
	})
	return slices.Compact(all)
}

// known returns who the members are, which is asked for if nobody has told yet.
func (c *Client) known(ctx context.Context) (known, error) {
	k := c.roster.known(time.Now())
	if k.listed != nil {
		return k, nil
	}
	if err := c.listMembers(ctx); err != nil {
		return known{}, fmt.Errorf("member list: %w", err)
	}
	return c.roster.known(time.Now()), nil
}

// listMembers reads the list of members as the member in use knows it: without a quorum, and so at no cost to the others.
func (c *Client) listMembers(ctx context.Context) error {
	list, err := within(ctx, c.lookTimeout(), func(ctx context.Context) (*etcdserverpb.MemberListResponse, error) {
		return etcdserverpb.NewClusterClient(c.etcd.ActiveConnection()).MemberList(ctx, &etcdserverpb.MemberListRequest{})
	})
	if err == nil {
		c.roster.list(list.Members, time.Now())
	}
	return err
}
