package main

import (
	"fmt"
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"etcdsweep/plan/journal"
	"etcdsweep/plan/pace"
)

// printLatencies prints how long etcd took for reads before a run, during it and after it, and for the run's own writes.
func printLatencies(w io.Writer, l *pace.Latencies) {
	if l.Before.Count+l.During.Count+l.After.Count+l.Writes.Count == 0 {
		return
	}
	fmt.Fprintln(w)
	t := newTable(w, "latency", "p50", "p95", "p99")
	var right []table.ColumnConfig
	for column := 2; column <= 4; column++ {
		right = append(right, table.ColumnConfig{Number: column, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(right)
	for _, row := range []struct {
		name string
		q    pace.Quantiles
	}{
		{"reads before", l.Before},
		{"reads during", l.During},
		{"reads after", l.After},
		{"own writes", l.Writes},
	} {
		if row.q.Count > 0 {
			t.AppendRow(table.Row{row.name, row.q.P50, row.q.P95, row.q.P99})
		}
	}
	t.Render()
}

// printPauses prints how long a run stood still, and why.
func printPauses(w io.Writer, pauses []journal.Pause) {
	if len(pauses) == 0 {
		return
	}
	fmt.Fprintln(w, "\nStood still:")
	for i, p := range pauses {
		if i == maxRows {
			fmt.Fprintf(w, "  ... and %d times more\n", len(pauses)-i)
			break
		}
		fmt.Fprintf(w, "  for %.1f s\n", p.Seconds)
		fmt.Fprintf(w, "      %s\n", fold(p.Reason, len("      ")))
	}
}
