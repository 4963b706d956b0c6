package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dustin/go-humanize/english"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"etcdsweep/apiserver"
	"etcdsweep/durable"
	"etcdsweep/plan"
	"etcdsweep/plan/caches"
	"etcdsweep/plan/run"
)

type verifyOptions struct {
	connectOptions
	kubeconfigs []string
	servers     []string
	patience    time.Duration
	output      string
}

func newVerifyCommand(s streams) *cobra.Command {
	var o verifyOptions
	cmd := &cobra.Command{
		Use:   "verify RUN-DIR --kubeconfig FILE",
		Short: "Compare what the apiservers show with what etcd holds",
		Long: `Ask each kube-apiserver what its watch cache holds, wherever the run in RUN-DIR had
anything to delete, and compare it with etcd: by names and revisions, exactly, while the
cluster goes on. An object that a cache shows and etcd does not hold is a ghost: kubelets
and controllers believe in it until that apiserver is started again.

A kubeconfig often leads to a load balancer, and so to any of the apiservers. With
--server each of them is asked by its own address, as the kubeconfig's user.

Nothing is written, neither to etcd nor through an apiserver.`,
		Example: `  etcdsweep verify /var/lib/etcdsweep/runs/3f9a1c2e5b7d8f60 \
      --kubeconfig /etc/kubernetes/admin.conf
  etcdsweep verify /var/lib/etcdsweep/runs/3f9a1c2e5b7d8f60 \
      --kubeconfig /etc/kubernetes/admin.conf \
      --server https://10.0.0.1:6443 --server https://10.0.0.2:6443`,
		Args: oneArg("RUN-DIR"),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), args[0], s) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringArrayVar(&o.kubeconfigs, "kubeconfig", nil, "file that says how to reach an apiserver, and as whom (repeatable)")
	f.StringArrayVar(&o.servers, "server", nil, "address to use instead of the kubeconfig's own (repeatable)")
	f.DurationVar(&o.patience, "wait", caches.DefaultPatience, "how long to wait for a cache that is behind etcd")
	addOutputFlag(cmd, &o.output)
	o.addFlags(cmd)
	return cmd
}

func (o *verifyOptions) validate() error {
	switch {
	case len(o.kubeconfigs) == 0:
		return usagef("--kubeconfig is missing: a file that says how to reach kube-apiserver")
	case len(o.servers) > 0 && len(o.kubeconfigs) > 1:
		return usagef("--server goes with one --kubeconfig, and there are %d", len(o.kubeconfigs))
	case o.patience <= 0:
		return usagef("--wait %s: want more than 0s", o.patience)
	}
	return checkOutput(o.output)
}

func (o *verifyOptions) run(ctx context.Context, path string, s streams) error {
	if err := o.validate(); err != nil {
		return err
	}
	_, p, err := run.FindDir(durable.OS(), path)
	if err != nil {
		return err
	}
	apiservers, err := o.apiservers()
	if err != nil {
		return err
	}
	client, err := o.connect(ctx, s)
	if err != nil {
		return interrupted(ctx, err)
	}
	defer client.Close()
	facts, err := cluster{client, p.Header.Prefix}.Facts(ctx)
	switch {
	case err != nil:
		return interrupted(ctx, err)
	case facts.Identity != p.Header.Cluster:
		return &plan.RefusedError{
			Reason: "this etcd is not of the cluster that the run was on",
			Advice: "compare --endpoints with what the run's log says",
		}
	}
	report, err := caches.Compare(ctx, caches.Config{Plan: p, Etcd: client, Apiservers: apiservers, Patience: o.patience})
	if err != nil {
		return interrupted(ctx, err)
	}
	if o.output == outputJSON {
		err = printJSON(s.out, report)
	} else {
		printCaches(s.out, report)
	}
	switch unanswered := report.Unanswered(); {
	case err != nil:
		return err
	case report.Differs():
		return run.ErrLeft
	case unanswered > 0:
		return &unansweredError{unanswered}
	}
	return nil
}

// unansweredError says that so many apiservers left something open.
type unansweredError struct{ count int }

func (e *unansweredError) Error() string {
	return english.Plural(e.count, "apiserver", "apiservers") + " could not be compared"
}

// Hint says how to ask them without this tool.
func (e *unansweredError) Hint() string {
	return "what each of them says stands in the report; kubectl with the same --kubeconfig and --server, and\n" +
		"get --raw /readyz, asks the same way; the kubeconfig's user must be allowed to list what was deleted"
}

// apiservers are those that are asked: each kubeconfig's, or each --server.
func (o *verifyOptions) apiservers() (all []caches.Apiserver, err error) {
	servers := o.servers
	if len(servers) == 0 {
		servers = []string{""}
	}
	for _, kubeconfig := range o.kubeconfigs {
		for _, server := range servers {
			client, err := apiserver.Open(kubeconfig, server, apiserverTimeout)
			if err != nil {
				return nil, err
			}
			all = append(all, client)
		}
	}
	return all, nil
}

// apiserverTimeout is for one request: a list of all pods of a namespace may be large, and the apiserver in trouble.
const apiserverTimeout = time.Minute

// printCaches prints what was compared and, of what differs, names and what to do.
func printCaches(w io.Writer, report *caches.Report) {
	for i, seen := range report.Apiservers {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w, seen.URL)
		if seen.Error != "" {
			printIndented(w, "no answer: "+seen.Error)
			continue
		}
		t := newTable(w, "  resource", "namespace", "shown", "ghosts", "outdated", "missing", "")
		t.SetColumnConfigs(numbers(3, 6))
		for i := range seen.Views {
			v := &seen.Views[i]
			t.AppendRow(table.Row{"  " + v.Resource, v.Namespace, count(int64(v.Objects)),
				len(v.Ghosts), len(v.Outdated), len(v.Missing), inWords(v)})
		}
		t.Render()
		for i := range seen.Views {
			printDifference(w, &seen.Views[i])
		}
	}
	if report.Wrong() {
		fmt.Fprint(w, `
Start each kube-apiserver that is WRONG again, one after the other, each ready
before the next. Its cache is read from etcd anew then, and whoever watches it
lists again. Then give this command again.
`)
	}
	if report.Behind() {
		fmt.Fprint(w, `
One that is BEHIND drowns, or its watch stands still: look at its log, and
whether it reaches etcd. If it does not catch up, start it again as well.
`)
	}
	if !report.Differs() && report.Unanswered() == 0 {
		fmt.Fprintln(w, "\nEvery cache holds what etcd holds.")
	}
}

// printIndented prints words that may be longer than a line.
func printIndented(w io.Writer, words string) {
	for line := range strings.Lines(text.WrapSoft(words, width-len("  "))) {
		fmt.Fprintf(w, "  %s\n", strings.TrimRight(line, " \n"))
	}
}

// numbers are the columns from one to another, which are aligned as numbers are.
func numbers(from, to int) (columns []table.ColumnConfig) {
	for column := from; column <= to; column++ {
		columns = append(columns, table.ColumnConfig{Number: column, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	return columns
}

func inWords(v *caches.View) string {
	switch {
	case v.Error != "":
		return "no answer"
	case v.Equal():
		return "ok"
	case v.Behind:
		return "BEHIND"
	}
	return "WRONG"
}

// printDifference names what a cache shows otherwise than etcd.
func printDifference(w io.Writer, v *caches.View) {
	if v.Error != "" {
		fmt.Fprintln(w)
		printIndented(w, v.Resource+": no answer: "+v.Error)
	}
	if v.Behind {
		fmt.Fprintf(w, "\n  %s: the cache stands at revision %d, behind etcd\n", v.Resource, v.Revision)
	}
	for _, list := range []struct {
		what  string
		names []string
	}{
		{"ghosts, which are not in etcd", v.Ghosts},
		{"outdated, shown as they were before their last change", v.Outdated},
		{"missing, which are in etcd", v.Missing},
	} {
		if len(list.names) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n  %s, %s:\n", v.Resource, list.what)
		for i, name := range list.names {
			if i == maxRows {
				fmt.Fprintf(w, "    and %s more; -o json has all\n", count(int64(len(list.names)-maxRows)))
				break
			}
			fmt.Fprintf(w, "    %s\n", name)
		}
	}
}
