package main

import (
	"cmp"
	"context"
	"strconv"

	"etcdsweep/etcdops"
	"etcdsweep/plan"
	"etcdsweep/plan/run"
)

// cluster is a client as package apply wants it: with the facts of preflight.
type cluster struct {
	*etcdops.Client
	prefix string
}

// Facts gathers what preflight looks at.
func (c cluster) Facts(ctx context.Context) (run.Facts, error) {
	status, err := c.Status(ctx)
	if etcdops.NoAnswer(err) {
		return run.Facts{}, run.Unhealthy(err)
	}
	if err != nil {
		return run.Facts{}, err
	}
	facts := run.Facts{Quorum: status.AlarmsErr}
	names := map[uint64]string{}
	for _, m := range status.Members {
		names[m.ID] = m.String()
		facts.Members = append(facts.Members, run.Member{Name: m.String(), Version: m.Version, Learner: m.Learner, Err: m.Err})
	}
	for _, alarm := range status.Alarms {
		facts.Alarms = append(facts.Alarms, run.Alarm{Member: cmp.Or(names[alarm.Member], clusterID(alarm.Member)), Kind: string(alarm.Type)})
	}
	if facts.Quorum != nil && !etcdops.NoAnswer(facts.Quorum) {
		return run.Facts{}, facts.Quorum
	}
	if facts.Quorum != nil {
		return facts, nil
	}
	facts.Identity, err = plan.Identify(ctx, c, clusterID(status.ClusterID), c.prefix)
	if err == nil {
		facts.Revision, err = c.Revision(ctx, c.prefix+"/")
	}
	if etcdops.NoAnswer(err) {
		facts.Quorum = err
		return facts, nil
	}
	return facts, err
}

// clusterID writes an ID as etcdctl does.
func clusterID(id uint64) string { return strconv.FormatUint(id, 16) }
