package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"etcdsweep/test/fixtures"
	"etcdsweep/test/lab"
)

// Files that up writes to its directory, beside those of package lab.
const (
	bystandersFile = "bystanders"      // all that must not change
	encryptionFile = "encryption.yaml" // of the encrypted values among them
	envFile        = "env.sh"          // written last: the lab is ready when it is there
)

// upOptions are the flags of up.
type upOptions struct {
	dir     string
	etcd    string
	members int
	noFsync bool
	fixture string
	jobs    int
	pods    int
	seed    uint64
	produce float64
}

func newUp() *cobra.Command {
	var opts upOptions
	cmd := &cobra.Command{
		Use:   "up --dir DIR",
		Short: "Start a cluster, fill it, and keep it up until Ctrl-C",
		Long: `Start a cluster, fill it, and keep it up until Ctrl-C, which is its normal end.

The directory gets certificates, data, logs, a list of all keys that a sweep must not touch (for
"check"), and, as soon as the cluster is ready, env.sh with the ETCDCTL_* variables to connect.` + exitStatus,
		Example: `  etcdsweep-lab up --dir lab
  etcdsweep-lab up --dir lab --members 3 --pods 30000 --jobs 2 --produce 20
  etcdsweep-lab up --dir lab --from-fixture k8s-1.16-incident --etcd /usr/bin/etcd`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := opts.validate(); err != nil {
				return err
			}
			if err := opts.run(cmd.Context(), cmd.OutOrStdout()); err != nil {
				return failure{err}
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&opts.dir, "dir", "", "directory for the cluster; made if it is not there")
	flags.StringVar(&opts.etcd, "etcd", "", "etcd server to run, 3.4 or newer (default: the library, in this process)")
	flags.IntVar(&opts.members, "members", 1, "members of the cluster: 1 or 3")
	flags.BoolVar(&opts.noFsync, "no-fsync", false, "fill faster, measure nonsense")
	flags.StringVar(&opts.fixture, "from-fixture", "", "start from a snapshot of a real cluster: "+string(fixtures.Incident)+" or "+string(fixtures.Zoo))
	flags.IntVar(&opts.jobs, "jobs", 1, "runaway Jobs, at most 26")
	flags.IntVar(&opts.pods, "pods", 3000, "their pods, all together")
	flags.Uint64Var(&opts.seed, "seed", 1, "the same seed gives the same names and UIDs")
	flags.Float64Var(&opts.produce, "produce", 0, "pods a second that the runaway Jobs go on to make while they stand")
	for _, filled := range []string{"jobs", "pods", "seed"} {
		cmd.MarkFlagsMutuallyExclusive("from-fixture", filled)
	}
	return cmd
}

func (o *upOptions) validate() error {
	switch {
	case o.dir == "":
		return errors.New("--dir: want a directory for the cluster")
	case o.members != 1 && o.members != 3:
		return fmt.Errorf("--members %d: want 1 or 3", o.members)
	case o.fixture != "" && lab.Known(fixtures.Name(o.fixture)) == nil:
		return fmt.Errorf("--from-fixture %s: want %s or %s", o.fixture, fixtures.Incident, fixtures.Zoo)
	case o.jobs < 1 || o.jobs > 26:
		return fmt.Errorf("--jobs %d: want 1 to 26", o.jobs)
	case o.pods < o.jobs:
		return fmt.Errorf("--pods %d: want one for each Job", o.pods)
	case o.produce < 0:
		return fmt.Errorf("--produce %g: want a rate, or 0", o.produce)
	}
	return nil
}

func (o *upOptions) run(ctx context.Context, stdout io.Writer) (err error) {
	dir, err := filepath.Abs(o.dir) // for whoever copies what we print
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	cluster, err := o.start(ctx, dir)
	if err != nil {
		return ended(ctx, err)
	}
	defer func() { err = errors.Join(err, cluster.Close()) }()
	client, err := cluster.Client()
	if err != nil {
		return err
	}
	defer client.Close()

	jobs, err := o.fill(ctx, client)
	if err != nil {
		return ended(ctx, err)
	}
	bystanders, err := lab.Bystanders(ctx, client, jobs)
	if err != nil {
		return ended(ctx, err)
	}
	if err := o.writeFiles(dir, cluster, bystanders); err != nil {
		return err
	}
	defer os.Remove(filepath.Join(dir, envFile)) // no longer ready
	describe(stdout, dir, cluster, jobs, len(bystanders))

	if o.produce > 0 {
		return lab.Produce(ctx, client, jobs, o.produce)
	}
	<-ctx.Done()
	return nil
}

// ended returns err, unless it is only how Ctrl-C looks from inside.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (o *upOptions) start(ctx context.Context, dir string) (*lab.Cluster, error) {
	config := lab.Config{Dir: dir, Members: o.members, Binary: o.etcd, NoFsync: o.noFsync}
	if o.fixture != "" {
		snapshot, err := fixtures.Unpack(fixtures.Name(o.fixture), dir)
		if err != nil {
			return nil, err
		}
		defer os.Remove(snapshot)
		config.Snapshot = snapshot
	}
	return lab.Start(ctx, config)
}

// fill sees to it that there are runaway Jobs, and returns them.
func (o *upOptions) fill(ctx context.Context, client *clientv3.Client) ([]lab.Job, error) {
	if o.fixture != "" {
		return lab.Find(ctx, client, lab.Known(fixtures.Name(o.fixture))...)
	}
	return lab.Fill(ctx, client, lab.Incident{Jobs: o.jobs, Pods: o.pods, Seed: o.seed})
}

func (o *upOptions) writeFiles(dir string, cluster *lab.Cluster, bystanders []lab.Bystander) error {
	file, err := os.OpenFile(filepath.Join(dir, bystandersFile), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(lab.WriteBystanders(file, bystanders), file.Close()); err != nil {
		return err
	}
	if o.fixture != string(fixtures.Incident) { // the zoo, or what Fill copied from it
		keys, err := fixtures.EncryptionConfig(fixtures.Zoo)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, encryptionFile), keys, 0o600); err != nil {
			return err
		}
	}
	env := strings.Join([]string{
		"export ETCDCTL_API=3",
		"export ETCDCTL_ENDPOINTS=" + strings.Join(cluster.Endpoints(), ","),
		"export ETCDCTL_CACERT=" + quote(cluster.CA.Path()),
		"export ETCDCTL_CERT=" + quote(cluster.Cert),
		"export ETCDCTL_KEY=" + quote(cluster.Key),
	}, "\n") + "\n"
	path := filepath.Join(dir, envFile)
	if err := os.WriteFile(path+".tmp", []byte(env), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

// quote makes a path one word for the shell.
func quote(path string) string { return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'" }

// describe says what is there and how to get at it. Its last line begins with "ready".
func describe(w io.Writer, dir string, cluster *lab.Cluster, jobs []lab.Job, bystanders int) {
	for _, job := range jobs {
		fmt.Fprintf(w, "runaway: Job %s/%s, %d pods\n", job.Namespace, job.Name, job.Pods)
	}
	fmt.Fprintf(w, "bystanders: %d keys that must not change\n\n", bystanders)
	connect := []string{
		"--endpoints=" + strings.Join(cluster.Endpoints(), ","),
		"--cacert=" + quote(cluster.CA.Path()),
		"--cert=" + quote(cluster.Cert),
		"--key=" + quote(cluster.Key),
	}
	fmt.Fprintf(w, "connect:  %s\n", strings.Join(connect, " \\\n          "))
	fmt.Fprintf(w, "or:       . %s\n", quote(filepath.Join(dir, envFile)))
	fmt.Fprintf(w, "check:    etcdsweep-lab check --dir %s\n\n", quote(dir))
	fmt.Fprintln(w, "ready; Ctrl-C ends it")
}
