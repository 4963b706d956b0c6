package main

import (
	"math"
	"testing"
	"time"

	"etcdsweep/plan/control"
)

func TestProgress(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	p := newProgress(start, 1000, control.Keys)
	for tick := 1; tick <= 80; tick++ { // 10 a tick, 40 a second, for 20 s; then nothing
		p.at(start.Add(time.Duration(tick)*250*time.Millisecond), int64(tick*10))
	}
	for _, test := range []struct {
		after time.Duration
		want  control.Status
	}{
		{0, control.Status{Unit: control.Keys, Done: 800, Total: 1000, PerSecond: 40, ETASeconds: 5}},
		{5 * time.Second, control.Status{Unit: control.Keys, Done: 800, Total: 1000, PerSecond: 20, ETASeconds: 10}},
	} {
		var got control.Status
		p.fill(&got, start.Add(20*time.Second+test.after))
		if got.Unit != test.want.Unit || got.Done != test.want.Done || got.Total != test.want.Total ||
			math.Round(got.PerSecond) != test.want.PerSecond || math.Round(got.ETASeconds) != test.want.ETASeconds {
			t.Errorf("after %s: %+v", test.after, got)
		}
	}
}
