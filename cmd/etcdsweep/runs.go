package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dustin/go-humanize/english"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"etcdsweep/durable"
	"etcdsweep/plan"
	"etcdsweep/plan/run"
)

type runsOptions struct {
	stateDir string
	output   string
}

func newRunsCommand(s streams) *cobra.Command {
	var o runsOptions
	cmd := &cobra.Command{
		Use:   "runs",
		Short: "List the runs that are kept on this machine",
		Long: `List the runs in the state directory, the newest first: what each has deleted, how far it
came, whether it was undone, and whether its snapshot and archive are there. Those hold
Secrets; runs prune removes them.`,
		Example: `  etcdsweep runs
  etcdsweep runs -o json | jq -r '.[] | select(.state == "killed") | .directory'`,
		Args: noSuchCommand,
		RunE: func(*cobra.Command, []string) error { return o.run(s) },
	}
	addStateDirFlag(cmd, &o.stateDir)
	addOutputFlag(cmd, &o.output)
	cmd.AddCommand(newRunsPruneCommand(s))
	return cmd
}

func addStateDirFlag(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "state-dir", "", "where runs are kept (default: /var/lib/etcdsweep for root, else $XDG_STATE_HOME/etcdsweep)")
}

func (o *runsOptions) run(s streams) error {
	if err := checkOutput(o.output); err != nil {
		return err
	}
	all, err := listRuns(o.stateDir)
	if err != nil {
		return err
	}
	if o.output == outputJSON {
		if all == nil {
			all = []run.Summary{} // a list all the same
		}
		return printJSON(s.out, all)
	}
	printRuns(s.out, all)
	for i := range all {
		if all[i].Damage != "" {
			warn(s.err, all[i].Directory+" is damaged: "+all[i].Damage)
		}
	}
	return nil
}

func listRuns(given string) ([]run.Summary, error) {
	dir, err := stateDir(given)
	if err != nil {
		return nil, err
	}
	return run.List(durable.OS(), dir)
}

// printRuns prints a line for each run, and below it what it was about.
func printRuns(w io.Writer, all []run.Summary) {
	if len(all) == 0 {
		fmt.Fprintln(w, "no runs")
		return
	}
	t := newTable(w, "run", "state", "started", "deleted", "disk", "secrets")
	t.SetColumnConfigs([]table.ColumnConfig{
		{Number: 4, Align: text.AlignRight, AlignHeader: text.AlignRight},
		{Number: 5, Align: text.AlignRight, AlignHeader: text.AlignRight},
	})
	for i := range all {
		r := &all[i]
		started := ""
		if !r.Started.IsZero() {
			started = r.Started.UTC().Format("2006-01-02 15:04")
		}
		secrets := "pruned"
		switch {
		case r.Secrets:
			secrets = "there"
		case r.State == run.StatePlanned || r.State == run.StateDamaged:
			secrets = "none"
		}
		t.AppendRow(table.Row{r.ID, shortState(r), started, count(r.Deleted), size(r.Bytes), secrets})
	}
	t.Render()
	for i := range all {
		fmt.Fprintf(w, "\n%s  %s\n  %s\n", all[i].ID, about(&all[i]), all[i].Directory)
	}
}

// shortState says how far a run came or, if it was undone, the undo of it.
func shortState(r *run.Summary) string {
	state := string(cmp.Or(r.Undo, r.State))
	switch {
	case r.Undo == run.StatePartly:
		state = "partly undone"
	case r.Undo.Finished():
		state = "un" + state
	case r.Undo != "":
		state = "undo " + state
	}
	return strings.Replace(state, "done, but something is left", "done, left", 1)
}

// about says whose dependents a run has deleted, shortly.
func about(r *run.Summary) string {
	const most = 3
	if len(r.Owners) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(r.Owners[:most], ", "), len(r.Owners)-most)
	}
	return cmp.Or(strings.Join(r.Owners, ", "), "unknown")
}

type runsPruneOptions struct {
	stateDir   string
	olderThan  time.Duration
	unfinished bool
}

func newRunsPruneCommand(s streams) *cobra.Command {
	var o runsPruneOptions
	cmd := &cobra.Command{
		Use:   "prune [ID...]",
		Short: "Remove the snapshots and archives of runs: they hold Secrets",
		Long: `Remove snapshot.db and archive.zst of the runs that are named, or of every finished one that
is older than --older-than. The plan, the journals and the reports stay. A run cannot be
undone afterwards. One that is not finished is left, unless it is named and --unfinished
says that it is meant.`,
		Example: `  etcdsweep runs prune 3f9a1c2e
  etcdsweep runs prune --older-than 168h`,
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args, s) },
	}
	f := cmd.Flags()
	addStateDirFlag(cmd, &o.stateDir)
	f.DurationVar(&o.olderThan, "older-than", 0, "only runs whose last word is older than this, as 168h")
	f.BoolVar(&o.unfinished, "unfinished", false, "prune the runs that are named even if they are not finished")
	return cmd
}

func (o *runsPruneOptions) run(cmd *cobra.Command, ids []string, s streams) error {
	switch {
	case len(ids) == 0 && o.olderThan <= 0:
		return usagef("runs prune wants the IDs of runs, or --older-than")
	case len(ids) == 0 && o.unfinished:
		return usagef("--unfinished wants the IDs of runs")
	case o.olderThan < 0:
		return usagef("--older-than is not negative")
	}
	all, err := listRuns(o.stateDir)
	if err != nil {
		return err
	}
	chosen, err := choose(all, ids)
	if err != nil {
		return err
	}
	which := run.Pruning{Unfinished: o.unfinished, OlderThan: o.olderThan}
	var errs []error
	var freed int64
	pruned := 0
	for _, r := range chosen {
		old := time.Since(r.Ended) >= o.olderThan
		if !r.Secrets || !old || len(ids) == 0 && !r.Finished() {
			continue
		}
		bytes, err := r.Prune(which, openedBy(cmd, ids, r.ID), time.Now())
		freed += bytes
		if err != nil {
			errs = append(errs, err)
			continue
		}
		pruned++
		fmt.Fprintf(s.out, "%s  %s removed; it cannot be undone any more\n", r.ID, size(bytes))
	}
	fmt.Fprintf(s.out, "%s pruned, %s freed\n", english.Plural(pruned, "run", "runs"), size(freed))
	return errors.Join(errs...)
}

// choose returns the runs that are named, each by the head of its ID; all of them if none is.
func choose(all []run.Summary, ids []string) ([]*run.Summary, error) {
	var chosen []*run.Summary
	for i := range all {
		if len(ids) == 0 {
			chosen = append(chosen, &all[i])
		}
	}
	for _, id := range ids {
		var found []*run.Summary
		for i := range all {
			if len(id) >= plan.MinConfirm && strings.HasPrefix(all[i].ID, id) {
				found = append(found, &all[i])
			}
		}
		if len(found) != 1 {
			return nil, &plan.RefusedError{
				Reason: fmt.Sprintf("%d runs are called %s", len(found), id),
				Advice: fmt.Sprintf("etcdsweep runs lists them; the first %d or more digits of an ID name one", plan.MinConfirm),
			}
		}
		chosen = append(chosen, found[0])
	}
	return chosen, nil
}
