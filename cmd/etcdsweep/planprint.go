package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"etcdsweep/plan"
)

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
	if state.Stays > 0 {
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
