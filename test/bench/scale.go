package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"etcdsweep/test/lab"
)

const (
	scaleFrom   = 100_000 // pods from which on time should grow as their number does
	scaleIdle   = 20 * time.Second
	scaleBeside = 3    // times that a bystander is alone, and then beside top
	scaleLine   = 1.25 // how much longer a pod may take among many than among few
)

// scale shows what top and plan take of a cluster of very many pods, and what a bystander feels of a scan that is paced. It is a row
// of its own, and runs only when it is asked for.
func (b *bench) scale(ctx context.Context) ([]line, error) {
	few, _, err := b.atScale(ctx, scaleFrom, 0)
	if err != nil {
		return nil, err
	}
	many, beside, err := b.atScale(ctx, b.scalePods, scaleBeside)
	if err != nil {
		return nil, err
	}
	both := pairs{ours: []sample{many}, theirs: []sample{few}}
	var lines []line
	against := fmt.Sprintf("of %d", scaleFrom)
	for _, command := range []string{"top", "plan"} {
		what := fmt.Sprintf("%s of %d pods", command, b.scalePods)
		lines = append(lines,
			both.line(what+", unpaced", against, command, "us/pod", goal{atMost: scaleLine}),
			both.line(what+": peak RssAnon", against, command+" anon", "MiB", goal{atMost: 150, below: 150}))
	}
	return append(lines,
		beside.line("top, paced: a bystander's p99", "idle", "p99", "ms", goal{atMost: 3}),
		beside.line("top, paced: whole time", "", "paced", seconds, goal{})), nil
}

// atScale measures with so many pods; and so many times what a bystander feels, alone and beside top as it is by default.
func (b *bench) atScale(ctx context.Context, pods, times int) (busy sample, beside pairs, err error) {
	image, err := b.bulkImage(ctx, pods)
	if err != nil {
		return nil, beside, err
	}
	s, err := b.serve(ctx, served{Config: lab.Config{Snapshot: image, Binary: b.etcd}})
	if err != nil {
		return nil, beside, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	busy = sample{}
	for command, args := range map[string][]string{
		"top":  {"top", "-o", "json", "--scan-rate", "0"},
		"plan": append(planCommand(s.planPath()), "--scan-rate", "0"),
	} {
		fmt.Fprintf(os.Stderr, "%s of %d pods\n", command, pods)
		took, err := s.process(ctx, b.tool, args...)
		if err != nil {
			return nil, beside, err
		}
		busy[command] = float64(took.wall.Microseconds()) / float64(pods)
		busy[command+" anon"] = float64(took.peak.anon) / 1024
	}
	for i := range times {
		fmt.Fprintf(os.Stderr, "a bystander, alone and beside top: %d of %d\n", i+1, times)
		if err := b.besideTop(ctx, s, &beside); err != nil {
			return nil, beside, err
		}
	}
	return busy, beside, nil
}

// besideTop adds a pair of what a bystander feels.
func (b *bench) besideTop(ctx context.Context, s *server, all *pairs) error {
	alone, err := s.beside(ctx, func(ctx context.Context) error {
		select {
		case <-time.After(scaleIdle):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if err != nil {
		return err
	}
	var took spent
	felt, err := s.beside(ctx, func(ctx context.Context) (err error) {
		took, err = s.process(ctx, b.tool, "top", "-o", "json")
		return err
	})
	all.ours = append(all.ours, sample{"p99": milliseconds(felt.p99), "paced": took.wall.Seconds()})
	all.theirs = append(all.theirs, sample{"p99": milliseconds(alone.p99), "paced": took.wall.Seconds()})
	return err
}
