package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"etcdsweep/durable"
	"etcdsweep/etcdops"
	"etcdsweep/plan"
	"etcdsweep/plan/apply"
	"etcdsweep/plan/controllers"
	"etcdsweep/plan/run"
)

type applyOptions struct {
	connectOptions
	paceOptions
	confirm   string
	stateDir  string
	noChase   bool
	chaseMax  int64
	settle    time.Duration
	settleMax time.Duration

	leaseDuration time.Duration
	allow         []string
	output        string
}

func newApplyCommand(s streams) *cobra.Command {
	o := applyOptions{paceOptions: newPaceOptions()}
	cmd := &cobra.Command{
		Use:   "apply FILE --confirm ID",
		Short: "Snapshot, prove, delete what the plan lists, verify",
		Long: `Carry out a plan: check the cluster, take a snapshot and prove that it holds every entry,
delete the roots, wait until they make no more pods, delete the pods, each in a
transaction of its own that compares its revisions, delete the newcomers, and scan
again. The raw bytes of all that goes are in the archive before it goes; what has
drifted is judged, and archived, again. "etcdsweep undo" puts it back.

The pace follows the cluster's health, as it was measured for --baseline: between
--min-rate and --rate a second, slower when latencies, disks or watchers leave their
baseline, paused when the leader changes or a member is lost, and ended, with exit
status 4, on a CORRUPT alarm or without a quorum for --critical-after. It says why.

If kube-controller-manager is alive, a terminal is asked to have it stopped first.

Ctrl-C lets what is in flight finish, says where the run stands, and exits with 130. A
second Ctrl-C ends the process at once. However a run ended, the same command goes on
where it stood, and does nothing twice. A lost terminal stops nothing: all that is said
is in the log of the run's directory.`,
		Example: `  etcdsweep apply runaway.plan --confirm 3f9a1c2e
  etcdsweep apply runaway.plan --confirm 3f9a1c2e --rate 100`,
		Args: oneArg("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), cmd, args[0], s) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.confirm, "confirm", "", fmt.Sprintf("the first %d or more digits of the plan's ID; asked for on a terminal", plan.MinConfirm))
	o.addPaceFlags(f, "deletes")
	o.addSnapshotFlag(f)
	f.BoolVar(&o.noChase, "no-chase", false, "leave pods that the planned owners made after the plan")
	f.Int64Var(&o.chaseMax, "chase-max", 0, "the most of those to delete (default: the larger of 1000 and half of the plan)")
	f.DurationVar(&o.settle, "settle", 0, "time without births to wait for between roots and pods (default: by the pace of births, 5s to 60s)")
	f.DurationVar(&o.settleMax, "settle-max", apply.DefaultSettleMax, "stop if births go on for longer")
	f.StringSliceVar(&o.allow, "allow", nil, "accept a risk by its name: "+strings.Join(apply.Allowances(), ", "))
	f.DurationVar(&o.leaseDuration, "lease-duration", controllers.DefaultStill, "how long "+controllerManager+"'s lease stands still when nobody leads")
	f.StringVar(&o.stateDir, "state-dir", "", "where runs are kept (default: /var/lib/etcdsweep for root, else $XDG_STATE_HOME/etcdsweep)")
	addOutputFlag(cmd, &o.output)
	o.addThresholdFlags(f)
	o.addFlags(cmd)
	o.addEncryptionFlag(cmd)
	return cmd
}

func (o *applyOptions) validate() error {
	if err := checkOutput(o.output); err != nil {
		return err
	}
	switch {
	case o.chaseMax < 0:
		return usagef("--chase-max %d: want 0, for the default, or more", o.chaseMax)
	case o.settle < 0 || o.settleMax < 0:
		return usagef("--settle and --settle-max: want 0s or more")
	case o.leaseDuration <= 0:
		return usagef("--lease-duration %s: want more than 0s", o.leaseDuration)
	}
	if err := o.checkPace(); err != nil {
		return err
	}
	return checkAllowed(o.allow, apply.Allowances())
}

func (o *applyOptions) run(ctx context.Context, cmd *cobra.Command, path string, s streams) (err error) {
	outliveTerminal()
	if err := o.validate(); err != nil {
		return err
	}
	p, err := plan.Open(path)
	if err != nil {
		return err
	}
	if refused := p.Header.NotApplicable(); refused != nil {
		return refused
	}
	input := newLines(s.in)
	err = confirmed(ctx, o.confirm, p, s, input, func(w io.Writer) {
		printPlan(w, p)
		fmt.Fprintf(w, "\nThis deletes %s keys.", count(p.Trailer.Entries))
	})
	if err != nil {
		return err
	}
	stateDir, err := stateDir(o.stateDir)
	if err != nil {
		return err
	}
	if dir := run.DirOf(durable.OS(), stateDir, p); dir.Began() {
		report, err := apply.Finished(dir)
		if report != nil {
			err = errors.Join(o.print(s.out, p, report, dir), err)
		}
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
	session, err := openSession(stateDir, p, openedBy(cmd, []string{path}, p.ID), s, func() (*run.Dir, error) {
		return run.MakeDir(durable.OS(), stateDir, p)
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, session.close()) }()
	if p, err = session.dir.KeepPlan(p); err != nil {
		return err
	}
	again := "etcdsweep apply " + shellQuote(path) + " --confirm " + p.ID[:plan.MinConfirm] + repeat(cmd.Flags())
	return o.carryOut(ctx, client, p, session, input, again)
}

// carryOut runs the plan, and says what became of it. An interrupted run is told how to go on: by the command again.
func (o *applyOptions) carryOut(ctx context.Context, client *etcdops.Client, p *plan.File, s *session, input *lines, again string) error {
	quiet := s.warnWhenInterrupted(ctx)
	layout := findLayout("/")
	var offer func(context.Context, *controllers.Watch) error
	if s.interactive() {
		offer = func(ctx context.Context, w *controllers.Watch) error {
			_, err := offerStop(ctx, w, layout, o.leaseDuration, s.screen, input)
			if err != nil && w.Sight().Still >= o.leaseDuration/2 { // it was stopped, on a node at least
				s.screen.warn(controllerManager + " stands still; if the run is not to be, " + layout.startWords())
			}
			return err
		}
	}
	s.screen.lease = o.leaseDuration
	pacer := o.pacer(client)
	s.steer(ctx, pacer)
	report, err := apply.Run(ctx, apply.Config{
		Plan:        p,
		Cluster:     cluster{client, p.Header.Prefix},
		Snapshots:   snapshots{client, pacer},
		Dir:         s.dir,
		Opened:      s.opened,
		Allow:       o.allow,
		Pace:        pacer,
		Concurrency: o.pace.Concurrency,
		NoChase:     o.noChase,
		ChaseMax:    o.chaseMax,
		Settle:      o.settle,
		SettleMax:   o.settleMax,

		LeaseDuration: o.leaseDuration,
		OfferStop:     offer,

		Now:     time.Now,
		Observe: s.screen.observe,
	})
	quiet()
	s.screen.close()
	s.ended(err, report != nil)
	if report == nil {
		s.dir.Discard() // what a refused run has left, unless there is more
		return err
	}
	err = errors.Join(err, o.print(s.out, p, report, s.dir))
	if o.output == outputText && !report.State.Finished() {
		printNext(s.out, []string{again})
	}
	o.startAgain(ctx, client, p, report, s, layout, input)
	return err
}

// print prints a report, and how to take the run back.
func (o *applyOptions) print(w io.Writer, p *plan.File, report *apply.Report, dir *run.Dir) error {
	if o.output == outputJSON {
		return printJSON(w, report)
	}
	printReport(w, p, report, dir)
	printUndo(w, p, report, dir, repeat(o.flags))
	return nil
}

// startAgain ends a run through which kube-controller-manager stood still, whatever became of it: it has to be started again.
// After one that is finished, on a terminal, it waits until one leads; how the run ended does not depend on that.
func (o *applyOptions) startAgain(ctx context.Context, client *etcdops.Client, p *plan.File, report *apply.Report, s *session, l layout, input *lines) {
	seen := report.Controllers
	if !seen.Found || seen.Alive {
		return
	}
	still := fmt.Sprintf("%s was not seen to lead for %.0f s", controllerManager, seen.StillSeconds)
	switch {
	case !report.State.Finished():
		s.screen.warn(still + "; if it is stopped, leave it so until the run has gone on to its end, or else " + l.startWords())
		return
	case o.output == outputJSON || !s.interactive():
		s.screen.warn(still + "; if it is stopped, and the undo is not wanted, " + l.startWords())
		return
	}
	watching, cancel := context.WithCancel(ctx)
	w := controllers.Start(watching, client, p.Header.Prefix, controllers.DefaultInterval, time.Now)
	defer w.Wait()
	defer cancel()
	if _, err := offerStart(ctx, w, l, s.screen, input); err != nil {
		s.screen.warn(err.Error())
	}
}

// confirmed makes sure that the operator means this plan: by --confirm, or by typing its ID after what tell has printed.
func confirmed(ctx context.Context, typed string, p *plan.File, s streams, input *lines, tell func(io.Writer)) error {
	if typed == "" {
		if !s.interactive() {
			return usagef("--confirm is missing: the head of the plan's ID, as show prints it")
		}
		tell(s.err)
		fmt.Fprintf(s.err, " Type the first %d digits of the plan's ID to go on: ", plan.MinConfirm)
		line, err := input.read(ctx)
		if err != nil {
			return err
		}
		typed = strings.TrimSpace(line)
	}
	if len(typed) < plan.MinConfirm || !strings.HasPrefix(p.ID, strings.ToLower(typed)) {
		return &plan.RefusedError{
			Reason: fmt.Sprintf("%q does not confirm this plan", typed),
			Advice: fmt.Sprintf("read the plan with show; --confirm takes the first %d or more digits of its ID", plan.MinConfirm),
		}
	}
	return nil
}
