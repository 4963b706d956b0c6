package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"etcdsweep/etcdops/snapshot"
)

// offlineOptions are the flags of commands that read a file in place of a cluster, if they are asked to.
type offlineOptions struct {
	path     string
	revision int64
}

const fromSnapshotFlag = "from-snapshot"

func (o *offlineOptions) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.path, fromSnapshotFlag, "", "read this snapshot, or a member's database file, and no cluster")
	f.Int64Var(&o.revision, "rev", 0, "of that file, read this revision (default: its newest)")
}

// given reports whether there is a file to read.
func (o *offlineOptions) given() bool { return o.path != "" }

// check refuses flags that make no sense together.
func (o *offlineOptions) check(connection *pflag.FlagSet) error {
	if !o.given() {
		if o.revision != 0 {
			return usagef("--rev is of a --%s; a cluster is read as it is", fromSnapshotFlag)
		}
		return nil
	}
	if o.revision < 0 {
		return usagef("--rev %d is no revision", o.revision)
	}
	var err error
	connection.VisitAll(func(flag *pflag.Flag) {
		if flag.Changed && flag.Name != encryptionFlag && err == nil {
			err = usagef("--%s is of a cluster, and --%s reads a file", flag.Name, fromSnapshotFlag)
		}
	})
	return err
}

// openView opens the file, and warns of what it does not hold. Of a node's files nothing is taken: they tell of another cluster,
// perhaps.
func (o *connectOptions) openView(ctx context.Context, file *offlineOptions, s streams) (*snapshot.View, error) {
	o.registry.prefix = "/" + strings.Trim(o.registry.prefix, "/")
	if o.registry.prefix == "/" {
		o.registry.prefix = defaultPrefix
	}
	keys, err := o.keys(s.err)
	if err != nil {
		return nil, err
	}
	opts := snapshot.ViewOptions{Revision: file.revision}
	if keys != nil {
		opts.Opener = keys
	}
	view, err := snapshot.OpenView(ctx, file.path, opts)
	if err != nil && keys != nil {
		err = errors.Join(err, keys.Close())
	}
	if err != nil {
		return nil, err
	}
	if view.Origin().Member() {
		warn(s.err, "this is a member's database file, and has no checksum; what the member had only in its write-ahead log is not in it")
	}
	return view, nil
}
