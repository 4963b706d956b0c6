package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/pflag"

	"etcdsweep/etcdops"
	"etcdsweep/plan/pace"
	"etcdsweep/plan/run"
)

// paceOptions is how fast a command may go, and what slows it down.
type paceOptions struct{ pace pace.Config }

func newPaceOptions() paceOptions { return paceOptions{pace.Defaults()} }

// addPaceFlags adds the flags of a command that writes: what it writes, in plural.
func (o *paceOptions) addPaceFlags(f *pflag.FlagSet, writes string) {
	c := &o.pace
	f.Float64Var(&c.Rate, "rate", c.Rate, writes+" a second at most, 0 for as fast as etcd can")
	f.Float64Var(&c.MinRate, "min-rate", c.MinRate, writes+" a second below which only a pause brings it")
	f.Float64Var(&c.StartRate, "start-rate", c.StartRate, writes+" a second to begin with")
	f.IntVar(&c.Concurrency, "concurrency", c.Concurrency, writes+" in flight at the full rate")
	o.addScanFlag(f)
	f.DurationVar(&c.Baseline, "baseline", c.Baseline, "how long to measure etcd before anything is done")
	f.DurationVar(&c.MemberWait, "member-wait", c.MemberWait, "how long to stand still for a lost member; then on at --min-rate")
	f.DurationVar(&c.CriticalAfter, "critical-after", c.CriticalAfter, "how long there may be no quorum before the run ends")
}

// addThresholdFlags adds when the pace reacts. They have good defaults, and come last.
func (o *paceOptions) addThresholdFlags(f *pflag.FlagSet) {
	c := &o.pace
	f.Float64Var(&c.HoldRatio, "hold-ratio", c.HoldRatio, "the rate rises no more when a p95 of reads or writes is above so many times its baseline")
	f.DurationVar(&c.HoldOver, "hold-over", c.HoldOver, "and this much above it")
	f.Float64Var(&c.HalveRatio, "halve-ratio", c.HalveRatio, "the rate is halved when one is above so many times its baseline")
	f.DurationVar(&c.HalveOver, "halve-over", c.HalveOver, "and this much above it")
	f.DurationVar(&c.HalveAbove, "halve-above", c.HalveAbove, "the rate is halved when one is above this, whatever its baseline")
	f.Float64Var(&c.ApplyLag, "apply-lag", c.ApplyLag, "the rate is halved when a member has so many more entries committed and not applied than before")
	f.Float64Var(&c.SlowWatchers, "slow-watchers", c.SlowWatchers, "likewise, slow watchers")
	f.Float64Var(&c.PendingEvents, "pending-events", c.PendingEvents, "likewise, pending events")
	f.Float64Var(&c.PendingProposals, "pending-proposals", c.PendingProposals, "likewise, pending proposals")
	f.DurationVar(&c.DiskOver, "disk-over", c.DiskOver, "likewise, when a sync of its log or a commit of its database takes that much longer on average")
	f.DurationVar(&c.MemberOver, "member-over", c.MemberOver, "likewise, when two answers in a row take that much longer")
	f.DurationVar(&c.Calm, "calm", c.Calm, "how long the cause of a pause must be gone before the run goes on")
}

// addScanFlag adds how fast a command may scan.
func (o *paceOptions) addScanFlag(f *pflag.FlagSet) {
	f.Var((*byteRate)(&o.pace.ScanRate), "scan-rate", "bytes a second that scans read at the full rate, 0 for as fast as etcd can")
}

// addSnapshotFlag adds how fast a command may take a snapshot.
func (o *paceOptions) addSnapshotFlag(f *pflag.FlagSet) {
	f.Var((*byteRate)(&o.pace.SnapshotRate), "snapshot-rate", "bytes a second of a snapshot at the full rate, 0 for as fast as etcd can")
}

// checkPace refuses what makes no sense.
func (o *paceOptions) checkPace() error {
	if err := o.pace.Validate(); err != nil {
		return usageError{err}
	}
	return nil
}

// pacer returns what holds the command up, the client's reads included.
func (o *paceOptions) pacer(client *etcdops.Client) *pace.Pacer {
	p := pace.New(o.pace, vitals{client})
	client.HoldReads(p.Reads)
	return p
}

// readPacer starts what slows a command that only reads, and does not pause or end it. Stop is to be called.
func (o *paceOptions) readPacer(ctx context.Context, client *etcdops.Client, screen *screen) (p *pace.Pacer, stop func()) {
	o.pace.ReadsOnly = true
	p = o.pacer(client)
	_, stop = p.Start(ctx, pace.Hooks{Observe: func(s pace.Status) { screen.observe(run.Paced{Status: s}) }})
	return p, stop
}

// byteRate is a flag in bytes a second, such as 16MiB.
type byteRate float64

func (b *byteRate) String() string {
	return strings.ReplaceAll(humanize.IBytes(uint64(*b)), " ", "")
}

func (b *byteRate) Set(text string) error {
	n, err := humanize.ParseBytes(text)
	if err != nil {
		return fmt.Errorf("want a number of bytes, such as 16MiB")
	}
	*b = byteRate(n)
	return nil
}

func (b *byteRate) Type() string { return "bytes" }

// vitals is a client as what the pace is measured by.
type vitals struct{ client *etcdops.Client }

func (v vitals) Read(ctx context.Context) error { return v.client.Ping(ctx) }

func (v vitals) Vitals(ctx context.Context) pace.Vitals {
	members, err := v.client.Vitals(ctx)
	if err != nil {
		return pace.Vitals{} // nobody tells who the members are: the latency of reads is all there is
	}
	var seen pace.Vitals
	for i := range members {
		seen.Members = append(seen.Members, memberVitals(&members[i]))
	}
	return seen
}

func memberVitals(m *etcdops.MemberVitals) pace.Member {
	seen := pace.Member{
		ID:      m.ID,
		Name:    m.String(),
		Learner: m.Learner,
		Err:     m.Err,
		Latency: m.Latency,
		Leader:  m.LeaderID,
		Term:    m.RaftTerm,
		Index:   m.RaftIndex,
		Applied: m.RaftAppliedIndex,
		Corrupt: m.Corrupt,
	}
	if metrics := m.Metrics; metrics != nil {
		seen.Metrics = &pace.Metrics{
			Fsync:            pace.Histogram{Count: metrics.Fsyncs.Count, Seconds: metrics.Fsyncs.Sum.Seconds()},
			Commit:           pace.Histogram{Count: metrics.Commits.Count, Seconds: metrics.Commits.Sum.Seconds()},
			PendingProposals: float64(metrics.PendingProposals),
			SlowWatchers:     float64(metrics.SlowWatchers),
			PendingEvents:    float64(metrics.PendingEvents),
		}
	}
	return seen
}
