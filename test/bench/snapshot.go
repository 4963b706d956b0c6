package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
)

const seconds = "s"

// snapshot compares whole processes: ours computes the SHA-256 again, and proves every entry of a plan; etcdctl's does neither.
func (b *bench) snapshot(ctx context.Context) (_ []line, err error) {
	s, err := b.start(ctx, b.pods)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	plan, path := filepath.Join(s.dir, "plan"), filepath.Join(s.dir, "snapshot.db")
	if _, err := s.process(ctx, b.tool, planCommand(plan)...); err != nil {
		return nil, err
	}
	timed := func(name string, args ...string) side {
		return func(ctx context.Context) (sample, error) {
			took, err := s.process(ctx, name, args...)
			return sample{seconds: took.wall.Seconds()}, errors.Join(err, os.Remove(path))
		}
	}
	against, theirs := "etcdctl snapshot save", timed("etcdctl", "snapshot", "save", path)
	if _, err := exec.LookPath("etcdctl"); err != nil {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		against, theirs = "client/v3/snapshot Save", timed(self, argSave, path)
	}
	measured, err := b.compare(ctx, "snapshot", timed(b.tool, "snapshot", "save", path, "--plan", plan), theirs)
	if err != nil {
		return nil, err
	}
	return []line{measured.line("snapshot, SHA-256 and proof", against, seconds, seconds, goal{atMost: 1.15})}, nil
}

// planCommand returns the arguments that make etcdsweep plan the runaway Jobs.
func planCommand(path string) []string {
	args := []string{"plan", "-n", namespace, "-o", path}
	for _, name := range jobNames() {
		args = append(args, "--job", name)
	}
	return args
}
