package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"golang.org/x/sys/unix"

	"etcdsweep/plan"
	"etcdsweep/test/lab"
)

const (
	argNeighbour  = "neighbour" // and flags: how a bystander fares, instead of the rows
	neighbourPods = 30_000      // that the goal for the duration is for
)

// neighbour is one run of the comparison of what a bystander feels.
type neighbour struct {
	*bench
	members []int
	slow    time.Duration // by which each sync of the members' logs takes longer
	idle    time.Duration // for which the bystander is alone, before each
	only    string
}

// way is a way to remove the pods.
type way struct {
	name string
	what string
	// prepare is done before the bystander comes; remove beside it.
	prepare func(ctx context.Context, n *neighbour, s *server) error
	remove  func(ctx context.Context, n *neighbour, s *server) (spent, error)
}

func ways() []way {
	self := func(args ...string) func(context.Context, *neighbour, *server) (spent, error) {
		return func(ctx context.Context, _ *neighbour, s *server) (spent, error) {
			path, err := os.Executable()
			if err != nil {
				return spent{}, err
			}
			return s.process(ctx, path, args...)
		}
	}
	apply := func(args ...string) func(context.Context, *neighbour, *server) (spent, error) {
		return func(ctx context.Context, n *neighbour, s *server) (spent, error) {
			p, err := plan.Open(s.planPath())
			if err != nil {
				return spent{}, err
			}
			return s.process(ctx, n.tool, append([]string{"apply", p.Path(), "--confirm", p.ID, "--state-dir", s.dir}, args...)...)
		}
	}
	return []way{
		{"a", "apply, its defaults, snapshot included", planned, apply()},
		{"b", "apply --rate 0", planned, apply("--rate", "0")},
		{"c", fmt.Sprintf("%d deletes a transaction", batch), nothing, self(argBatches, "")},
		{"d", "one DeleteRange, as del --prefix", nothing, self(argRange, "")},
		{"e", "bare guarded loop, " + cpuRate + "/s", nothing, self(argSweep, cpuRate)},
	}
}

func (s *server) planPath() string { return filepath.Join(s.dir, "plan") }

func planned(ctx context.Context, n *neighbour, s *server) error {
	_, err := s.process(ctx, n.tool, planCommand(s.planPath())...)
	return err
}

func nothing(context.Context, *neighbour, *server) error { return nil }

// neighbours compares all ways, on clusters of one member and of three.
func neighbours(ctx context.Context, args []string) error {
	n := &neighbour{bench: &bench{images: map[int]string{}}}
	if err := n.parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	return n.with(ctx, func() error {
		var err error
		if n.etcd, err = lab.BuildServer(ctx); err != nil {
			return err
		}
		for _, members := range n.members {
			turns, err := n.measure(ctx, members)
			if err != nil {
				return err
			}
			n.print(members, turns)
			if lines := n.goals(members, turns["a"], turns["e"]); len(lines) > 0 {
				fmt.Println()
				printLines(lines)
			}
		}
		return nil
	})
}

func (n *neighbour) parse(args []string) error {
	f := flag.NewFlagSet(argNeighbour, flag.ContinueOnError)
	f.IntVar(&n.pods, "pods", neighbourPods, "runaway pods to remove")
	f.IntVar(&n.pairs, "pairs", 5, "rounds, each with all ways and the idle time before each, that the medians are taken from")
	f.DurationVar(&n.slow, "slow", 0, "by how much each sync of the members' logs takes longer")
	f.DurationVar(&n.idle, "idle", 15*time.Second, "how long the bystander is alone before each way")
	f.StringVar(&n.only, "only", "", "letters of the ways to measure, such as ad")
	members := f.String("members", "1,3", "sizes of the clusters")
	if err := f.Parse(args); err != nil {
		return err
	}
	for _, field := range strings.Split(*members, ",") {
		m, err := strconv.Atoi(field)
		if err != nil {
			return fmt.Errorf("-members: %w", err)
		}
		n.members = append(n.members, m)
	}
	if f.NArg() > 0 || n.pods < jobs || n.pairs < 1 || n.idle < time.Second {
		return errors.New("want no other arguments, a pod for each of the jobs, a round and a second of idle time at least")
	}
	return nil
}

// turn is one way, measured once.
type turn struct {
	idle, felt felt
	took       spent
	servers    time.Duration // of CPU, by all members
}

// measure returns the turns of each way, by its name. Each way goes first in some round.
func (n *neighbour) measure(ctx context.Context, members int) (map[string][]turn, error) {
	turns := map[string][]turn{}
	all := ways()
	for round := range n.pairs {
		for i := range all {
			w := all[(i+round)%len(all)]
			if !strings.Contains(n.only, w.name) && n.only != "" {
				continue
			}
			fmt.Fprintf(os.Stderr, "cluster of %d, round %d of %d: %s\n", members, round+1, n.pairs, w.what)
			runtime.GC()
			unix.Sync()
			t, err := n.turn(ctx, members, w)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", w.what, err)
			}
			turns[w.name] = append(turns[w.name], t)
		}
	}
	return turns, nil
}

func (n *neighbour) turn(ctx context.Context, members int, w way) (t turn, err error) {
	image, err := n.image(ctx, n.pods)
	if err != nil {
		return t, err
	}
	s, err := n.serve(ctx, served{Config: lab.Config{Snapshot: image, Binary: n.etcd, Members: members}, Slow: n.slow})
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if err := w.prepare(ctx, n, s); err != nil {
		return t, err
	}
	t.idle, err = s.beside(ctx, func(ctx context.Context) error {
		select {
		case <-time.After(n.idle):
		case <-ctx.Done():
		}
		return ctx.Err()
	})
	if err != nil {
		return t, err
	}
	before := s.cpu()
	t.felt, err = s.beside(ctx, func(ctx context.Context) (err error) {
		t.took, err = w.remove(ctx, n, s)
		return err
	})
	t.servers = s.cpu() - before
	return t, err
}

// print prints medians over the rounds; the ratios are medians of the rounds' own ratios.
func (n *neighbour) print(members int, turns map[string][]turn) {
	slow := ""
	if n.slow > 0 {
		slow = fmt.Sprintf(", each sync %s longer", n.slow)
	}
	fmt.Printf("\ncluster of %d%s; %d CPUs; %d pods; a bystander writes %d keys a second; medians of %d\n\n", members, slow, runtime.NumCPU(), n.pods, time.Second/writeEvery, n.pairs)
	t := newTable()
	t.AppendHeader(table.Row{"", "took s", "p50 ms", "p99 ms", "max ms", "gap ms", "etcd CPU s", "tool CPU s", "idle p99", "p99/idle", "gap/idle"})
	right(t, 2, 11)
	for _, w := range ways() {
		measured := turns[w.name]
		if len(measured) == 0 {
			continue
		}
		of := func(value func(turn) float64) string {
			var all []float64
			for _, m := range measured {
				all = append(all, value(m))
			}
			return figure(median(all))
		}
		t.AppendRow(table.Row{
			w.name + " " + w.what,
			of(func(t turn) float64 { return t.took.wall.Seconds() }),
			of(func(t turn) float64 { return milliseconds(t.felt.p50) }),
			of(func(t turn) float64 { return milliseconds(t.felt.p99) }),
			of(func(t turn) float64 { return milliseconds(t.felt.max) }),
			of(func(t turn) float64 { return milliseconds(t.felt.gap) }),
			of(func(t turn) float64 { return t.servers.Seconds() }),
			of(func(t turn) float64 { return t.took.cpu.Seconds() }),
			of(func(t turn) float64 { return milliseconds(t.idle.p99) }),
			of(func(t turn) float64 { return float64(t.felt.p99) / float64(t.idle.p99) }),
			of(func(t turn) float64 { return float64(t.felt.gap) / float64(t.idle.gap) }),
		})
	}
	t.Render()
}

// goals compares an apply by its defaults on three members with what it is to be: what the bystander feels with what it felt alone,
// and what it takes of the CPUs with the bare loop that deletes the same pods. With slow disks a p99 is all that is asked for.
func (n *neighbour) goals(members int, applied, swept []turn) []line {
	if members != 3 || len(applied) == 0 {
		return nil
	}
	compare := func(what, against, unit string, g goal, theirs []turn, ours, their func(turn) float64) line {
		var p pairs
		for i := range min(len(applied), len(theirs)) {
			p.ours = append(p.ours, sample{unit: ours(applied[i])})
			p.theirs = append(p.theirs, sample{unit: their(theirs[i])})
		}
		return p.line(what, against, unit, unit, g)
	}
	p99 := goal{atMost: 2}
	if n.slow > 0 {
		p99 = goal{atMost: 3}
	}
	lines := []line{compare("a, a bystander's p99", "alone", "ms", p99, applied,
		func(t turn) float64 { return milliseconds(t.felt.p99) }, func(t turn) float64 { return milliseconds(t.idle.p99) })}
	if n.slow > 0 {
		return lines
	}
	lines = append(lines, compare("a, a bystander's longest gap", "alone", "ms", goal{atMost: 2, below: 50, either: true}, applied,
		func(t turn) float64 { return milliseconds(t.felt.gap) }, func(t turn) float64 { return milliseconds(t.idle.gap) }))
	if len(swept) == 0 {
		return lines
	}
	duration := goal{below: 90}
	if n.pods != neighbourPods {
		duration = goal{}
	}
	wall := func(t turn) float64 { return t.took.wall.Seconds() }
	cpu := func(t turn) float64 { return t.took.cpu.Seconds() }
	return append(lines,
		compare("a, the whole run", "e", seconds, duration, swept, wall, wall),
		compare("a, the tool's CPU", "e", seconds, goal{atMost: 1.3}, swept, cpu, cpu))
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
