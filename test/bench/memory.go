package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"etcdsweep/plan"
)

// memory compares the tool with itself: with few pods and with many.
func (b *bench) memory(ctx context.Context) ([]line, error) {
	few, many := b.memoryPods[0], b.memoryPods[1]
	measured, err := b.compare(ctx, "memory", b.resident(many), b.resident(few))
	if err != nil {
		return nil, err
	}
	var lines []line
	for _, command := range []string{"plan", "apply"} {
		what := fmt.Sprintf("%s of %d pods", command, many)
		against := fmt.Sprintf("of %d", few)
		lines = append(lines,
			measured.line(what+": peak RssAnon", against, command+" anon", "MiB", goal{atMost: flat, below: 100}),
			measured.line(what+": peak RssFile", against, command+" file", "MiB", goal{}),
			measured.line(what+": VmHWM", against, command+" all", "MiB", goal{}))
	}
	return lines, nil
}

// flat is how far the peaks of a garbage-collected process may lie apart and still not grow with its input.
const flat = 1.25

func (b *bench) resident(pods int) side {
	return func(ctx context.Context) (_ sample, err error) {
		s, err := b.start(ctx, pods)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.stop()) }()
		planning, applying, err := b.sweep(ctx, s, "0")
		measured := sample{}
		for command, peak := range map[string]residence{"plan": planning.peak, "apply": applying.peak} {
			measured[command+" anon"] = float64(peak.anon) / 1024
			measured[command+" file"] = float64(peak.file) / 1024
			measured[command+" all"] = float64(peak.all) / 1024
		}
		return measured, err
	}
}

// sweep plans and applies by the real tool, at so many deletes a second.
func (b *bench) sweep(ctx context.Context, s *server, perSecond string) (planning, applying spent, err error) {
	path := filepath.Join(s.dir, "plan")
	if planning, err = s.process(ctx, b.tool, planCommand(path)...); err != nil {
		return
	}
	p, err := plan.Open(path)
	if err != nil {
		return
	}
	applying, err = s.process(ctx, b.tool, "apply", path, "--confirm", p.ID, "--rate", perSecond, "--settle", "100ms", "--lease-duration", "200ms", "--state-dir", s.dir)
	return
}
