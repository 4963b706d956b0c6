package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"etcdsweep/etcdops/snapshot"
	"etcdsweep/plan/census"
	"etcdsweep/plan/control"
)

type topOptions struct {
	connectOptions
	paceOptions
	offline    offlineOptions
	by         string
	resource   string
	all        bool
	namespaces []string
	rows       int
	output     string
}

func newTopCommand(s streams) *cobra.Command {
	o := topOptions{paceOptions: newPaceOptions()}
	cmd := &cobra.Command{
		Use:   "top [--by owner|namespace|node|phase|reason|resource|label=KEY] [flags]",
		Short: "Who fills etcd? Reads only",
		Long: `Count what is in etcd, in one scan, and show the largest groups: how many, how large, how
old, how many were made in each minute of the hour before the newest, and how many are
terminating. Owners are followed up to the highest one that stands: from a Pod by its Job
to a CronJob, by its ReplicaSet to a Deployment, and through custom resources.

Owners that have likely run away are named in words, each with the command that plans the
removal of what they made. They are those with a hundred objects at least and a twentieth
of all, of whose pods at most a tenth runs. Nothing is deleted, and whether it may go is for
the plan.

Pods are counted, unless --resource names another resource, or --all counts all of them.
What cannot be read is counted by what is wrong with it.

--from-snapshot reads a snapshot, or the database file of a member that is stopped.`,
		Example: `  etcdsweep top
  etcdsweep top --by node
  etcdsweep top -n batch --by label=app
  etcdsweep top --all
  etcdsweep top --resource events --by reason
  etcdsweep top --from-snapshot backup.db -o json | jq '.groups[0]'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), cmd, s) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.by, "by", string(census.ByOwner), "count by owner, namespace, node, phase, reason, resource or label=KEY")
	f.StringVar(&o.resource, "resource", "", "count objects of this resource instead of pods, as events or reports.policy.example.com")
	f.BoolVar(&o.all, "all", false, "count the objects of all resources, by resource if --by says nothing else")
	f.StringArrayVarP(&o.namespaces, "namespace", "n", nil, "look in this namespace only (repeatable)")
	f.IntVar(&o.rows, "rows", maxRows, "show this many groups")
	addOutputFlag(cmd, &o.output)
	o.addScanFlag(f)
	o.offline.addFlags(cmd)
	o.addFlags(cmd)
	o.addEncryptionFlag(cmd)
	o.addPrefixFlag(cmd)
	return cmd
}

// census turns flags into what is to be counted.
func (o *topOptions) census(byGiven bool) (census.Options, error) {
	by, err := census.ParseDimension(o.by)
	if err != nil {
		return census.Options{}, usagef("--by: %w", err)
	}
	if o.all && !byGiven {
		by = census.ByResource
	}
	switch all := o.all || by == census.ByResource && o.resource == ""; {
	case o.rows < 1:
		return census.Options{}, usagef("--rows %d shows nothing", o.rows)
	case o.all && o.resource != "":
		return census.Options{}, usagef("--resource counts one resource, --all counts all; choose one")
	case all && len(o.namespaces) > 0:
		return census.Options{}, usagef("--namespace narrows one resource; all of them are counted in all namespaces")
	default:
		return census.Options{By: by, Resource: o.resource, All: all, Namespaces: o.namespaces}, nil
	}
}

func (o *topOptions) run(ctx context.Context, cmd *cobra.Command, s streams) error {
	if err := noEmptyFlags(cmd.Flags()); err != nil {
		return err
	}
	if err := checkOutput(o.output); err != nil {
		return err
	}
	if err := o.offline.check(o.flags); err != nil {
		return err
	}
	opts, err := o.census(cmd.Flags().Changed("by"))
	if err != nil {
		return err
	}
	screen := newScreen(s.err)
	defer screen.close()
	source, origin, done, err := o.source(ctx, s, screen)
	if err != nil {
		return interrupted(ctx, err)
	}
	defer done()
	screen.begin("count", 0, control.Keys)
	said := interim{every: time.Second, last: time.Now()}
	opts.Prefix = o.registry.prefix
	opts.Progress = func(counted int64, soFar func() *census.Report) {
		screen.advance(counted)
		if isTerminal(s.err) && said.due(time.Now()) {
			screen.say(interimWords(soFar()))
		}
	}
	report, err := census.Take(ctx, source, opts)
	if err != nil {
		return interrupted(ctx, err)
	}
	screen.close()
	result := topResult{Report: report, From: origin, what: o.what(opts), Culprits: o.culprits(report)}
	if o.output == outputJSON {
		return printJSON(s.out, &result)
	}
	result.print(s.out, o.rows, time.Now())
	return nil
}

// source opens what is to be read: a cluster, or a file.
func (o *topOptions) source(ctx context.Context, s streams, screen *screen) (source census.Source, origin *snapshot.Origin, done func(), err error) {
	if !o.offline.given() {
		client, err := o.connect(ctx, s)
		if err != nil {
			return nil, nil, nil, err
		}
		_, stop := o.readPacer(ctx, client, screen)
		return client, nil, func() { stop(); client.Close() }, nil
	}
	view, err := o.openView(ctx, &o.offline, s)
	if err != nil {
		return nil, nil, nil, err
	}
	from := view.Origin()
	return view, &from, func() { view.Close() }, nil
}

// what names what is counted.
func (o *topOptions) what(opts census.Options) string {
	switch {
	case opts.All:
		return "objects"
	case opts.Resource == "":
		return "pods"
	default:
		return opts.Resource
	}
}

// interim decides when what was counted so far is worth saying: after a while, and then ever more seldom.
type interim struct {
	every time.Duration
	last  time.Time
}

func (i *interim) due(now time.Time) bool {
	if now.Sub(i.last) < i.every {
		return false
	}
	i.every, i.last = 2*i.every, now
	return true
}

// interimWords are the first lines of what will be shown.
func interimWords(r *census.Report) string {
	const first = 3
	var text strings.Builder
	fmt.Fprintf(&text, "so far, of %s:\n", count(r.Total.Count))
	for i, g := range r.Groups {
		if i == first {
			break
		}
		fmt.Fprintf(&text, "  %9s  %5.1f%%  %s\n", count(g.Count), g.Share, cut(groupName(r.By, g), width-22))
	}
	return text.String()
}

// culprit is a group that has likely run away.
type culprit struct {
	Name    string `json:"name"`
	Words   string `json:"words"`
	Command string `json:"command,omitempty"` // that plans its removal; "" if none can be given
}

func (o *topOptions) culprits(r *census.Report) []culprit {
	const most = 5
	var all []culprit
	for _, g := range r.Culprits() {
		if len(all) == most {
			break
		}
		all = append(all, culprit{g.Name, culpritWords(r, g, o.resource), o.planCommand(g)})
	}
	return all
}

// culpritWords says why a group is suspected, and what its owner is.
func culpritWords(r *census.Report, g *census.Group, resource string) string {
	pods := resource == ""
	what := "pods"
	if !pods {
		what = resource
	}
	words := fmt.Sprintf("%s has %s %s, %.1f%% of all.", g.Name, count(g.Count), what, g.Share)
	switch {
	case g.Terminating == g.Count:
		words += " All of them are terminating, and stay."
	case g.Terminating > 0:
		words += fmt.Sprintf(" %s of them are terminating, and stay.", count(g.Terminating))
	}
	switch {
	case !pods:
	case g.Running == 0:
		words += " None runs."
	default:
		words += fmt.Sprintf(" %s run, and are left out of a plan.", count(g.Running))
	}
	if g.Node != "" {
		words += fmt.Sprintf(" All are on node %s.", g.Node)
	}
	if n := g.LastHour(); n > 0 {
		words += fmt.Sprintf(" In the hour before the newest %s were made, %s in the busiest minute.", count(n), count(g.BusiestMinute()))
	}
	return words + " " + ownerWords(g.Owner)
}

// ownerWords says what is known of an owner's own record.
func ownerWords(o *census.Owner) string {
	words := ""
	for _, kind := range o.Direct() {
		words += fmt.Sprintf("They are its own through %s of kind %s. ", count(o.Through[kind]), kind)
	}
	switch o.State {
	case census.Standing:
		words += "Its own record stands, so it may make more."
	case census.Gone:
		words += "Its own record is gone."
	case census.Sealed:
		words += "Its own record cannot be read."
	default:
		words += "Where its kind is stored is not known."
	}
	if o.Namespace == "" {
		words += " It is in no namespace: plan takes it as --owner with --keep-roots, and -n for each namespace that top --by namespace shows."
	}
	if o.Above != nil {
		words += fmt.Sprintf(" It is controlled by %s, of which nothing is known.", o.Above)
	}
	return words
}

// planCommand plans the removal of what an owner has made, "" if a plan could not tell what that is.
func (o *topOptions) planCommand(g *census.Group) string {
	owner := g.Owner
	if owner.State == census.Sealed || owner.State == census.Unknown || owner.Namespace == "" {
		return ""
	}
	words := []string{"etcdsweep plan"}
	add := func(flag, value string) { words = append(words, flag, shellQuote(value)) }
	add("-n", owner.Namespace)
	switch kind := owner.GroupKind(); {
	case kind.Group == "batch" && kind.Kind == "Job":
		add("--job", owner.Name)
	case kind.Group == "batch" && kind.Kind == "CronJob":
		add("--cronjob", owner.Name)
	default:
		add("--owner", ownerKind(owner)+"/"+owner.Name)
	}
	if o.resource != "" {
		add("--resource", o.resource)
	}
	if owner.Above != nil {
		words = append(words, "--keep-roots")
	}
	if o.offline.given() {
		add("--"+fromSnapshotFlag, o.offline.path)
	}
	if o.offline.revision > 0 {
		add("--rev", fmt.Sprint(o.offline.revision))
	}
	add("-o", owner.Namespace+"-"+owner.Name+".plan")
	return strings.Join(words, " ") + o.again()
}
