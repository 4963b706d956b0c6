package main

import (
	"strings"
	"testing"

	"etcdsweep/plan/journal"
	"etcdsweep/plan/pace"
)

func TestPrintLatencies(t *testing.T) {
	q := func(count int64, p50, p95, p99 pace.Latency) pace.Quantiles {
		return pace.Quantiles{Count: count, P50: p50 * 1e5, P95: p95 * 1e5, P99: p99 * 1e5}
	}
	for _, test := range []struct {
		latencies pace.Latencies
		want      string
	}{
		{pace.Latencies{}, ""},
		{
			pace.Latencies{Before: q(60, 12, 30, 45), During: q(900, 15, 99, 1234), After: q(20, 11, 13, 14), Writes: q(10063, 35, 140, 2000)},
			"\n" +
				"LATENCY          P50     P95     P99\n" +
				"reads before  1.2 ms  3.0 ms  4.5 ms\n" +
				"reads during  1.5 ms  9.9 ms  123 ms\n" +
				"reads after   1.1 ms  1.3 ms  1.4 ms\n" +
				"own writes    3.5 ms   14 ms  200 ms\n",
		},
		{
			pace.Latencies{Writes: q(1, 35, 35, 35)},
			"\n" +
				"LATENCY        P50     P95     P99\n" +
				"own writes  3.5 ms  3.5 ms  3.5 ms\n",
		},
	} {
		var out strings.Builder
		printLatencies(&out, &test.latencies)
		if out.String() != test.want {
			t.Errorf("%s\nwant\n%s", out.String(), test.want)
		}
	}
}

func TestPrintPauses(t *testing.T) {
	var out strings.Builder
	printPauses(&out, nil)
	printPauses(&out, []journal.Pause{
		{Reason: "leader changed", Seconds: 5.04},
		{Reason: "member m3 unreachable, then paused by root (sudo by alice), process 1234, then resumed by root, process 4321", Seconds: 60},
	})
	const want = "\nStood still:\n" +
		"  for 5.0 s\n" +
		"      leader changed\n" +
		"  for 60.0 s\n" +
		"      member m3 unreachable, then paused by root (sudo by alice), process 1234,\n" +
		"      then resumed by root, process 4321\n"
	if out.String() != want {
		t.Errorf("%s\nwant\n%s", out.String(), want)
	}
}
