package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"etcdsweep/plan"
	"etcdsweep/plan/apply"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/run"
)

const (
	width   = 80 // columns of a screen at three in the morning
	maxRows = 10 // of one table of a summary
)

func count(n int64) string { return humanize.Comma(n) }

func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// newTable returns a table without lines, for columns that are wide enough to be told apart without.
func newTable(w io.Writer, header ...any) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	style.Format.Header = text.FormatUpper
	style.Size.WidthMax = width
	t.SetStyle(style)
	t.SuppressTrailingSpaces()
	t.AppendHeader(header)
	return t
}

// printPlan prints a plan's summary.
func printPlan(w io.Writer, p *plan.File) {
	summary := &p.Trailer.Summary
	fmt.Fprintf(w, "Plan %s: %s keys, %s\n", p.ID, count(p.Trailer.Entries), size(p.Trailer.Bytes))
	for _, condition := range p.Header.Selection.Words() {
		fmt.Fprintf(w, "  %s\n", condition)
	}
	fmt.Fprintf(w, "Made %s, at revision %d\n", stamp(p.Header.Created), p.Header.Revision)
	if rehearsal := p.Header.Rehearsal; rehearsal != nil {
		fmt.Fprintf(w, "  as a rehearsal, which cannot be applied, from the file\n  %s\n", rehearsal.File)
	} else {
		fmt.Fprintf(w, "  for etcd cluster %s\n", p.Header.Cluster.ClusterID)
	}
	fmt.Fprintf(w, "  with UID %s of Namespace kube-system\n", p.Header.Cluster.SystemUID)

	printTallies(w, "stage", summary.Stages)
	printTallies(w, "kind", summary.Resources)
	printTallies(w, "controller", summary.Owners)
	printTallies(w, "node", summary.Nodes)
	printTallies(w, "phase", summary.Phases)

	printRoots(w, summary.Roots)

	fmt.Fprintf(w, "\n%s records read; %s of the %s to delete are terminating\n", count(summary.Scanned), count(summary.Terminating), p.Header.Selection.Stage())
	printNamespace(w, p)
	if planned := stage(summary, plan.StagePods); summary.ClusterPods > 0 {
		fmt.Fprintf(w, "%s of all %s pods of the cluster: %.1f%%\n", count(planned), count(summary.ClusterPods), 100*float64(planned)/float64(summary.ClusterPods))
	}
	if r := &summary.Running; r.Planned > 0 {
		fmt.Fprintf(w, "%s of the %s pods that run on live or unknown nodes: %.1f%%\n", count(r.Planned), count(r.Cluster), r.Share())
	}
	if n := &summary.NodeStates; n.Live+n.Dead > 0 {
		fmt.Fprintf(w, "%d nodes are live, %d dead, %d unknown, by leases watched for %gs\n", n.Live, n.Dead, n.Unknown, n.Measured)
	}
	if !summary.Oldest.IsZero() {
		fmt.Fprintf(w, "oldest %s, newest %s\n", stamp(summary.Oldest), stamp(summary.Newest))
	}
	printKeptOut(w, "Kept out by guards", summary.KeptOut)
	printKeptOut(w, "Cannot be read, and are left alone", summary.Unreadable)
	printCollateral(w, &summary.Collateral)
	printClaims(w, "Volume claims that are planned", summary.Claims)
}

// printNamespace says how the Namespace stands that is planned whole, and who is better at deleting it.
func printNamespace(w io.Writer, p *plan.File) {
	whole, state := p.Header.Selection.Whole, &p.Trailer.Summary.Namespace
	if whole == nil {
		return
	}
	switch {
	case state.Absent:
		fmt.Fprintf(w, "Namespace %s is gone; this is what it has left behind\n", whole.Name)
	case state.Terminating:
		fmt.Fprintf(w, "Namespace %s is terminating: its deletion was asked for\n", whole.Name)
	case p.Header.Rehearsal != nil:
		fmt.Fprintf(w, "Namespace %s is not terminating\n", whole.Name)
	case state.Apiservers == 0:
		fmt.Fprintf(w, "Namespace %s is not terminating; no kube-apiserver is seen to be alive\n", whole.Name)
	default:
		fmt.Fprintf(w, "Namespace %s is not terminating; kube-apiservers alive: %d\n", whole.Name, state.Apiservers)
	}
	if state.Stays > 0 && !state.Absent {
		fmt.Fprintf(w, "Namespace %s itself stays, with what cannot be judged in it: %s\n", whole.Name, count(state.Stays))
	}
	for _, elsewhere := range state.Elsewhere {
		fmt.Fprintf(w, "Kept in another etcd, and stays: %s\n", elsewhere)
	}
}

// stage returns how many entries of a stage there are.
func stage(summary *plan.Summary, name string) int64 {
	for _, tally := range summary.Stages {
		if tally.Name == name {
			return tally.Entries
		}
	}
	return 0
}

// printRoots prints the roots in the order in which they go, each with what is above it.
func printRoots(w io.Writer, roots []plan.Root) {
	if len(roots) == 0 {
		return
	}
	fmt.Fprintln(w, "\nRoots, in the order in which they go:")
	for i, root := range roots {
		if i == maxRows {
			fmt.Fprintf(w, "  ... and %d more\n", len(roots)-i)
			break
		}
		fmt.Fprintf(w, "  %s\n", root.Name)
		switch {
		case root.Above == "":
			fmt.Fprintln(w, "      nothing controls it")
		case root.Stands:
			fmt.Fprintf(w, "      controlled by %s, which stands, and may make it again\n", root.Above)
		case root.Unknown != "":
			fmt.Fprintf(w, "      controlled by %s, and it is not known whether that stands:\n        %s\n", root.Above, root.Unknown)
		case root.Behind:
			fmt.Fprintf(w, "      controlled by %s, which goes behind it\n", root.Above)
		case root.Planned:
			fmt.Fprintf(w, "      controlled by %s, which goes before it\n", root.Above)
		default:
			fmt.Fprintf(w, "      controlled by %s, which is gone\n", root.Above)
		}
	}
}

// printCollateral prints what goes with the roots and is not planned.
func printCollateral(w io.Writer, c *plan.Collateral) {
	if c.IsZero() {
		return
	}
	if len(c.Kinds) == 0 {
		fmt.Fprintf(w, "\nNothing else is known to go with the roots (%s other records read)\n", count(c.Scanned))
	}
	printKeptOut(w, "Not planned, and goes with the roots", c.Kinds)
	printClaims(w, "Volume claims that go with the roots", c.Claims)
	printKeptOut(w, "Cannot be read: whether they depend on the roots is not known", c.Unreadable)
}

// printClaims prints claims with what becomes of their volumes.
func printClaims(w io.Writer, title string, claims []plan.Claim) {
	if len(claims) > 0 {
		fmt.Fprintf(w, "\n%s:\n", title)
	}
	for i, claim := range claims {
		if i == maxRows {
			fmt.Fprintf(w, "  ... and %d more\n", len(claims)-i)
			break
		}
		fmt.Fprintf(w, "  %s\n", claim.Key)
		switch {
		case claim.Volume == "":
			fmt.Fprintln(w, "      not bound to a volume")
			continue
		case claim.ReclaimPolicy == "":
			fmt.Fprintf(w, "      volume %s\n      reclaim policy unknown: its record is absent or cannot be read\n", claim.Volume)
		default:
			fmt.Fprintf(w, "      volume %s\n      reclaim policy %s\n", claim.Volume, claim.ReclaimPolicy)
		}
	}
}

func sum(kept []plan.KeptOut) (n int64) {
	for _, k := range kept {
		n += k.Count
	}
	return n
}

// printTallies prints a table of the largest tallies. Where they carry UIDs, each has a line for its own.
func printTallies(w io.Writer, name string, tallies []plan.Tally) {
	if len(tallies) == 0 {
		return
	}
	fmt.Fprintln(w)
	t := newTable(w, name, "keys", "bytes")
	t.SetColumnConfigs([]table.ColumnConfig{
		{Number: 1, WidthMax: 50},
		{Number: 2, Align: text.AlignRight, AlignHeader: text.AlignRight},
		{Number: 3, Align: text.AlignRight, AlignHeader: text.AlignRight},
	})
	for i, tally := range tallies {
		if i == maxRows {
			t.AppendRow(table.Row{fmt.Sprintf("... and %d more", len(tallies)-i)})
			break
		}
		t.AppendRow(table.Row{tally.Name, count(tally.Entries), size(tally.Bytes)})
		if tally.UID != "" {
			t.AppendRow(table.Row{"  UID " + tally.UID})
		}
	}
	t.Render()
}

func printKeptOut(w io.Writer, title string, kept []plan.KeptOut) {
	if len(kept) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s:\n", title)
	for _, k := range kept {
		fmt.Fprintf(w, "  %s  %s\n", count(k.Count), k.Reason)
		if k.Why != "" {
			fmt.Fprintf(w, "      %s\n", k.Why)
		}
		for _, example := range k.Examples {
			fmt.Fprintf(w, "      %s\n", example)
		}
	}
}

// warnOfPlan says what people must not overlook in a plan.
func warnOfPlan(w io.Writer, p *plan.File) {
	what := p.Header.Selection.Stage()
	if p.Header.KeepRoots && len(p.Header.Selection.Owners) > 0 {
		warn(w, "the owners' own records are not in the plan (--keep-roots): their controller makes new "+what+" for those that go")
	}
	if p.Header.Selection.Whole != nil {
		warnOfNamespace(w, p)
	} else if len(p.Header.Selection.Owners) == 0 {
		warn(w, "no owner is in the plan: whatever has made these "+what+" may make new ones")
	}
	for i := range p.Trailer.Owners {
		owner := &p.Trailer.Owners[i]
		if owner.Absent {
			warn(w, fmt.Sprintf("%s has no record of its own; its %s were matched by its name, and have the UIDs %s", owner, what, strings.Join(owner.UIDs, ", ")))
		}
	}
	summary := &p.Trailer.Summary
	if c := &summary.Collateral; len(c.Kinds) > 0 {
		warn(w, fmt.Sprintf("%s objects are no entries and go with the roots, such as %s: while kube-controller-manager runs, its garbage collector deletes them as well", count(sum(c.Kinds)), c.Kinds[0].Examples[0]))
	}
	if unreadable := summary.Collateral.Unreadable; len(unreadable) > 0 {
		warn(w, fmt.Sprintf("%s values in the roots' namespaces cannot be read, such as %s: whether they depend on the roots, and go with them, is not known", count(sum(unreadable)), unreadable[0].Examples[0]))
	}
	if n := &summary.NodeStates; n.Measured > 0 && n.Live+n.Dead == 0 {
		warn(w, fmt.Sprintf("no node's lease moved in %gs, as when kube-apiserver is down: which nodes are alive is not known, and every running pod counts as one on a live node", n.Measured))
	}
}

// warnOfNamespace says what people must not overlook in a plan of a whole namespace.
func warnOfNamespace(w io.Writer, p *plan.File) {
	name, summary := p.Header.Selection.Whole.Name, &p.Trailer.Summary
	if summary.Namespace.Apiservers > 0 {
		warn(w, fmt.Sprintf("kube-apiserver is alive, and the API's way is better: kubectl delete namespace %s; then sweep what is too much for it, by --owner or --resource, and let kube-controller-manager finish", shellQuote(name)))
	}
	if len(summary.Claims) > 0 {
		warn(w, fmt.Sprintf("what is on the volumes of %d claims may be lost, such as of %s", len(summary.Claims), &summary.Claims[0]))
	}
	if left := sum(summary.Unreadable); left > 0 {
		warn(w, fmt.Sprintf("%s keys cannot be judged, and stay behind: the namespace %s, or the next one of that name, has them", count(left), name))
	}
	warnOfAbove(w, summary.Roots)
}

// warnOfAbove says, by one example of each, what may make a root of a namespace again.
func warnOfAbove(w io.Writer, roots []plan.Root) {
	if i := slices.IndexFunc(roots, func(r plan.Root) bool { return r.Stands }); i >= 0 {
		warn(w, fmt.Sprintf("%s is controlled by %s, which is not in the plan and stays: it may make it again", roots[i].Name, roots[i].Above))
	}
	if i := slices.IndexFunc(roots, func(r plan.Root) bool { return r.Unknown != "" }); i >= 0 {
		warn(w, fmt.Sprintf("%s is controlled by %s, of which it is not known whether it stands (%s): if it does, it may make it again", roots[i].Name, roots[i].Above, roots[i].Unknown))
	}
}

func printNext(w io.Writer, commands []string) {
	fmt.Fprintln(w, "\nNext:")
	for _, command := range commands {
		fmt.Fprintf(w, "  %s\n", command)
	}
}

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
