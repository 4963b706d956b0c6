package etcdops

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// order returns the endpoints in the order in which a large read is to try them: followers first, since the leader has the
// most to do; then the leader; then members that answer where nobody was told to look for them; and last those that did not
// answer, know no leader, or do not vote. Only one endpoint, of which no harm is known, is no choice.
func (c *Client) order(ctx context.Context) []string {
	endpoints := c.Endpoints()
	vitals := c.roster.seen(time.Now())
	if vitals == nil && len(endpoints) > 1 {
		if known, err := c.known(ctx); err == nil {
			vitals, _ = c.look(ctx, known) // none: it ends with ctx, and so does the read
		}
	}
	return readOrder(endpoints, vitals)
}

func readOrder(configured []string, vitals []MemberVitals) []string {
	endpoints := slices.Clone(configured)
	for _, m := range vitals {
		if m.Err == nil && !slices.Contains(endpoints, m.Endpoint) {
			endpoints = append(endpoints, m.Endpoint)
		}
	}
	rank := func(endpoint string) int {
		i := slices.IndexFunc(vitals, func(m MemberVitals) bool { return m.Endpoint == endpoint })
		switch {
		case i < 0, vitals[i].Learner, vitals[i].LeaderID == 0:
			return 3
		case !slices.Contains(configured, endpoint):
			return 2
		case vitals[i].Leader:
			return 1
		default:
			return 0
		}
	}
	slices.SortStableFunc(endpoints, func(a, b string) int { return cmp.Compare(rank(a), rank(b)) })
	return endpoints
}
