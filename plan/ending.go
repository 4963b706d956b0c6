package plan

import (
	"context"
	"fmt"
	"math"
	"strings"

	"etcdsweep/decode"
)

// trailer ends the plan, or refuses it for what only the scan could show.
func (b *builder) trailer(ctx context.Context) (Trailer, error) {
	if b.selectsNothing() {
		summary := b.sum.finish()
		return Trailer{}, nothingSelected(&b.header.Selection, &summary)
	}
	if err := b.around.finish(ctx); err != nil {
		return Trailer{}, err
	}
	if b.header.Selection.OfPods() {
		var err error
		if b.sum.summary.ClusterPods, err = b.source.Count(ctx, decode.Pods().NamespacePrefix(b.opts.Prefix, "")); err != nil {
			return Trailer{}, err
		}
	}
	if err := b.checkShare(ctx); err != nil {
		return Trailer{}, err
	}
	return Trailer{
		Entries:    b.sum.entries,
		Bytes:      b.sum.bytes,
		Collateral: b.around.lines(),
		Owners:     b.owners(),
		Summary:    b.sum.finish(),
	}, nil
}

// selectsNothing reports that there is nothing to plan. Owners alone are something, as long as nothing was said of what they
// have, and no guard keeps it out: an owner without dependents is still one that makes them.
func (b *builder) selectsNothing() bool {
	if b.planned > 0 {
		return false
	}
	selection := &b.header.Selection
	return b.sum.entries == 0 || selection.Whole == nil && (selection.narrowed() || len(b.sum.kept) > 0)
}

// checkShare refuses a plan that takes too many of the cluster's pods on nodes that are live or unknown. They are counted
// only if it takes any.
func (b *builder) checkShare(ctx context.Context) error {
	share := &b.sum.summary.Running
	if share.Planned == 0 {
		return nil
	}
	for record, err := range b.source.Scan(ctx, decode.Pods().NamespacePrefix(b.opts.Prefix, "")) {
		if err != nil {
			return err
		}
		// What cannot be read is not counted: the share is rather too large than too small.
		if object, class, err := b.read(decode.Pods(), &record); err != nil {
			return err
		} else if class == "" && running(&object, b.guards.nodes) {
			share.Cluster++
		}
	}
	if share.Share() <= b.opts.MaxRunningShare {
		return nil
	}
	return &RefusedError{
		Reason: fmt.Sprintf("the plan takes %d of the %d pods that run on nodes which are live or unknown: %.1f%%, and %g%% are the most",
			share.Planned, share.Cluster, share.Share(), b.opts.MaxRunningShare),
		Advice: fmt.Sprintf("a narrower selection takes fewer; --max-running-share %g allows as many, if the cluster can do without them", math.Ceil(share.Share())),
	}
}

func nothingSelected(s *Selection, summary *Summary) error {
	if s.Whole != nil && len(summary.Unreadable) > 0 {
		return &RefusedError{
			Reason: fmt.Sprintf("nothing in the namespace %s can be judged, such as %s: %s", s.Whole.Name, summary.Unreadable[0].Examples[0], summary.Unreadable[0].Reason),
			Advice: "--encryption-config reads what is encrypted",
		}
	}
	if s.Whole != nil {
		return &RefusedError{
			Reason: "there is no namespace " + s.Whole.Name + ", and nothing that one of that name has left behind",
			Advice: "check the name and --etcd-prefix",
		}
	}
	reason := fmt.Sprintf("nothing to delete among %d records: no %s", summary.Scanned, strings.Join(s.Words(), ", "))
	for i := range s.Owners {
		if s.Owners[i].Absent {
			reason += fmt.Sprintf("; there is no %s", &s.Owners[i])
		}
	}
	advice := "check the namespace, the owner's name and --etcd-prefix"
	for _, kept := range summary.KeptOut {
		reason += fmt.Sprintf("; %d kept out by %s", kept.Count, kept.Reason)
		advice = "--allow lifts a guard by its name, if you are sure"
	}
	for _, class := range summary.Unreadable {
		reason += fmt.Sprintf("; %d unreadable: %s", class.Count, class.Reason)
	}
	return &RefusedError{Reason: reason, Advice: advice}
}
