package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/labels"

	"etcdsweep/durable"
	"etcdsweep/plan"
	"etcdsweep/plan/control"
)

type planOptions struct {
	connectOptions
	paceOptions
	offline     offlineOptions
	out         string
	namespaces  []string
	jobs        []string
	cronJobs    []string
	ownerKinds  []string
	resource    string
	whole       string // namespace
	events      bool
	selector    string
	phases      []string
	nodes       []string
	olderThan   time.Duration
	terminating bool
	limit       int
	keepRoots   bool
	owners      bool // those above the roots
	share       float64
	lease       time.Duration
	allow       []string
}

func newPlanCommand(s streams) *cobra.Command {
	o := planOptions{paceOptions: newPaceOptions()}
	cmd := &cobra.Command{
		Use:   "plan -o FILE [-n NAMESPACE]... [--job [NAMESPACE/]NAME]... [--owner KIND/NAME]... [flags]",
		Short: "Write down exactly what would go; changes nothing",
		Long: `Read the pods of the namespaces once, and write a plan: every key to delete, and why.
A pod must meet every flag that is given; a flag that is repeated means any of its
values. The owners' own records are planned as roots, to be deleted first; so are those of
the owners that these control: the Jobs of a CronJob, the ReplicaSets of a Deployment, and
custom resources. If something above them still stands, such as a CronJob, it would make them again: the plan is
refused unless --include-owners plans it too or --keep-roots leaves the roots.

Kept out by a guard, which --allow lifts by its name: pods in kube-system, kube-public and
kube-node-lease, mirror pods, pods of DaemonSets and StatefulSets, pods that use a
PersistentVolumeClaim, pods that run on a node that is not known to be dead, and pods with
a finalizer other than the Job controller's. Values that cannot be read are counted and
never selected. When a running pod is selected, planning waits up to --lease-duration to
see which nodes' leases move.

--resource plans other objects than pods, under the same selection and guards: built-in
ones that are in a namespace, and custom ones. --with-events plans the events of the
planned pods as well.

--whole-namespace plans every key of every resource in a namespace: owners, pods, the
rest, and the Namespace itself when it is empty. It is planned whole or not at all: what a
guard keeps out, or what cannot be read, refuses the plan, which names each --allow that
it takes. Objects of that name that are in no namespace are never taken. While an
apiserver is alive, kubectl delete namespace is the better way: see the runbook.

What else goes with the roots, because the garbage collector of a running
kube-controller-manager deletes it, is listed. --allow collateral accepts that, and
--allow data-loss that PersistentVolumeClaims are among it.

--from-snapshot rehearses: it plans from a snapshot, or from the database file of a member
that is stopped, and such a plan is never applied.`,
		Example: `  etcdsweep plan -n batch --job runaway -o runaway.plan
  etcdsweep plan --job batch/runaway-a --job batch/runaway-b -o runaway.plan
  etcdsweep plan --cronjob ops/tick --with-events -o tick.plan
  etcdsweep plan -n web --owner Deployment/web -o web.plan
  etcdsweep plan -n argo --owner Workflow.argoproj.io/import-x7k2p -o workflow.plan
  etcdsweep plan -n batch --selector app=import --phase Failed --older-than 1h -o failed.plan
  etcdsweep plan --whole-namespace doomed --allow finalizer=example.com/hold -o doomed.plan
  etcdsweep plan -n batch --resource reports.policy.example.com --older-than 1h -o reports.plan`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), cmd, s) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVarP(&o.out, "out", "o", "", "the plan file to write; it must not exist")
	f.StringArrayVarP(&o.namespaces, "namespace", "n", nil, "look in this namespace (repeatable)")
	f.StringArrayVar(&o.jobs, "job", nil, "pods of this Job, as NAME or NAMESPACE/NAME (repeatable)")
	f.StringArrayVar(&o.cronJobs, "cronjob", nil, "pods of this CronJob's Jobs, as NAME or NAMESPACE/NAME (repeatable)")
	f.StringArrayVar(&o.ownerKinds, "owner", nil, "pods of this owner, as KIND[.GROUP]/NAME or NAMESPACE/KIND[.GROUP]/NAME (repeatable)")
	f.StringVar(&o.resource, "resource", "", "plan objects of this resource instead of pods, as events or reports.policy.example.com")
	f.StringVar(&o.whole, "whole-namespace", "", "plan this namespace with all that is in it, and nothing else")
	f.StringVarP(&o.selector, "selector", "l", "", "pods with these labels, as kubectl takes them")
	f.StringArrayVar(&o.phases, "phase", nil, "pods in this phase: Pending, Running, Succeeded, Failed, Unknown (repeatable)")
	f.StringArrayVar(&o.nodes, "node", nil, "pods on this node (repeatable)")
	f.DurationVar(&o.olderThan, "older-than", 0, "pods made longer ago than this, as 90m or 12h")
	f.BoolVar(&o.terminating, "terminating", false, "only pods whose deletion was asked for")
	f.IntVar(&o.limit, "limit", 0, "plan this many pods at most")
	f.BoolVar(&o.events, "with-events", false, "plan the events of the planned pods, too")
	f.BoolVar(&o.keepRoots, "keep-roots", false, "leave the owners' own records; they may make new pods")
	f.BoolVar(&o.owners, "include-owners", false, "plan what controls the owners too, and so on upward")
	f.Float64Var(&o.share, "max-running-share", plan.DefaultMaxRunningShare, "refuse to take more than this percentage of all pods on live or unknown nodes")
	f.DurationVar(&o.lease, "lease-duration", plan.DefaultLeaseDuration, "how long a lease must stand still to count as dead")
	f.StringSliceVar(&o.allow, "allow", nil, "lift a guard by its name: "+strings.Join(plan.Allowances(), ", "))
	o.addScanFlag(f)
	o.offline.addFlags(cmd)
	o.addFlags(cmd)
	o.addEncryptionFlag(cmd)
	o.addPrefixFlag(cmd)
	return cmd
}

// query turns flags into a query.
func (o *planOptions) query() (plan.Query, error) {
	q := plan.Query{
		Resource:   o.resource,
		WithEvents: o.events,

		WholeNamespace: o.whole,

		Namespaces:  o.namespaces,
		Phases:      o.phases,
		Nodes:       o.nodes,
		OlderThan:   o.olderThan,
		Terminating: o.terminating,
		Limit:       o.limit,
	}
	if o.out == "" {
		return q, usagef("-o FILE is missing: where to write the plan")
	}
	if o.limit < 0 || o.olderThan < 0 {
		return q, usagef("--limit and --older-than are not negative")
	}
	if !(o.share > 0 && o.share <= 100) {
		return q, usagef("--max-running-share %g is not a percentage above 0", o.share)
	}
	if o.lease < 0 {
		return q, usagef("--lease-duration is not negative")
	}
	if o.whole != "" && (o.keepRoots || o.owners) {
		return q, usagef("--whole-namespace leaves no owner, and plans none outside of it: it goes without --keep-roots and --include-owners")
	}
	if o.keepRoots && o.owners {
		return q, usagef("--keep-roots leaves the owners, --include-owners plans more of them; choose one")
	}
	var err error
	if q.Owners, err = o.ownerNames(); err != nil {
		return q, err
	}
	if o.selector != "" {
		selector, err := labels.Parse(o.selector)
		if err != nil {
			return q, usagef("--selector %q: %w", o.selector, err)
		}
		q.Selector = selector
	}
	if err := q.Validate(); err != nil {
		if is[*plan.RefusedError](err) {
			return q, err
		}
		return q, usageError{err}
	}
	if _, err := plan.NewGuards(o.allow); err != nil {
		return q, usageError{err}
	}
	return q, nil
}

// noEmptyFlags refuses a flag that is given and says nothing, as --job "$JOB" does without a JOB: the selection would be
// wider than it was meant.
func noEmptyFlags(flags *pflag.FlagSet) error {
	var err error
	flags.Visit(func(flag *pflag.Flag) {
		values := []string{flag.Value.String()}
		if list, ok := flag.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		number := flag.Value.Type() == "int" || flag.Value.Type() == "duration"
		if len(values) == 0 || slices.Contains(values, "") || number && strings.TrimRight(values[0], "0s") == "" {
			err = usagef("--%s is given, and empty", flag.Name)
		}
		if flag.Value.Type() == "stringArray" && strings.Contains(strings.Join(values, ""), ",") {
			err = usagef("--%s takes one value; repeat the flag for more", flag.Name)
		}
	})
	return err
}

func (o *planOptions) run(ctx context.Context, cmd *cobra.Command, s streams) error {
	if err := noEmptyFlags(cmd.Flags()); err != nil {
		return err
	}
	if err := o.offline.check(o.flags); err != nil {
		return err
	}
	query, err := o.query()
	if err != nil {
		return err
	}
	file, err := durable.Create(durable.OS(), o.out)
	if err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	defer file.Abort()

	screen := newScreen(s.err)
	defer screen.close()
	p, err := o.build(ctx, query, file, s, screen)
	if err != nil {
		return interrupted(ctx, err)
	}
	screen.close()
	if err := file.Commit(); err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	warnOfPlan(s.err, p)
	printPlan(s.out, p)
	next := []string{"etcdsweep show " + shellQuote(o.out) + " --keys"}
	if !o.offline.given() {
		next = append(next, "etcdsweep apply "+shellQuote(o.out)+" --confirm "+p.ID[:plan.MinConfirm]+repeat(o.flags))
	}
	printNext(s.out, next)
	return nil
}

// build plans from a cluster, or from a file.
func (o *planOptions) build(ctx context.Context, query plan.Query, w io.Writer, s streams, screen *screen) (*plan.File, error) {
	if o.offline.given() {
		view, err := o.openView(ctx, &o.offline, s)
		if err != nil {
			return nil, err
		}
		defer view.Close()
		origin := view.Origin()
		rehearsal := plan.Rehearsal{File: origin.Path, Revision: origin.Revision, SHA256: origin.SHA256}
		return o.buildFrom(ctx, view, query, plan.Options{Rehearsal: &rehearsal}, w, screen)
	}
	client, err := o.connect(ctx, s)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	status, err := client.Status(ctx)
	if err != nil {
		return nil, err
	}
	_, stop := o.readPacer(ctx, client, screen)
	defer stop()
	return o.buildFrom(ctx, client, query, plan.Options{ClusterID: clusterID(status.ClusterID)}, w, screen)
}

func (o *planOptions) buildFrom(ctx context.Context, source plan.Source, query plan.Query, opts plan.Options, w io.Writer, screen *screen) (*plan.File, error) {
	screen.begin("scan", 0, control.Keys)
	opts.Tool, opts.Now = version(), time.Now()
	opts.Prefix, opts.Elsewhere = o.registry.prefix, o.registry.elsewhere()
	opts.KeepRoots, opts.IncludeOwners, opts.Allow = o.keepRoots, o.owners, o.allow
	opts.MaxRunningShare, opts.LeaseDuration = o.share, o.lease
	opts.Progress = func(scanned, _ int64) { screen.advance(scanned) }
	opts.Waiting = func(left time.Duration) {
		words := ""
		if left > 0 {
			words = fmt.Sprintf("waiting up to %s to see who is alive", rounded(left))
		}
		screen.await(words)
	}
	id, header, trailer, err := plan.Build(ctx, source, query, opts, w)
	if err != nil {
		return nil, err
	}
	return &plan.File{ID: id, Header: header, Trailer: trailer}, nil
}
