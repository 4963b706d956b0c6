package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// streams is the contract of the screen: results go to out, as text for people or as JSON for programs; progress, log,
// warnings and errors go to err; questions are asked on err and answered on in.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// execute runs one command line and returns its exit status.
func execute(ctx context.Context, args []string, s streams) int {
	out := &checkedWriter{w: s.out}
	s.out = out
	root := newRootCommand(s)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		err = out.err
	}
	explain(s.err, cmd.CommandPath(), err)
	return exitStatus(err)
}

// checkedWriter remembers the first error: a result that nobody could read is none.
type checkedWriter struct {
	w   io.Writer
	err error
}

func (c *checkedWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	if err != nil && c.err == nil {
		c.err = fmt.Errorf("write the result: %w", err)
	}
	return n, err
}

// interactive reports whether there is somebody to ask: questions are asked on a terminal, and answered on one.
func (s streams) interactive() bool { return isTerminal(s.in) && isTerminal(s.err) }

func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// forgiving returns the streams of a command that goes on when nobody reads what it says.
func (s streams) forgiving() streams {
	out := s.out
	if checked, ok := out.(*checkedWriter); ok {
		out = checked.w
	}
	return streams{in: s.in, out: forgivingWriter{out}, err: s.err}
}

// forgivingWriter takes everything, written or not.
type forgivingWriter struct{ w io.Writer }

func (f forgivingWriter) Write(p []byte) (int, error) {
	_, _ = f.w.Write(p)
	return len(p), nil
}

func newRootCommand(s streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "etcdsweep",
		Short: "Remove runaway pods from the etcd of a drowning Kubernetes cluster",
		Long: `etcdsweep goes past a drowning kube-apiserver straight to etcd. It writes a plan of
the pods that runaway owners have left there, takes a snapshot and proves that it
holds them, deletes the owners and then the pods one by one, and verifies.

Nothing is deleted without a plan that was read and confirmed.`,
		Example: `  etcdsweep doctor                                        can I work here?
  etcdsweep top                                           who fills etcd?
  etcdsweep plan -n batch --job runaway -o runaway.plan   what exactly would go?
  etcdsweep show runaway.plan --keys                      let me look at it
  etcdsweep apply runaway.plan --confirm 3f9a1c2e         snapshot, prove, sweep, verify
  etcdsweep undo RUN-DIR --confirm 3f9a1c2e               put back what went`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	root.AddCommand(
		newDoctorCommand(s),
		newTopCommand(s),
		newPlanCommand(s),
		newShowCommand(s),
		newGetCommand(s),
		newApplyCommand(s),
		newVerifyCommand(s),
		newUndoCommand(s),
		newCtlCommand(s),
		newRunsCommand(s),
		newSnapshotCommand(s),
		newVersionCommand(s),
	)
	root.InitDefaultCompletionCmd()
	prepare(root)
	return root
}

// prepare gives every command the same usage errors, and the exit statuses in its help.
func prepare(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	if !cmd.Runnable() { // a group of commands: shows its help, unless it is asked for what it has not
		cmd.Args = noSuchCommand
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	if cmd.Long == "" {
		cmd.Long = cmd.Short + "."
	}
	cmd.Long = strings.TrimSpace(cmd.Long) + "\n\n" + exitStatuses
	for _, child := range cmd.Commands() {
		prepare(child)
	}
}

func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("unknown command %q for %s", args[0], cmd.CommandPath())
	}
	return nil
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s does not take %q", cmd.CommandPath(), args[0])
	}
	return nil
}

// oneArg wants exactly one argument, which its usage calls by name.
func oneArg(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return usagef("%s wants a %s", cmd.CommandPath(), name)
		case len(args) > 1:
			return usagef("%s wants one %s, and there is %q as well", cmd.CommandPath(), name, args[1])
		default:
			return nil
		}
	}
}
