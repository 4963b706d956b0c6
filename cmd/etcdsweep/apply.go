package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"etcdsweep/etcdops"
	"etcdsweep/plan"
	"etcdsweep/plan/apply"
)

type applyOptions struct {
	connectOptions
	confirm     string
	stateDir    string
	rate        float64
	concurrency int
	noChase     bool
	chaseMax    int64
	settle      time.Duration
	settleMax   time.Duration
	allow       []string
	output      string
}

func newApplyCommand(s streams) *cobra.Command {
	var o applyOptions
	cmd := &cobra.Command{
		Use:   "apply FILE --confirm ID",
		Short: "Snapshot, prove, delete what the plan lists, verify",
		Long: `Carry out a plan: check the cluster, take a snapshot and prove that it holds every entry,
delete the roots, wait until they make no more pods, delete the pods at --rate a second,
each in a transaction of its own that compares its revisions, delete the newcomers, and
scan again. What drifts is judged afresh, and its new bytes are archived before it goes.

Ctrl-C lets what is in flight finish, says where the run stands, and exits with 130; the
same plan can be applied again. A second Ctrl-C ends the process at once.`,
		Example: `  etcdsweep apply runaway.plan --confirm 3f9a1c2e
  etcdsweep apply runaway.plan --confirm 3f9a1c2e --rate 100`,
		Args: oneArg("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), cmd, args[0], s) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.confirm, "confirm", "", fmt.Sprintf("the first %d or more digits of the plan's ID; asked for on a terminal", plan.MinConfirm))
	f.Float64Var(&o.rate, "rate", 500, "deletes a second, 0 for as fast as etcd can")
	f.IntVar(&o.concurrency, "concurrency", 16, "deletes in flight")
	f.BoolVar(&o.noChase, "no-chase", false, "leave pods that the planned owners made after the plan")
	f.Int64Var(&o.chaseMax, "chase-max", 0, "the most of those to delete (default: the larger of 1000 and half of the plan)")
	f.DurationVar(&o.settle, "settle", 0, "time without births to wait for between roots and pods (default: by the pace of births, 5s to 60s)")
	f.DurationVar(&o.settleMax, "settle-max", apply.DefaultSettleMax, "stop if births go on for longer")
	f.StringSliceVar(&o.allow, "allow", nil, "accept a risk by its name: "+strings.Join(apply.Allowances(), ", "))
	f.StringVar(&o.stateDir, "state-dir", "", "where runs are kept (default: /var/lib/etcdsweep for root, else $XDG_STATE_HOME/etcdsweep)")
	addOutputFlag(cmd, &o.output)
	o.addFlags(cmd)
	return cmd
}

func (o *applyOptions) validate() error {
	if err := checkOutput(o.output); err != nil {
		return err
	}
	switch {
	case !(o.rate >= 0) || math.IsInf(o.rate, 0): // NaN is not at least 0 either
		return usagef("--rate %v: want 0, for as fast as etcd can, or more", o.rate)
	case o.concurrency < 1:
		return usagef("--concurrency %d: want 1 or more", o.concurrency)
	case o.chaseMax < 0:
		return usagef("--chase-max %d: want 0, for the default, or more", o.chaseMax)
	case o.settle < 0 || o.settleMax < 0:
		return usagef("--settle and --settle-max: want 0s or more")
	}
	for _, name := range o.allow {
		if !slices.Contains(apply.Allowances(), name) {
			return usagef("nothing to allow is called %q; there is %s", name, strings.Join(apply.Allowances(), ", "))
		}
	}
	return nil
}

func (o *applyOptions) run(ctx context.Context, cmd *cobra.Command, path string, s streams) (err error) {
	if err := o.validate(); err != nil {
		return err
	}
	p, err := plan.Open(path)
	if err != nil {
		return err
	}
	if err := o.confirmed(ctx, p, s); err != nil {
		return err
	}
	stateDir, err := stateDir(o.stateDir)
	if err != nil {
		return err
	}
	client, err := o.connect(ctx, s)
	if err != nil {
		return interrupted(ctx, err)
	}
	defer client.Close()
	session, err := openSession(stateDir, p, openedBy(cmd, []string{path}, p), s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, session.close()) }()
	if p, err = session.dir.KeepPlan(p); err != nil {
		return err
	}
	again := "etcdsweep apply " + shellQuote(path) + " --confirm " + p.ID[:plan.MinConfirm] + repeat(cmd.Flags())
	return o.carryOut(ctx, client, p, session, again)
}

// carryOut runs the plan, and says what became of it. An interrupted run is told how to go on: by the command again.
func (o *applyOptions) carryOut(ctx context.Context, client *etcdops.Client, p *plan.File, s *session, again string) error {
	quiet := s.warnWhenInterrupted(ctx)
	defer quiet()
	report, err := apply.Run(ctx, apply.Config{
		Plan:        p,
		Cluster:     cluster{client, p.Header.Prefix},
		Snapshots:   snapshots{client},
		Dir:         s.dir,
		Opened:      s.opened,
		Allow:       o.allow,
		Rate:        o.rate,
		Concurrency: o.concurrency,
		NoChase:     o.noChase,
		ChaseMax:    o.chaseMax,
		Settle:      o.settle,
		SettleMax:   o.settleMax,
		Now:         time.Now,
		Observe:     s.screen.observe,
	})
	s.screen.close()
	if report == nil {
		s.dir.Discard() // what a refused run has left, unless there is more
		return err
	}
	if o.output == outputJSON {
		return errors.Join(err, printJSON(s.out, report))
	}
	printReport(s.out, p, report, s.dir)
	printUndo(s.out, p, report, s.dir, repeat(o.flags))
	if !report.State.Finished() {
		printNext(s.out, []string{again})
	}
	return err
}

// confirmed makes sure that the operator means this plan: by --confirm, or by typing its ID.
func (o *applyOptions) confirmed(ctx context.Context, p *plan.File, s streams) error {
	typed := o.confirm
	if typed == "" {
		terminal, ok := s.in.(*os.File)
		if !ok || !term.IsTerminal(int(terminal.Fd())) {
			return usagef("--confirm is missing: the head of the plan's ID, as show prints it")
		}
		printPlan(s.err, p)
		fmt.Fprintf(s.err, "\nThis deletes %s keys. Type the first %d digits of the plan's ID to go on: ", count(p.Trailer.Entries), plan.MinConfirm)
		line, err := await(ctx, func() (string, error) {
			line, err := bufio.NewReader(s.in).ReadString('\n')
			if errors.Is(err, io.EOF) {
				err = nil // what was typed counts
			}
			return line, err
		})
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
