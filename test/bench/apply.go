package main

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"time"

	"etcdsweep/durable"
	"etcdsweep/etcdops"
	"etcdsweep/plan"
	"etcdsweep/plan/apply"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/run"
)

const concurrency = 16 // deletes in flight, on both sides

// apply compares an unpaced run, with its archive and its journal and without a snapshot, with a loop of the same transactions. Both sides
// start from a cluster that was just restored.
func (b *bench) apply(ctx context.Context) ([]line, error) {
	if _, err := b.image(ctx, b.pods); err != nil { // before the first turn, not within it
		return nil, err
	}
	measured, err := b.compare(ctx, "apply", b.applied, b.swept)
	if err != nil {
		return nil, err
	}
	return []line{
		measured.line("apply, unpaced: its deletes", "bare guarded loop", keysPerSecond, keysPerSecond, goal{atLeast: 0.85}),
		measured.line("apply, unpaced: the whole run", "bare guarded loop", "whole", keysPerSecond, goal{}),
	}, nil
}

// applied plans and applies on a fresh server.
func (b *bench) applied(ctx context.Context) (_ sample, err error) {
	s, err := b.start(ctx, b.pods)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	client, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	path := filepath.Join(s.dir, "plan")
	if _, err := writePlan(ctx, client, path); err != nil {
		return nil, err
	}
	p, err := plan.Open(path)
	if err != nil {
		return nil, err
	}
	dir, err := run.MakeDir(durable.OS(), s.dir, p)
	if err != nil {
		return nil, err
	}

	var pods time.Duration
	var began time.Time
	start := time.Now()
	report, err := apply.Run(ctx, apply.Config{
		Plan:        p,
		Cluster:     calm{client, p},
		Snapshots:   noSnapshots{},
		Dir:         dir,
		Concurrency: concurrency,
		SettleMax:   time.Minute,

		LeaseDuration: 100 * time.Millisecond,

		Now: time.Now,
		Observe: func(event run.Event) {
			switch e := event.(type) {
			case run.StepBegan:
				if e.Step == run.StepPods {
					began = time.Now()
				}
			case run.StepEnded:
				if e.Step == run.StepPods {
					pods = time.Since(began)
				}
			}
		},
	})
	if err != nil {
		return nil, err
	}
	whole := time.Since(start)
	keys := float64(report.Pods.Outcomes[journal.Deleted])
	return sample{keysPerSecond: keys / pods.Seconds(), "whole": keys / whole.Seconds()}, nil
}

// calm is a client with the facts of a healthy cluster.
type calm struct {
	*etcdops.Client
	plan *plan.File
}

func (c calm) Facts(context.Context) (run.Facts, error) {
	return run.Facts{Identity: c.plan.Header.Cluster, Revision: c.plan.Header.Revision}, nil
}

// noSnapshots takes none: what a snapshot costs is another row's.
type noSnapshots struct{}

func (noSnapshots) Save(context.Context, string, int64, func(done, total int64)) (apply.Snapshot, error) {
	return holdsAll{}, nil
}

func (noSnapshots) Open(context.Context, string) (apply.Snapshot, error) { return holdsAll{}, nil }

// holdsAll stands in for a snapshot.
type holdsAll struct{}

func (holdsAll) Holds(string, int64, int64) (bool, error) { return true, nil }
func (holdsAll) Describe() journal.Proof {
	return journal.Proof{Path: os.DevNull, Revision: math.MaxInt64}
}
func (holdsAll) Close() error { return nil }

// swept deletes the same pods by the bare loop, on a fresh server.
func (b *bench) swept(ctx context.Context) (_ sample, err error) {
	s, err := b.start(ctx, b.pods)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	etcd, err := s.bare(ctx)
	if err != nil {
		return nil, err
	}
	defer etcd.Close()
	keys, err := standing(ctx, etcd)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	err = deleteAll(ctx, etcd, keys, 0)
	perSecond := float64(len(keys)) / time.Since(began).Seconds()
	return sample{keysPerSecond: perSecond, "whole": perSecond}, err
}
