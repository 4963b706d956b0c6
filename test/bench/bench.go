package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// row is one comparison of the table; some have more than one line.
type row struct {
	name string
	run  func(*bench, context.Context) ([]line, error)
}

func rows() []row {
	return []row{
		{"plan", (*bench).plan},
		{"top", (*bench).top},
		{"apply", (*bench).apply},
		{"snapshot", (*bench).snapshot},
		{"memory", (*bench).memory},
		{"cpu", (*bench).cpu},
	}
}

// bench is one run of all rows, or of one.
type bench struct {
	pods       int
	pairs      int
	only       string
	etcd       string // server to measure against; empty: the etcd library, as a process of its own
	memoryPods []int
	scalePods  int // instead of the rows, that of very many pods; 0 for the rows

	dir    string         // for all that a run writes
	tool   string         // path of etcdsweep
	images map[int]string // snapshots of filled clusters, by their number of pods
}

// execute runs the command line. A first argument that is no flag makes this process a part of a bench: the etcd server,
// or the counterpart of a whole process.
func execute(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == argNeighbour {
		return neighbours(ctx, args[1:])
	}
	if len(args) == 2 {
		switch args[0] {
		case argServe:
			return serve(ctx, args[1])
		case argSweep:
			return bareSweep(ctx, args[1])
		case argSave:
			return bareSave(ctx, args[1])
		case argBatches:
			return bareBatches(ctx, args[1])
		case argRange:
			return bareRange(ctx, args[1])
		}
	}
	b := &bench{images: map[int]string{}}
	if err := b.parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	return b.run(ctx)
}

func (b *bench) parse(args []string) error {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.IntVar(&b.pods, "pods", 30_000, "runaway pods in the cluster")
	f.IntVar(&b.pairs, "pairs", 5, "interleaved pairs that the medians are taken from")
	f.StringVar(&b.only, "only", "", "run this row only: plan, top, apply, snapshot, memory or cpu")
	f.StringVar(&b.etcd, "etcd", "", "etcd server to run (default: the library, in another process)")
	f.IntVar(&b.scalePods, "scale", 0, "measure top and plan with so many pods, instead of the rows")
	memoryPods := f.String("memory-pods", "10000,100000", "pods at which the memory is compared")
	if err := f.Parse(args); err != nil {
		return err
	}
	for _, field := range strings.Split(*memoryPods, ",") {
		n, err := strconv.Atoi(field)
		if err != nil {
			return fmt.Errorf("-memory-pods: %w", err)
		}
		b.memoryPods = append(b.memoryPods, n)
	}
	known := slices.ContainsFunc(rows(), func(r row) bool { return r.name == b.only })
	switch {
	case f.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", f.Arg(0))
	case b.only != "" && !known:
		return fmt.Errorf("-only %s: no such row", b.only)
	case b.scalePods != 0 && b.scalePods < scaleFrom:
		return fmt.Errorf("-scale is %d at least", scaleFrom)
	case b.pods < jobs || b.pairs < 1 || len(b.memoryPods) != 2 || slices.Min(b.memoryPods) < jobs:
		return errors.New("want a pod for each of the jobs, a pair at least, and two numbers of -memory-pods")
	}
	return nil
}

// with does something with a directory of its own and the tool in it.
func (b *bench) with(ctx context.Context, do func() error) (err error) {
	if b.dir, err = os.MkdirTemp("", "etcdsweep-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	b.tool = filepath.Join(b.dir, "etcdsweep")
	build := exec.CommandContext(ctx, "go", "build", "-o", b.tool, "etcdsweep/cmd/etcdsweep")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build etcdsweep: %w: %s", err, out)
	}
	return do()
}

// run measures, and prints the table at the end; which pair is being measured goes to stderr meanwhile.
func (b *bench) run(ctx context.Context) error {
	return b.with(ctx, func() error {
		var lines []line
		all := rows()
		if b.scalePods > 0 {
			all = []row{{"scale", (*bench).scale}}
		}
		for _, r := range all {
			if b.only != "" && b.only != r.name {
				continue
			}
			more, err := r.run(b, ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			lines = append(lines, more...)
		}
		fmt.Printf("etcd: %s; %d CPUs", cmp.Or(b.etcd, "the library, as a process"), runtime.NumCPU())
		if b.scalePods == 0 {
			fmt.Printf("; %d pods; median of %d interleaved pairs", b.pods, b.pairs)
		}
		fmt.Print("\n\n")
		printLines(lines)
		return nil
	})
}

// side measures one side of a pair, once.
type side func(context.Context) (sample, error)

// sample is what one measurement found, by the names of the lines that it belongs to.
type sample map[string]float64

// compare measures both sides in turns. Who goes first changes from pair to pair, so that a drift of the machine is no
// advantage; and each begins with clean memory and nothing left to write to the disk.
func (b *bench) compare(ctx context.Context, name string, ours, theirs side) (pairs, error) {
	var p pairs
	for i := range b.pairs {
		fmt.Fprintf(os.Stderr, "%s: pair %d of %d\n", name, i+1, b.pairs)
		for j := range 2 {
			measure, into := ours, &p.ours
			if (i+j)%2 == 1 {
				measure, into = theirs, &p.theirs
			}
			runtime.GC()
			unix.Sync()
			s, err := measure(ctx)
			if err != nil {
				return p, err
			}
			*into = append(*into, s)
		}
	}
	return p, nil
}
