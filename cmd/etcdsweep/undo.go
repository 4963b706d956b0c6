package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"etcdsweep/durable"
	"etcdsweep/etcdops"
	"etcdsweep/plan"
	"etcdsweep/plan/controllers"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/run"
	"etcdsweep/plan/undo"
)

type undoOptions struct {
	connectOptions
	paceOptions
	confirm string
	only    []string
	dryRun  bool

	leaseDuration time.Duration
	allow         []string
	output        string
}

func newUndoCommand(s streams) *cobra.Command {
	o := undoOptions{paceOptions: newPaceOptions()}
	cmd := &cobra.Command{
		Use:   "undo RUN-DIR --confirm ID",
		Short: "Put back what a run has deleted",
		Long: `Put back, byte for byte, what the run in RUN-DIR has archived and what is now absent:
owners before what they own, each key in a transaction of its own, and only where there
is none. What exists again is left alone. At the end all of it is read again and compared.

The pace follows the cluster's health, as that of apply does.

kube-controller-manager must be stopped before, on every control-plane node, and started
afterwards. Its garbage collector remembers the deleted owners, and deletes what is put
back; measured, it destroyed 200 of 200 pods within 20 s.

Ctrl-C lets what is in flight finish; the same command goes on. With --only a part is put
back, and the rest can follow. An undo that is done can be given again: it looks at
everything anew, and puts back what is absent.`,
		Example: `  etcdsweep undo /var/lib/etcdsweep/runs/3f9a1c2e5b7d8f60 --confirm 3f9a1c2e --dry-run
  etcdsweep undo /var/lib/etcdsweep/runs/3f9a1c2e5b7d8f60 --confirm 3f9a1c2e
  etcdsweep undo /var/lib/etcdsweep/runs/3f9a1c2e5b7d8f60 --confirm 3f9a1c2e --only app=import`,
		Args: oneArg("RUN-DIR"),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), cmd, args[0], s) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.confirm, "confirm", "", fmt.Sprintf("the first %d or more digits of the plan's ID; asked for on a terminal", plan.MinConfirm))
	f.StringArrayVar(&o.only, "only", nil, "put back this key, or what has these labels, as kubectl takes them (repeatable)")
	f.BoolVar(&o.dryRun, "dry-run", false, "say what would be put back, and write nothing")
	o.addPaceFlags(f, "writes")
	f.StringSliceVar(&o.allow, "allow", nil, "accept a risk by its name: "+strings.Join(undo.Allowances(), ", "))
	f.DurationVar(&o.leaseDuration, "lease-duration", controllers.DefaultStill, "how long a lease stands still when its holder is dead")
	addOutputFlag(cmd, &o.output)
	o.addThresholdFlags(f)
	o.addFlags(cmd)
	o.addEncryptionFlag(cmd)
	return cmd
}

func (o *undoOptions) validate() error {
	if err := checkOutput(o.output); err != nil {
		return err
	}
	if o.leaseDuration <= 0 {
		return usagef("--lease-duration %s: want more than 0s", o.leaseDuration)
	}
	if err := o.checkPace(); err != nil {
		return err
	}
	return checkAllowed(o.allow, undo.Allowances())
}

func (o *undoOptions) run(ctx context.Context, cmd *cobra.Command, path string, s streams) (err error) {
	outliveTerminal()
	if err := o.validate(); err != nil {
		return err
	}
	dir, p, err := run.FindDir(durable.OS(), path)
	if err != nil {
		return err
	}
	only, err := undo.ParseOnly(o.only, p.Header.Prefix)
	if err != nil {
		return usagef("--only: %w", err)
	}
	if !o.dryRun {
		err := confirmed(ctx, o.confirm, p, s, newLines(s.in), func(w io.Writer) {
			printPlan(w, p)
			fmt.Fprint(w, "\nThis puts back what the run of this plan has deleted.")
		})
		if err != nil {
			return err
		}
	}
	o.registry.prefix = p.Header.Prefix
	client, err := o.connect(ctx, s)
	if err != nil {
		return interrupted(ctx, err)
	}
	defer client.Close()
	session, err := openSession(dir.StateDir(), p, openedBy(cmd, []string{path}, p.ID), s, func() (*run.Dir, error) { return dir, nil })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, session.close()) }()
	again := "etcdsweep undo " + shellQuote(path) + " --confirm " + p.ID[:plan.MinConfirm] + repeat(cmd.Flags())
	return o.carryOut(ctx, client, p, only, session, again)
}

// carryOut undoes the run, and says what became of it. An interrupted undo is told how to go on: by the command again.
func (o *undoOptions) carryOut(ctx context.Context, client *etcdops.Client, p *plan.File, only undo.Only, s *session, again string) error {
	quiet := s.warnWhenInterrupted(ctx)
	defer quiet()
	s.screen.lease = o.leaseDuration
	o.pace.ReadsOnly = o.dryRun
	pacer := o.pacer(client)
	s.steer(ctx, pacer)
	report, err := undo.Run(ctx, undo.Config{
		Plan:        p,
		Cluster:     cluster{client, p.Header.Prefix},
		Dir:         s.dir,
		Opened:      s.opened,
		Only:        only,
		Allow:       o.allow,
		DryRun:      o.dryRun,
		Pace:        pacer,
		Concurrency: o.pace.Concurrency,

		StopWords:     findLayout("/").stopWords(),
		LeaseDuration: o.leaseDuration,

		Now:     time.Now,
		Observe: s.screen.observe,
	})
	s.screen.close()
	s.ended(err, report != nil)
	if report == nil {
		return err
	}
	if o.output == outputJSON {
		return errors.Join(err, printJSON(s.out, report))
	}
	printUndoReport(s.out, report, s.dir)
	if report.DryRun {
		return err
	}
	if !report.State.Finished() {
		printNext(s.out, []string{again})
	} else if report.ControllersStill {
		s.screen.warn(controllerManager + " stands still, and the cluster needs it: " + findLayout("/").startWords())
	}
	return err
}

// printUndoReport prints what an undo did, or what it would do.
func printUndoReport(w io.Writer, r *undo.Report, dir *run.Dir) {
	if r.DryRun {
		fmt.Fprintf(w, "\nUndo of plan %s: nothing was written; this is what it would come to\n\n", r.Plan)
	} else {
		fmt.Fprintf(w, "\nUndo of plan %s: %s\n", r.Plan, r.State)
		fmt.Fprintf(w, "  %s, from %s to %s\n", rounded(r.Ended.Sub(r.Started)), stamp(r.Started), stamp(r.Ended))
		if r.Attempts > 1 {
			fmt.Fprintf(w, "  in %d attempts\n", r.Attempts)
		}
		fmt.Fprintln(w)
	}
	t := newTable(w, "outcome", "objects")
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 2, Align: text.AlignRight, AlignHeader: text.AlignRight}})
	for _, outcome := range journal.Restorations() {
		if n := r.Objects.Outcomes[outcome]; outcome == journal.Restored || n > 0 {
			t.AppendRow(table.Row{outcome.Words(), count(n)})
		}
	}
	t.AppendRow(table.Row{"of selected", count(r.Selected)})
	t.Render()

	if r.FirstRevision > 0 {
		fmt.Fprintf(w, "\nwrites are revisions %d to %d\n", r.FirstRevision, r.LastRevision)
	}
	printKeptOut(w, "Left alone", r.Objects.Skipped)
	if r.State.Finished() && !r.DryRun {
		fmt.Fprintf(w, "\nRead again: %s objects, %s of them the same to the byte\n", count(r.Compared), count(r.Compared-r.Different()))
	}
	printKeptOut(w, "Put back, and different when it was read again", r.Differences)
	if r.DryRun {
		return
	}
	printPauses(w, r.Pauses)
	printLatencies(w, &r.Latencies)
	fmt.Fprintf(w, "\nreport    %s\n", dir.UndoReport())
	fmt.Fprintf(w, "log       %s\n", dir.Log())
}
