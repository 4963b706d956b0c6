package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"etcdsweep/test/lab"
)

func newCheck() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "check --dir DIR",
		Short: "Say whether a bystander has changed by a byte since up filled the cluster",
		Long: `Say whether a bystander has changed by a byte, or was written at all, since up filled the cluster.
Bystanders are all keys but those of the runaway Jobs and their pods, and but those with a lease,
which expire by themselves.` + exitStatus,
		Example: `  etcdsweep-lab check --dir lab`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				return errors.New("--dir: want the directory that was given to up")
			}
			if err := check(cmd.Context(), dir, cmd.OutOrStdout()); err != nil {
				return failure{err}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "directory that was given to up")
	return cmd
}

// check compares. A bystander that has changed is an error.
func check(ctx context.Context, dir string, stdout io.Writer) error {
	file, err := os.Open(filepath.Join(dir, bystandersFile))
	if err != nil {
		return err
	}
	defer file.Close()
	bystanders, err := lab.ReadBystanders(file)
	if err != nil {
		return fmt.Errorf("%s: %w", file.Name(), err)
	}
	client, err := lab.Connect(dir)
	if err != nil {
		return err
	}
	defer client.Close()
	changes, err := lab.Changed(ctx, client, bystanders)
	if err != nil {
		return err
	}
	for _, change := range changes {
		fmt.Fprintf(stdout, "%s: %s\n", change.Key, change.What)
	}
	if len(changes) > 0 {
		return fmt.Errorf("%d of %d bystanders changed", len(changes), len(bystanders))
	}
	fmt.Fprintf(stdout, "%d bystanders, none changed\n", len(bystanders))
	return nil
}
