package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"iter"

	"github.com/spf13/cobra"

	"etcdsweep/plan"
)

type showOptions struct {
	keys       bool
	collateral bool
	output     string
}

func newShowCommand(s streams) *cobra.Command {
	var o showOptions
	cmd := &cobra.Command{
		Use:   "show FILE",
		Short: "Read a plan, without a cluster",
		Long: `Check a plan file from its first byte to its last, and print its summary, its keys, or
all that its header and trailer say as JSON. A file that was cut off or edited, or has
another format, is refused.

--collateral prints the keys that are not planned, and that the garbage collector of a
running kube-controller-manager deletes once the roots are gone.`,
		Example: `  etcdsweep show runaway.plan
  etcdsweep show runaway.plan --keys | less
  etcdsweep show runaway.plan --collateral | less
  etcdsweep show runaway.plan -o json | jq -r .id`,
		Args: oneArg("FILE"),
		RunE: func(_ *cobra.Command, args []string) error { return o.run(args[0], s) },
	}
	cmd.Flags().BoolVar(&o.keys, "keys", false, "print every key, one a line, in the order in which they go")
	cmd.Flags().BoolVar(&o.collateral, "collateral", false, "print every key that goes with the roots and is not planned, one a line")
	addOutputFlag(cmd, &o.output)
	return cmd
}

func (o *showOptions) run(path string, s streams) error {
	if err := checkOutput(o.output); err != nil {
		return err
	}
	if o.keys && o.collateral {
		return usagef("--keys and --collateral are two lists; ask for one")
	}
	p, err := plan.Open(path)
	if err != nil {
		return err
	}
	switch {
	case o.keys:
		return printKeys(s, p.Entries(""))
	case o.collateral:
		return printKeys(s, p.Collateral())
	case o.output == outputJSON:
		return printJSON(s.out, struct {
			ID      string       `json:"id"`
			Header  plan.Header  `json:"header"`
			Trailer plan.Trailer `json:"trailer"`
		}{p.ID, p.Header, p.Trailer})
	default:
		warnOfPlan(s.err, p)
		printPlan(s.out, p)
		return nil
	}
}

func printKeys(s streams, entries iter.Seq2[plan.Entry, error]) error {
	w := bufio.NewWriter(s.out)
	for entry, err := range entries {
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(w, entry.Key); err != nil {
			return err
		}
	}
	return w.Flush()
}

const (
	outputText = "text"
	outputJSON = "json"
)

func addOutputFlag(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVarP(output, "output", "o", outputText, "text for people, json for programs")
}

func checkOutput(output string) error {
	if output != outputText && output != outputJSON {
		return usagef("-o %s is neither text nor json", output)
	}
	return nil
}

func printJSON(w interface{ Write([]byte) (int, error) }, value any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(value)
}
