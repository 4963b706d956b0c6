package main

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/spf13/cobra"

	"etcdsweep/decode"
	"etcdsweep/etcdops"
	"etcdsweep/plan"
)

type getOptions struct {
	connectOptions
	offline offlineOptions // of which the revision is that of a cluster, too
	prefix  string
	raw     bool
	secrets bool
	output  string
}

const (
	outputYAML      = "yaml"
	showSecretsFlag = "show-secrets"
)

func newGetCommand(s streams) *cobra.Command {
	var o getOptions
	cmd := &cobra.Command{
		Use:   "get KEY | --prefix P",
		Short: "Show what is stored under a key. Reads only",
		Long: `Print the object that is stored under a key of etcd, or under each key with a prefix, as
YAML: built-in types as their own types have it, custom resources and all that is stored as
JSON, YAML or CBOR with all that is in it, and of other types the metadata. A comment in front
tells the key, its revisions, its lease, and how the value is stored. With -o json there is one
line for each key, with the same in fields, and the object in .object.

What Secrets hold is masked, unless --show-secrets is given. Encrypted values are read with
--encryption-config. --raw writes the stored bytes as they are.

A prefix is taken as it is: /registry/pods/dev is also how the pods of dev-2 begin, and
/registry/pods/dev/ is not. Exit status 5 says that a value could not be read.`,
		Example: `  etcdsweep get /registry/jobs/batch/runaway
  etcdsweep get /registry/jobs/batch/runaway --rev 62000
  etcdsweep get --prefix /registry/pods/batch/ -o json | jq -r .object.spec.nodeName
  etcdsweep get --prefix /registry/leases/kube-system/ --from-snapshot backup.db`,
		Args: oneKey(&o.prefix),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), cmd, args, s) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.prefix, "prefix", "", "show every key that begins so")
	f.StringVarP(&o.output, "output", "o", outputYAML, "yaml for people, json for programs: a line for each key")
	f.BoolVar(&o.raw, "raw", false, "write the value of KEY as it is stored, and nothing else")
	f.BoolVar(&o.secrets, showSecretsFlag, false, "show what Secrets hold")
	f.Int64Var(&o.offline.revision, "rev", 0, "read at this revision (default: the newest)")
	f.StringVar(&o.offline.path, fromSnapshotFlag, "", "read this snapshot, or a member's database file, and no cluster")
	o.addFlags(cmd)
	o.addEncryptionFlag(cmd)
	o.addPrefixFlag(cmd)
	return cmd
}

// oneKey wants a key, or a prefix in its place.
func oneKey(prefix *string) cobra.PositionalArgs {
	key := oneArg("KEY")
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case !cmd.Flags().Changed("prefix"):
			return key(cmd, args)
		case len(args) > 0:
			return usagef("%s wants a KEY or --prefix, and there are both", cmd.CommandPath())
		default:
			return nil
		}
	}
}

func (o *getOptions) check(cmd *cobra.Command) error {
	if err := noEmptyFlags(cmd.Flags()); err != nil {
		return err
	}
	switch {
	case o.output != outputYAML && o.output != outputJSON:
		return usagef("-o %s is neither yaml nor json", o.output)
	case o.raw && (o.prefix != "" || cmd.Flags().Changed("output")):
		return usagef("--raw writes the bytes of one KEY, and nothing around them")
	case o.offline.revision < 0:
		return usagef("--rev %d is no revision", o.offline.revision)
	case o.offline.given():
		return o.offline.check(o.flags)
	default:
		return nil
	}
}

// reader is where values are read: a cluster, or a snapshot.
type reader interface {
	Get(ctx context.Context, key string) (*decode.Record, error)
	Scan(ctx context.Context, prefix string) iter.Seq2[decode.Record, error]
	Close() error
}

// pinned is a cluster that is read at one revision, 0 for the newest.
type pinned struct {
	*etcdops.Client
	revision int64
}

func (p pinned) Get(ctx context.Context, key string) (*decode.Record, error) {
	return p.GetAt(ctx, key, p.revision)
}

func (p pinned) Scan(ctx context.Context, prefix string) iter.Seq2[decode.Record, error] {
	return p.ScanWith(ctx, prefix, etcdops.ScanOptions{Revision: p.revision})
}

func (o *getOptions) open(ctx context.Context, s streams) (reader, error) {
	if o.offline.given() {
		return o.openView(ctx, &o.offline, s)
	}
	client, err := o.connect(ctx, s)
	return pinned{client, o.offline.revision}, err
}

func (o *getOptions) run(ctx context.Context, cmd *cobra.Command, args []string, s streams) (err error) {
	if err := o.check(cmd); err != nil {
		return err
	}
	source, err := o.open(ctx, s)
	if err != nil {
		return interrupted(ctx, err)
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	shown := printer{w: s.out, output: o.output, secrets: o.secrets, registry: o.registry.prefix}
	if o.prefix == "" {
		err = o.one(ctx, source, args[0], &shown)
	} else {
		err = all(ctx, source, o.prefix, &shown)
	}
	if err == nil && shown.unreadable > 0 {
		err = &unreadError{unreadable: shown.unreadable, of: shown.printed, hint: shown.hint}
	}
	return interrupted(ctx, err)
}

func (o *getOptions) one(ctx context.Context, source reader, key string, shown *printer) error {
	record, err := source.Get(ctx, key)
	switch {
	case err != nil:
		return err
	case record == nil:
		return &absentError{what: "key " + key}
	case !o.raw:
		return shown.print(record)
	case !o.secrets && shown.secret(record):
		return &plan.RefusedError{
			Reason: key + " is a Secret, and --raw masks nothing",
			Advice: "--" + showSecretsFlag + " shows what it holds",
		}
	default:
		_, err := shown.w.Write(record.Value)
		return err
	}
}

func all(ctx context.Context, source reader, prefix string, shown *printer) error {
	for record, err := range source.Scan(ctx, prefix) {
		if err == nil {
			err = shown.print(&record)
		}
		if err != nil {
			return err
		}
	}
	if shown.printed == 0 {
		return &absentError{what: "key under " + prefix}
	}
	return nil
}

// absentError is a key that is not there.
type absentError struct{ what string }

func (e *absentError) Error() string { return "there is no " + e.what }

func (e *absentError) Hint() string {
	return "keys begin with kube-apiserver's --etcd-prefix, as /registry/pods/NAMESPACE/NAME; top --all shows what there is"
}

// unreadError says that not all of what was asked for could be shown.
type unreadError struct {
	unreadable, of int64
	hint           string // "" if nothing makes them readable
}

func (e *unreadError) Error() string {
	return fmt.Sprintf("%s of %s values cannot be read", count(e.unreadable), count(e.of))
}

func (e *unreadError) Hint() string {
	const raw = "--raw writes a value as it is stored"
	if e.hint == "" {
		return raw
	}
	return e.hint + "; " + raw
}
