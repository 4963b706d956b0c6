package main

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"etcdsweep/plan/control"
	"etcdsweep/plan/pace"
)

// Exactly what a running screen shows last, at 80 and at 40 columns.
func TestDraw(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	ms := func(f float64) pace.Latency { return pace.Latency(f * float64(time.Millisecond)) }
	var minute control.Minute
	for i := range 60 {
		minute.Rate = append(minute.Rate, float64(i*500)/60)
		minute.P95 = append(minute.P95, ms(5+float64(i%10)))
	}
	minute.P95[30], minute.P95[31], minute.P95[32], minute.P95[33], minute.P95[34], minute.P95[35] = 0, 0, 0, 0, 0, 0
	young := control.Minute{Rate: minute.Rate[:10], P95: minute.P95[:10]}
	running := pace.Status{State: pace.Running, Rate: 312, Allowed: 500, Ceiling: 500, P95: ms(4.2), Baseline: ms(5.6)}
	with := func(change func(*pace.Status)) *pace.Status {
		p := running
		change(&p)
		return &p
	}
	pods := control.Status{Step: "pods", Unit: control.Keys, Done: 4512, Total: 10063, PerSecond: 312.4, ETASeconds: 17.8, Pace: &running}
	step := func(change func(*control.Status)) control.Status {
		s := pods
		change(&s)
		return s
	}
	for _, test := range []struct {
		name         string
		status       control.Status
		wide, narrow string
	}{
		{
			"at the ceiling", pods,
			"pods        4,512/10,063  44%  312/s of 500/s  p95 4.2/5.6 ms  ETA 18s\n",
			"pods  4,512/10,063  44%  312/s  ETA 18s\n",
		},
		{
			"a minute", step(func(s *control.Status) { s.Minute = minute }),
			"pods        4,512/10,063  44%  312/s of 500/s  p95 4.2/5.6 ms  ETA 18s\n" +
				"            rate ▁▁▂▃▃▄▄▅▅▆▆▇▇██ 0-500/s  p95 ▅▇█▆█▅▇█ █▅▇█▆█ 0-14 ms\n",
			"pods  4,512/10,063  44%  312/s  ETA 18s\n" +
				"rate ▁▂▂▃▃▄▄▅▆▆▇▇██  p95 ▆██▇█▆█ ██▇█▆█\n",
		},
		{
			"the beginning", step(func(s *control.Status) { s.Minute = young }),
			"pods        4,512/10,063  44%  312/s of 500/s  p95 4.2/5.6 ms  ETA 18s\n" +
				"            rate             ▁▁▂ 0-500/s  p95             ▄▆█ 0-14 ms\n",
			"pods  4,512/10,063  44%  312/s  ETA 18s\n" +
				"rate            ▁▁▂  p95            ▄▆█\n",
		},
		{
			"held", step(func(s *control.Status) {
				s.Pace = with(func(p *pace.Status) { p.State, p.Allowed, p.Reason = pace.Holding, 125, "p95 14 ms > 9 ms" })
			}),
			"pods        4,512/10,063  44%  312/s of 125/s  p95 4.2/5.6 ms  ETA 18s\n" +
				"            below 500/s: p95 14 ms > 9 ms\n",
			"pods  4,512/10,063  44%  312/s  ETA 18s\n" +
				"below 500/s: p95 14 ms > 9 ms\n",
		},
		{
			"held where it may not rise", step(func(s *control.Status) {
				s.Pace = with(func(p *pace.Status) { p.State, p.Reason = pace.Holding, "p95 9 ms > 8.4 ms" })
			}),
			"pods        4,512/10,063  44%  312/s of 500/s  p95 4.2/5.6 ms  ETA 18s\n" +
				"            held at 500/s: p95 9 ms > 8.4 ms\n",
			"pods  4,512/10,063  44%  312/s  ETA 18s\n" +
				"held at 500/s: p95 9 ms > 8.4 ms\n",
		},
		{
			"paused", step(func(s *control.Status) {
				s.PerSecond, s.ETASeconds = 2, 0
				s.Pace = with(func(p *pace.Status) {
					p.State, p.Allowed, p.Since = pace.Paused, 0, now.Add(-12300*time.Millisecond)
					p.Reason = "leader changed from m1 to m2, and nobody knows yet whether it stays"
				})
			}),
			"pods        4,512/10,063  44%  2/s of 0/s  p95 4.2/5.6 ms\n" +
				"            standing still for 12s: leader changed from m1 to m2, and nobody ..\n",
			"pods  4,512/10,063  44%  2/s of 0/s\n" +
				"standing still for 12s: leader change..\n",
		},
		{
			"many", step(func(s *control.Status) { s.Done, s.Total, s.ETASeconds = 1_123_456, 2_000_000, 4321 }),
			"pods        1,123,456/2,000,000  56%  312/s of 500/s  ETA 1h12m1s\n",
			"pods  1,123,456/2,000,000  56%  312/s\n",
		},
		{
			"by hand", step(func(s *control.Status) {
				s.Pace = with(func(p *pace.Status) {
					p.Ceiling, p.Allowed, p.Reason = 12.5, 12.5, "limited to 12.5/s by root, process 1"
				})
			}),
			"pods        4,512/10,063  44%  312/s of 12.5/s  p95 4.2/5.6 ms  ETA 18s\n" +
				"            limited to 12.5/s by root, process 1\n",
			"pods  4,512/10,063  44%  312/s  ETA 18s\n" +
				"limited to 12.5/s by root, process 1\n",
		},
		{
			"ended by hand", step(func(s *control.Status) {
				s.Pace = with(func(p *pace.Status) { p.State, p.Allowed, p.Reason, p.By = pace.Ended, 0, "aborted", "root, process 1" })
			}),
			"pods        4,512/10,063  44%  312/s of 0/s  p95 4.2/5.6 ms  ETA 18s\n" +
				"            aborted by root, process 1\n",
			"pods  4,512/10,063  44%  312/s  ETA 18s\n" +
				"aborted by root, process 1\n",
		},
		{
			"unpaced", step(func(s *control.Status) {
				s.Pace = with(func(p *pace.Status) { p.Unpaced, p.Allowed, p.Ceiling, p.P95, p.Baseline = true, 0, 0, 0, 0 })
			}),
			"pods        4,512/10,063  44%  312/s  ETA 18s\n",
			"pods  4,512/10,063  44%  312/s  ETA 18s\n",
		},
		{
			"a scan is not what is allowed", step(func(s *control.Status) { s.Step, s.Total, s.ETASeconds = "verify", 0, 0 }),
			"verify      4,512  312/s  p95 4.2/5.6 ms\n",
			"verify  4,512  312/s  p95 4.2/5.6 ms\n",
		},
		{
			"bytes", control.Status{Step: "snapshot", Unit: control.Bytes, Done: 11 << 20, Total: 49 << 20, PerSecond: 8 << 20, ETASeconds: 5},
			"snapshot    11 MiB/49 MiB  22%  8.0 MiB/s  ETA 5s\n",
			"snapshot  11 MiB/49 MiB  22%  8.0 MiB/s\n",
		},
		{
			"waiting", control.Status{Step: "settle", Waiting: "no new pod for 1.2s of 5s; 12 born since, 3.4/s, by Job batch/runaway and others"},
			"settle      no new pod for 1.2s of 5s; 12 born since, 3.4/s, by Job batch/run..\n",
			"settle  no new pod for 1.2s of 5s; 12..\n",
		},
		{"nothing known", control.Status{Step: "preflight"}, "preflight   \n", "preflight  \n"},
		{"a conversation", control.Status{Waiting: "it stands still: 12s of 30s"}, "it stands still: 12s of 30s\n", "it stands still: 12s of 30s\n"},
		{"nothing", control.Status{}, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			for columns, want := range map[int]string{80: test.wide, 40: test.narrow} {
				if got := drawn(&test.status, columns, look{blocks: true}, now); got != want {
					t.Errorf("%d columns:\n%swant\n%s", columns, got, want)
				}
			}
			for columns := range 100 { // whatever the width is: nothing is wider
				for line := range strings.Lines(drawn(&test.status, columns, look{blocks: true}, now)) {
					if n := utf8.RuneCountInString(line) - 1; n > max(columns-1, 0) {
						t.Errorf("%d columns: %d are written: %s", columns, n, line)
					}
				}
			}
		})
	}
}

func drawn(s *control.Status, columns int, l look, now time.Time) string {
	var text strings.Builder
	for _, r := range draw(s, columns, l, now) {
		text.WriteString(r.text + "\n")
	}
	return text.String()
}

// A terminal that knows no UTF-8 gets a line of ASCII.
func TestDrawInASCII(t *testing.T) {
	s := control.Status{Step: "pods", Pace: &pace.Status{State: pace.Running, Ceiling: 500}}
	for i := range 60 {
		s.Minute.Rate, s.Minute.P95 = append(s.Minute.Rate, float64(i*500)/60), append(s.Minute.P95, pace.Latency(time.Millisecond))
	}
	got := drawn(&s, 80, lookOf(func(name string) string { return map[string]string{"LANG": "C"}[name] }), time.Now())
	if want := "            rate __.--::==++**## 0-500/s  p95 ############### 0-1.0 ms\n"; !strings.HasSuffix(got, want) {
		t.Errorf("%s", got)
	}
}

func TestLookOf(t *testing.T) {
	for _, test := range []struct {
		env  map[string]string
		want look
	}{
		{map[string]string{"LANG": "en_US.UTF-8"}, look{blocks: true, colour: true}},
		{map[string]string{"LC_CTYPE": "C.utf8", "LANG": "C"}, look{blocks: true, colour: true}},
		{map[string]string{"LC_ALL": "POSIX", "LANG": "de_DE.UTF-8"}, look{colour: true}},
		{map[string]string{"NO_COLOR": "1", "LANG": "de_DE.UTF-8"}, look{blocks: true}},
		{nil, look{colour: true}},
	} {
		if got := lookOf(func(name string) string { return test.env[name] }); got != test.want {
			t.Errorf("%v: %+v", test.env, got)
		}
	}
}
