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
	scaleFrom = 100_000 // pods from which on time should grow as their number does
	scaleIdle = 20 * time.Second
	scaleLine = 1.25 // how much longer a pod may take among many than among few
)

// scale shows what top and plan take of a cluster of very many pods, and what a bystander feels of a scan that is paced. It is a row
// of its own, and runs only when it is asked for.
func (b *bench) scale(ctx context.Context) ([]line, error) {
	few, _, err := b.atScale(ctx, scaleFrom, false)
	if err != nil {
		return nil, err
	}
	many, idle, err := b.atScale(ctx, b.scalePods, true)
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
	beside := pairs{ours: []sample{many}, theirs: []sample{idle}}
	return append(lines,
		beside.line("top, paced: a bystander's p99", "idle", "p99", "ms", goal{atMost: 3}),
		beside.line("top, paced: whole time", "", "paced", seconds, goal{})), nil
}

// atScale measures with so many pods. Beside is for a bystander, too: at first alone, then beside top as it is by default.
func (b *bench) atScale(ctx context.Context, pods int, beside bool) (busy, idle sample, err error) {
	image, err := b.bulkImage(ctx, pods)
	if err != nil {
		return nil, nil, err
	}
	s, err := b.serve(ctx, served{Config: lab.Config{Snapshot: image, Binary: b.etcd}})
	if err != nil {
		return nil, nil, err
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
			return nil, nil, err
		}
		busy[command] = float64(took.wall.Microseconds()) / float64(pods)
		busy[command+" anon"] = float64(took.peak.anon) / 1024
	}
	if !beside {
		return busy, nil, nil
	}
	fmt.Fprintln(os.Stderr, "a bystander, alone and beside top")
	alone, err := s.beside(ctx, func(ctx context.Context) error {
		select {
		case <-time.After(scaleIdle):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if err != nil {
		return nil, nil, err
	}
	var took spent
	felt, err := s.beside(ctx, func(ctx context.Context) (err error) {
		took, err = s.process(ctx, b.tool, "top", "-o", "json")
		return err
	})
	busy["p99"], busy["paced"] = milliseconds(felt.p99), took.wall.Seconds()
	return busy, sample{"p99": milliseconds(alone.p99), "paced": took.wall.Seconds()}, err
}
