package main

import (
	"context"
	"errors"
	"fmt"
	"os"
)

const (
	cpuPods = 10_000 // enough for the start of a process not to count, in a time that can be waited for
	cpuRate = "500"  // deletes a second
)

// cpu compares what a whole paced apply takes of the CPUs, snapshot and all, with a bare loop of guarded deletes.
func (b *bench) cpu(ctx context.Context) ([]line, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	on := func(measure func(context.Context, *server) (spent, error)) side {
		return func(ctx context.Context) (_ sample, err error) {
			s, err := b.start(ctx, cpuPods)
			if err != nil {
				return nil, err
			}
			defer func() { err = errors.Join(err, s.stop()) }()
			took, err := measure(ctx, s)
			return sample{seconds: took.cpu.Seconds()}, err
		}
	}
	measured, err := b.compare(ctx, "cpu",
		on(func(ctx context.Context, s *server) (spent, error) {
			_, applying, err := b.sweep(ctx, s, cpuRate)
			return applying, err
		}),
		on(func(ctx context.Context, s *server) (spent, error) { return s.process(ctx, self, argSweep, cpuRate) }))
	if err != nil {
		return nil, err
	}
	return []line{measured.line(fmt.Sprintf("apply of %d pods at %s/s: CPU", cpuPods, cpuRate), "bare guarded loop", seconds, seconds, goal{atMost: 1.3})}, nil
}
