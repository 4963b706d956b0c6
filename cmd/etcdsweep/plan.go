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
	"k8s.io/apimachinery/pkg/runtime/schema"

	"etcdsweep/durable"
	"etcdsweep/plan"
)

type planOptions struct {
	connectOptions
	prefix      string
	out         string
	namespaces  []string
	jobs        []string
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
	var o planOptions
	cmd := &cobra.Command{
		Use:   "plan -o FILE [-n NAMESPACE]... [--job [NAMESPACE/]NAME]... [flags]",
		Short: "Write down exactly what would go; changes nothing",
		Long: `Read the pods of the namespaces once, and write a plan: every key to delete, and why.
A pod must meet every flag that is given; a flag that is repeated means any of its
values. The owners' own records are planned as roots, to be deleted first. If something
above them still stands, such as a CronJob, it would make them again: the plan is
refused unless --include-owners plans it too or --keep-roots leaves the roots.

Kept out by a guard, which --allow lifts by its name: pods in kube-system, kube-public and
kube-node-lease, mirror pods, pods of DaemonSets and StatefulSets, pods that use a
PersistentVolumeClaim, pods that run on a node that is not known to be dead, and pods with
a finalizer other than the Job controller's. Values that cannot be read are counted and
never selected. When a running pod is selected, planning waits up to --lease-duration to
see which nodes' leases move.

What else goes with the roots, because the garbage collector of a running
kube-controller-manager deletes it, is listed. --allow collateral accepts that, and
--allow data-loss that PersistentVolumeClaims are among it.`,
		Example: `  etcdsweep plan -n batch --job runaway -o runaway.plan
  etcdsweep plan --job batch/runaway-a --job batch/runaway-b -o runaway.plan
  etcdsweep plan -n batch --selector app=import --phase Failed --older-than 1h -o failed.plan`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), cmd, s) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVarP(&o.out, "out", "o", "", "the plan file to write; it must not exist")
	f.StringArrayVarP(&o.namespaces, "namespace", "n", nil, "look in this namespace (repeatable)")
	f.StringArrayVar(&o.jobs, "job", nil, "pods of this Job, as NAME or NAMESPACE/NAME (repeatable)")
	f.StringVarP(&o.selector, "selector", "l", "", "pods with these labels, as kubectl takes them")
	f.StringArrayVar(&o.phases, "phase", nil, "pods in this phase: Pending, Running, Succeeded, Failed, Unknown (repeatable)")
	f.StringArrayVar(&o.nodes, "node", nil, "pods on this node (repeatable)")
	f.DurationVar(&o.olderThan, "older-than", 0, "pods made longer ago than this, as 90m or 12h")
	f.BoolVar(&o.terminating, "terminating", false, "only pods whose deletion was asked for")
	f.IntVar(&o.limit, "limit", 0, "plan this many pods at most")
	f.BoolVar(&o.keepRoots, "keep-roots", false, "leave the owners' own records; they may make new pods")
	f.BoolVar(&o.owners, "include-owners", false, "plan what controls the owners too, and so on upward")
	f.Float64Var(&o.share, "max-running-share", plan.DefaultMaxRunningShare, "refuse to take more than this percentage of all pods on live or unknown nodes")
	f.DurationVar(&o.lease, "lease-duration", plan.DefaultLeaseDuration, "how long a lease must stand still to count as dead")
	f.StringSliceVar(&o.allow, "allow", nil, "lift a guard by its name: "+strings.Join(plan.Allowances(), ", "))
	f.StringVar(&o.prefix, "etcd-prefix", "/registry", "kube-apiserver's --etcd-prefix")
	o.addFlags(cmd)
	return cmd
}

// query turns flags into a query.
func (o *planOptions) query() (plan.Query, error) {
	q := plan.Query{
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
	if o.keepRoots && o.owners {
		return q, usagef("--keep-roots leaves the owners, --include-owners plans more of them; choose one")
	}
	if o.prefix = "/" + strings.Trim(o.prefix, "/"); o.prefix == "/" {
		return q, usagef("--etcd-prefix is empty")
	}
	for _, job := range o.jobs {
		namespace, name, qualified := strings.Cut(job, "/")
		if !qualified {
			if len(o.namespaces) != 1 {
				return q, usagef("--job %s needs one --namespace, or to be given as NAMESPACE/%s", job, job)
			}
			namespace, name = o.namespaces[0], job
		}
		if namespace == "" || name == "" || strings.Contains(name, "/") {
			return q, usagef("--job %q is neither NAME nor NAMESPACE/NAME", job)
		}
		q.Owners = append(q.Owners, plan.OwnerName{GroupKind: schema.GroupKind{Group: "batch", Kind: "Job"}, Namespace: namespace, Name: name})
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
	query, err := o.query()
	if err != nil {
		return err
	}
	file, err := durable.Create(durable.OS(), o.out)
	if err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	defer file.Abort()

	client, err := o.connect(ctx, s)
	if err != nil {
		return interrupted(ctx, err)
	}
	defer client.Close()
	status, err := client.Status(ctx)
	if err != nil {
		return interrupted(ctx, err)
	}
	screen := newScreen(s.err)
	defer screen.close()
	p, err := o.build(ctx, client, query, clusterID(status.ClusterID), file, screen)
	if err != nil {
		return interrupted(ctx, err)
	}
	screen.close()
	if err := file.Commit(); err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	warnOfPlan(s.err, p)
	printPlan(s.out, p)
	printNext(s.out, []string{
		"etcdsweep show " + shellQuote(o.out) + " --keys",
		"etcdsweep apply " + shellQuote(o.out) + " --confirm " + p.ID[:plan.MinConfirm] + repeat(o.flags),
	})
	return nil
}

func (o *planOptions) build(ctx context.Context, source plan.Source, query plan.Query, clusterID string, w io.Writer, screen *screen) (*plan.File, error) {
	screen.begin("scan", 0, count)
	opts := plan.Options{
		Tool:      version(),
		ClusterID: clusterID,
		Prefix:    o.prefix,
		KeepRoots: o.keepRoots,
		Allow:     o.allow,
		Now:       time.Now(),
		Progress:  func(scanned, _ int64) { screen.advance(scanned) },

		IncludeOwners:   o.owners,
		MaxRunningShare: o.share,
		LeaseDuration:   o.lease,
		Waiting: func(left time.Duration) {
			words := ""
			if left > 0 {
				words = fmt.Sprintf("waiting up to %s to see which nodes are alive", rounded(left))
			}
			screen.note(words)
		},
	}
	id, header, trailer, err := plan.Build(ctx, source, query, opts, w)
	if err != nil {
		return nil, err
	}
	return &plan.File{ID: id, Header: header, Trailer: trailer}, nil
}
