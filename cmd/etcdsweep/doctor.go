package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"etcdsweep/etcdops"
	"etcdsweep/plan"
	"etcdsweep/plan/controllers"
	"etcdsweep/plan/doctor"
)

type doctorOptions struct {
	connectOptions
	stateDir      string
	leaseDuration time.Duration
	output        string
}

func newDoctorCommand(s streams) *cobra.Command {
	var o doctorOptions
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Can I work here? Reads only",
		Long: `Look at the way to etcd, its members, and who writes to it, and say of each whether it is
ok, is to be known first (warn), or keeps a plan from being applied (fail), with what to
do. It reads only: no key is written.

While nobody is seen to write it watches for up to --lease-duration.

Ends with 0 if all is ok, with 5 if there is something to know first, and with 3 if
something is in the way.`,
		Example: `  etcdsweep doctor
  etcdsweep doctor --node-root /mnt -o json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), s) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.DurationVar(&o.leaseDuration, "lease-duration", controllers.DefaultStill, "how long a lease stands still when its holder is dead")
	f.StringVar(&o.stateDir, "state-dir", "", "where runs would be kept (default: /var/lib/etcdsweep for root, else $XDG_STATE_HOME/etcdsweep)")
	addOutputFlag(cmd, &o.output)
	o.addFlags(cmd)
	o.addPrefixFlag(cmd)
	o.addEncryptionFlag(cmd)
	return cmd
}

func (o *doctorOptions) run(ctx context.Context, s streams) error {
	if err := checkOutput(o.output); err != nil {
		return err
	}
	if o.leaseDuration <= 0 {
		return usagef("--lease-duration: want more than 0s")
	}
	dir, err := stateDir(o.stateDir)
	if err != nil {
		return err
	}
	facts, err := o.examine(ctx, dir, s)
	if err != nil {
		return interrupted(ctx, err)
	}
	report := doctor.Examine(facts)
	if o.output == outputJSON {
		err = printJSON(s.out, doctorReport(report, facts))
	} else {
		printDoctor(s.out, report, facts)
		if report.Level != doctor.Fail {
			printNext(s.out, []string{"etcdsweep top" + o.again()})
		}
	}
	switch {
	case err != nil:
		return err
	case report.Level == doctor.Fail:
		return &plan.RefusedError{Reason: "something is in the way: see the lines that begin with fail", Advice: "each of them says what to do"}
	case report.Level == doctor.Warn:
		return warned{}
	}
	return nil
}

// warned is a report with something that is to be known first, and nothing that is in the way.
type warned struct{}

func (warned) Error() string {
	return "something is to be known first: see the lines that begin with warn"
}

// examine gathers the facts. What can't be found out is a fact as well; an error is for what is no fault of the cluster.
func (o *doctorOptions) examine(ctx context.Context, stateDir string, s streams) (*doctor.Facts, error) {
	facts := &doctor.Facts{Now: time.Now()}
	client, dead, err := o.open(ctx, s)
	if ctx.Err() != nil || is[usageError](err) {
		return nil, errors.Join(err, ctx.Err())
	}
	facts.Prefix, facts.Unverified = o.registry.prefix, o.config.InsecureSkipVerify
	facts.Certificates = o.certificates(ctx)
	if none, ok := errors.AsType[*etcdops.NoEndpointError](err); ok {
		dead, err = none.Endpoints, nil
	}
	for _, e := range dead {
		facts.Endpoints = append(facts.Endpoints, doctor.Endpoint{Address: e.Endpoint, Err: e, Hint: e.Hint()})
	}
	facts.Connection = err
	if client == nil {
		return facts, nil
	}
	defer client.Close()
	for _, endpoint := range client.Endpoints() {
		facts.Endpoints = append(facts.Endpoints, doctor.Endpoint{Address: endpoint})
		facts.PlainText = strings.HasPrefix(endpoint, "http://")
	}
	screen := newScreen(s.err)
	defer screen.close()
	look := examiner{client: client, prefix: o.registry.prefix, lease: o.leaseDuration, facts: facts}
	return facts, look.all(ctx, stateDir, screen)
}

// certificates looks at those of the connection, good or bad.
func (o *doctorOptions) certificates(ctx context.Context) []doctor.Certificate {
	shown, _ := etcdops.Certificates(ctx, o.config) // what makes no sense is told as the connection's error
	all := make([]doctor.Certificate, len(shown))
	for i, c := range shown {
		all[i] = doctor.Certificate(c)
	}
	return all
}

// doctorJSON is a report for programs: the findings, and the figures of the members.
type doctorJSON struct {
	doctor.Report
	Members []memberJSON `json:"members"`
}

type memberJSON struct {
	Name        string  `json:"name"`
	Version     string  `json:"version,omitempty"`
	Role        string  `json:"role"`
	Error       string  `json:"error,omitempty"`
	DBSize      int64   `json:"dbSize"`
	DBSizeInUse int64   `json:"dbSizeInUse"`
	Quota       int64   `json:"quota,omitempty"`
	Revision    int64   `json:"revision"`
	Applied     uint64  `json:"raftAppliedIndex"`
	LatencyMS   float64 `json:"latencyMs"`
}

func doctorReport(report doctor.Report, facts *doctor.Facts) doctorJSON {
	all := doctorJSON{Report: report, Members: []memberJSON{}}
	for _, m := range facts.Members {
		j := memberJSON{
			Name: m.Name, Version: m.Version, Role: role(m), DBSize: m.DBSize, DBSizeInUse: m.InUse, Quota: m.Quota,
			Revision: m.Revision, Applied: m.Applied, LatencyMS: float64(m.Latency.Microseconds()) / 1000,
		}
		if m.Err != nil {
			j.Error = m.Err.Error()
		}
		all.Members = append(all.Members, j)
	}
	return all
}

func role(m doctor.Member) string {
	switch {
	case m.Err != nil:
		return "silent"
	case m.Learner:
		return "learner"
	case m.Leader:
		return "leader"
	}
	return "follower"
}

// folded counts lesser findings that follow each other in one, which takes no more lines than the first of them would.
func folded(findings []doctor.Finding) []doctor.Finding {
	var all []doctor.Finding
	for len(findings) > 0 {
		n := slices.IndexFunc(findings, func(f doctor.Finding) bool { return !f.Lesser })
		if n < 0 {
			n = len(findings)
		}
		first := findings[0]
		if n > 1 {
			first.Text, first.Hint = fmt.Sprintf("and %d lesser flaws of that version", n), "doctor -o json names them; upgrade etcd when this night is over"
		}
		all, findings = append(all, first), findings[max(n, 1):]
	}
	return all
}

// printDoctor prints a report on one screen.
func printDoctor(w io.Writer, report doctor.Report, facts *doctor.Facts) {
	const margin = "                   " // level and subject
	findings := folded(report.Findings)
	for i, f := range findings {
		lines := strings.Split(text.WrapSoft(f.Text, width-len(margin)), "\n")
		fmt.Fprintf(w, "%-4s  %-11s  %s\n", f.Level, f.Subject, strings.TrimRight(lines[0], " "))
		for _, line := range lines[1:] {
			fmt.Fprintf(w, "%s%s\n", margin, strings.TrimRight(line, " "))
		}
		if next := i + 1; f.Hint == "" || next < len(findings) && findings[next].Hint == f.Hint {
			continue // said once, behind the last of those that it is for
		}
		for hint := range strings.SplitSeq(f.Hint, "\n") {
			printHint(w, margin, hint)
		}
	}
	if len(facts.Members) == 0 {
		return
	}
	fmt.Fprintln(w)
	t := newTable(w, "member", "role", "version", "file", "in use", "quota", "revision", "lag", "answer")
	var furthest uint64
	for _, m := range facts.Members {
		furthest = max(furthest, m.Applied)
	}
	for _, m := range facts.Members {
		if m.Err != nil {
			t.AppendRow(table.Row{m.Name, role(m)})
			continue
		}
		quota := "not told"
		if m.Quota > 0 {
			quota = size(m.Quota)
		}
		t.AppendRow(table.Row{m.Name, role(m), m.Version, size(m.DBSize), size(m.InUse), quota, fmt.Sprint(m.Revision),
			count(int64(furthest - m.Applied)), fmt.Sprintf("%.1f ms", float64(m.Latency.Microseconds())/1000)})
	}
	t.Render()
}
