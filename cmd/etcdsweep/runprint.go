package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"etcdsweep/plan"
	"etcdsweep/plan/apply"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/run"
)

// printReport prints what a run did, and what it left.
func printReport(w io.Writer, p *plan.File, r *apply.Report, dir *run.Dir) {
	fmt.Fprintf(w, "\nRun of plan %s: %s\n", r.Plan, r.State)
	duration := r.Ended.Sub(r.Started)
	fmt.Fprintf(w, "  %s, from %s to %s\n", rounded(duration), stamp(r.Started), stamp(r.Ended))
	if r.Attempts > 1 {
		fmt.Fprintf(w, "  in %d attempts\n", r.Attempts)
	}
	fmt.Fprintln(w)

	printOutcomes(w, p, r)

	if r.FirstRevision > 0 {
		fmt.Fprintf(w, "\ndeletes are revisions %d to %d\n", r.FirstRevision, r.LastRevision)
	}
	if n := r.Collateral.Outcomes[journal.Archived]; n > 0 {
		fmt.Fprintf(w, "\nArchived before the roots went, for the garbage collector deletes them: %s\n", count(n))
	}
	printKeptOut(w, "Roots that were not deleted", r.Roots.Skipped)
	printKeptOut(w, "Pods that were not deleted", r.Pods.Skipped)
	printKeptOut(w, "Objects that were not deleted", r.Objects.Skipped)
	printKeptOut(w, "The Namespace was not deleted", r.Namespace.Skipped)
	printKeptOut(w, "Newcomers that were not deleted", r.Newcomers.Skipped)
	printKeptOut(w, "Not proved by the snapshot, and not deleted", r.Snapshot.Unproved)
	if verified := r.State == journal.StateDone || r.State == journal.StateLeft; verified {
		printLeft(w, p, r)
	}
	printPauses(w, r.Pauses)
	printLatencies(w, &r.Latencies)
	fmt.Fprintln(w)
	if r.Snapshot.Path != "" {
		fmt.Fprintf(w, "snapshot  %s\n", r.Snapshot.Path)
		fmt.Fprintf(w, "          %s at revision %d, SHA-256\n", size(r.Snapshot.Bytes), r.Snapshot.Revision)
		fmt.Fprintf(w, "          %s\n", r.Snapshot.SHA256)
	}
	if r.Archived > 0 {
		fmt.Fprintf(w, "archive   %s\n          %s keys\n", dir.Archive(), count(r.Archived))
		if r.OlderInSnapshot > 0 {
			fmt.Fprintf(w, "          %s of them are in the snapshot in an older version only\n", count(r.OlderInSnapshot))
		}
		if r.MissingInSnapshot > 0 {
			fmt.Fprintf(w, "          %s of them were made after the snapshot\n", count(r.MissingInSnapshot))
		}
	}
	fmt.Fprintf(w, "report    %s\n", dir.Report())
	fmt.Fprintf(w, "log       %s\n", dir.Log())
}

// printOutcomes prints a table of what became of the keys, with a column for each stage that the plan may have.
func printOutcomes(w io.Writer, p *plan.File, r *apply.Report) {
	type column struct {
		name    string
		tally   *journal.Tally
		planned string
	}
	planned := func(name string) string { return count(stage(&p.Trailer.Summary, name)) }
	columns := []column{{plan.StageRoots, &r.Roots, planned(plan.StageRoots)}}
	selection := &p.Header.Selection
	if selection.OfPods() {
		columns = append(columns, column{plan.StagePods, &r.Pods, planned(plan.StagePods)})
	}
	if !selection.OfPods() || selection.WithEvents || selection.Whole != nil {
		columns = append(columns, column{plan.StageObjects, &r.Objects, planned(plan.StageObjects)})
	}
	if selection.Whole != nil {
		columns = append(columns, column{plan.StageNamespace, &r.Namespace, planned(plan.StageNamespace)})
	}
	if selection.OfPods() {
		columns = append(columns, column{"newcomers", &r.Newcomers, ""})
	}

	header, last := table.Row{"outcome"}, table.Row{"of planned"}
	var right []table.ColumnConfig
	for i, c := range columns {
		header, last = append(header, c.name), append(last, c.planned)
		right = append(right, table.ColumnConfig{Number: 2 + i, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t := newTable(w, header...)
	t.SetColumnConfigs(right)
	for _, outcome := range journal.Deletions() {
		row, total := table.Row{outcome.Words()}, int64(0)
		for _, c := range columns {
			n := c.tally.Outcomes[outcome]
			row, total = append(row, count(n)), total+n
		}
		if outcome == journal.Deleted || total > 0 {
			t.AppendRow(row)
		}
	}
	t.AppendRow(last)
	t.Render()
}

// printUndo says how to take a run back that has deleted something.
func printUndo(w io.Writer, p *plan.File, r *apply.Report, dir *run.Dir, connection string) {
	if r.Archived == 0 {
		return
	}
	fmt.Fprintln(w, "\nTo put back what went (stop kube-controller-manager first):")
	fmt.Fprintf(w, "  etcdsweep undo %s --confirm %s%s\n", shellQuote(dir.Path), p.ID[:plan.MinConfirm], connection)
}

func printLeft(w io.Writer, p *plan.File, r *apply.Report) {
	what := "selection"
	if whole := p.Header.Selection.Whole; whole != nil {
		what = "namespace " + whole.Name
	}
	fmt.Fprintf(w, "\nLeft of the %s: %s\n", what, count(r.Left.Selected))
	for _, example := range r.Left.Examples {
		fmt.Fprintf(w, "      %s\n", example)
	}
	switch {
	case r.Births > 0:
		fmt.Fprintf(w, "Births since the roots went: %s, the last at %s\n", count(r.Births), stamp(r.LastBirth))
	default:
		fmt.Fprintln(w, "Births since the roots went: none")
	}
	for _, key := range r.RootsReturned {
		fmt.Fprintf(w, "The root %s was made again\n", key)
	}
	switch seen := r.Controllers; {
	case seen.Alive:
		fmt.Fprintf(w, "kube-controller-manager: alive, led by %s\n", strings.Join(seen.Holders, ", then "))
	case seen.Found:
		fmt.Fprintf(w, "kube-controller-manager: its lease has stood still for %s\n", rounded(time.Duration(seen.StillSeconds*float64(time.Second))))
	default:
		fmt.Fprintln(w, "kube-controller-manager: has no lease; nobody knows whether it is alive")
	}
	printKeptOut(w, "Left by guards", r.Left.Kept)
	for _, class := range r.Left.Unread {
		fmt.Fprintf(w, "Unreadable, left alone: %s %s\n", count(class.Count), class.Reason)
	}
}
