package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

const exitStatus = `

Exit status: 0 done · 1 error, or a bystander has changed · 2 usage`

// failure is an error of work that was begun. All other errors are of usage.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// run runs the command line and returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "etcdsweep-lab: %v\n", err)
	if !errors.As(err, &failure{}) {
		fmt.Fprintln(stderr, "hint: etcdsweep-lab --help")
		return 2
	}
	return 1
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "etcdsweep-lab",
		Short: "A practice cluster for etcdsweep",
		Long: `A practice cluster for etcdsweep: a real etcd with TLS, of one member or three, filled with
what a Kubernetes control plane stores, and with Jobs that have run away.` + exitStatus,
		Example: `  etcdsweep-lab up --dir lab --pods 30000 --jobs 2 --produce 20
  etcdsweep-lab up --dir lab --members 3 --from-fixture k8s-1.16-incident
  . lab/env.sh; etcdctl endpoint status --cluster -w table
  etcdsweep-lab check --dir lab`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.AddCommand(newUp(), newCheck())
	return root
}
