package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"

	"etcdsweep/etcdops"
	"etcdsweep/etcdops/snapshot"
	"etcdsweep/plan"
	"etcdsweep/plan/apply"
	"etcdsweep/plan/control"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/pace"
	"etcdsweep/plan/run"
)

func newSnapshotCommand(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "snapshot",
		Short: "Save a snapshot of etcd, or verify one",
	}
	cmd.AddCommand(newSnapshotSaveCommand(s), newSnapshotVerifyCommand(s))
	return cmd
}

type snapshotSaveOptions struct {
	connectOptions
	paceOptions
	plan   string
	output string
}

func newSnapshotSaveCommand(s streams) *cobra.Command {
	o := snapshotSaveOptions{paceOptions: newPaceOptions()}
	cmd := &cobra.Command{
		Use:   "save PATH",
		Short: "Save a snapshot, its SHA-256 checked while it arrives",
		Long: `Stream a snapshot from the least loaded voting follower to PATH, which must not exist.
The file appears only when it is whole, its SHA-256 is that of the stream, and it is on
the disk. It is slowed down, to --snapshot-rate and as far as etcd's latency asks for,
and never paused. With --plan it is then proved: every entry of the plan is looked up in it.
"etcdctl snapshot restore" reads it.`,
		Example: `  etcdsweep snapshot save /var/backups/etcd.db
  etcdsweep snapshot save /var/backups/etcd.db --plan runaway.plan`,
		Args: oneArg("PATH"),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), args[0], s) },
	}
	cmd.Flags().StringVar(&o.plan, "plan", "", "prove that the snapshot holds the entries of this plan")
	o.addSnapshotFlag(cmd.Flags())
	addOutputFlag(cmd, &o.output)
	o.addFlags(cmd)
	return cmd
}

func (o *snapshotSaveOptions) run(ctx context.Context, path string, s streams) error {
	if err := checkOutput(o.output); err != nil {
		return err
	}
	var p *plan.File
	var minRevision int64
	if o.plan != "" {
		var err error
		if p, err = plan.Open(o.plan); err != nil {
			return err
		}
		minRevision = p.Header.Revision
	}
	client, err := o.connect(ctx, s)
	if err != nil {
		return interrupted(ctx, err)
	}
	defer client.Close()
	screen := newScreen(s.err)
	defer screen.close()
	pacer, stop := o.readPacer(ctx, client, screen)
	defer stop()
	began := false
	file, err := saveSnapshot(ctx, client, pacer, path, minRevision, func(done, total int64) {
		if !began {
			screen.begin("snapshot", total, control.Bytes)
			began = true
		}
		screen.advance(done)
	})
	screen.close()
	if err != nil {
		return interrupted(ctx, err)
	}
	defer file.Close()
	return reportSnapshot(s, o.output, file, p)
}

type snapshotVerifyOptions struct {
	plan   string
	output string
}

func newSnapshotVerifyCommand(s streams) *cobra.Command {
	var o snapshotVerifyOptions
	cmd := &cobra.Command{
		Use:   "verify PATH",
		Short: "Check a snapshot's SHA-256, and what it holds of a plan; needs no cluster",
		Long: `Compute the SHA-256 of a snapshot and compare it with the one at its end. With --plan,
look every entry of the plan up in it, at its planned revision.`,
		Example: `  etcdsweep snapshot verify /var/backups/etcd.db
  etcdsweep snapshot verify /var/backups/etcd.db --plan runaway.plan`,
		Args: oneArg("PATH"),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), args[0], s) },
	}
	cmd.Flags().StringVar(&o.plan, "plan", "", "look the entries of this plan up")
	addOutputFlag(cmd, &o.output)
	return cmd
}

func (o *snapshotVerifyOptions) run(ctx context.Context, path string, s streams) error {
	if err := checkOutput(o.output); err != nil {
		return err
	}
	var p *plan.File
	if o.plan != "" {
		var err error
		if p, err = plan.Open(o.plan); err != nil {
			return err
		}
	}
	info, err := snapshot.Verify(ctx, path)
	if err != nil {
		return interrupted(ctx, err)
	}
	file, err := openSnapshot(path, info)
	if err != nil {
		return err
	}
	defer file.Close()
	return reportSnapshot(s, o.output, file, p)
}

// reportSnapshot prints what a snapshot is and, if there is a plan, what it holds of it. Entries that it does not hold at
// their planned revision are an error of exit status 5.
func reportSnapshot(s streams, output string, file *snapshotFile, p *plan.File) error {
	proof := file.Describe()
	if p != nil {
		if err := apply.ProvePlanned(p, file, &proof); err != nil {
			return err
		}
	}
	if output == outputJSON {
		if err := printJSON(s.out, proof); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(s.out, "%s: %s at revision %d, whole\nSHA-256 %s\n", proof.Path, humanize.IBytes(uint64(proof.Bytes)), proof.Revision, proof.SHA256)
		if p != nil {
			fmt.Fprintf(s.out, "plan %s: %s of %s entries found at their planned revision\n", p.ID, count(proof.Planned), count(p.Trailer.Entries))
		}
	}
	if len(proof.Unproved) > 0 {
		missing := proof.Unproved[0]
		return &unprovedError{fmt.Errorf("snapshot %s: does not hold %s of plan %s at the planned revision, such as %s",
			proof.Path, english.Plural(int(missing.Count), "entry", "entries"), p.ID, missing.Examples[0])}
	}
	return nil
}

// unprovedError is a whole snapshot that does not hold all of a plan.
type unprovedError struct{ err error }

func (e *unprovedError) Error() string { return e.err.Error() }

// Hint says where the entries may be.
func (e *unprovedError) Hint() string {
	return "they have changed between the plan and the snapshot, or it is a snapshot from before; apply looks such entries up as they are now"
}

// snapshotFile is an open snapshot that knows what was found when it was saved or verified.
type snapshotFile struct {
	*snapshot.File
	proof journal.Proof
}

// Describe returns path, revision, size and digest.
func (f *snapshotFile) Describe() journal.Proof { return f.proof }

func openSnapshot(path string, info snapshot.Info) (*snapshotFile, error) {
	file, err := snapshot.Open(path)
	if err != nil {
		return nil, err
	}
	revision, err := file.Revision()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &snapshotFile{file, journal.Proof{Path: path, Revision: revision, Bytes: info.Bytes, SHA256: info.SHA256}}, nil
}

// spareBytes stay free beside a snapshot: etcd's own data may be on the same disk, and etcd stops when that is full.
const spareBytes = 256 << 20

const (
	snapshotTries = 6                // to get a snapshot, from one member or the other
	pausedStream  = 30 * time.Second // that a stream may stand still for a pause
)

// errPausedStream gives up a stream because the run stands still. For as long as one is open the member keeps what it had at its
// beginning, and cannot use again what was freed since: its database grows towards its quota.
var errPausedStream = errors.New("the run stands still")

// saveSnapshot streams a snapshot from the member that bears it best, and opens it; from another one if that is lost on the
// way. While the run stands still it waits, and begins anew. The caller closes the file.
func saveSnapshot(ctx context.Context, client *etcdops.Client, pacer *pace.Pacer, path string, minRevision int64, progress func(done, total int64)) (*snapshotFile, error) {
	for failures := 0; ; {
		if err := pacer.Reads(ctx, 0); err != nil {
			return nil, err
		}
		member, err := client.SnapshotSource(ctx, minRevision)
		if err == nil {
			var file *snapshotFile
			if file, err = saveFrom(ctx, client, member, pacer, path, minRevision, progress); err == nil {
				return file, nil
			}
		}
		switch {
		case ctx.Err() == nil && errors.Is(err, errPausedStream):
			continue
		case ctx.Err() != nil || !unanswered(err):
			return nil, err
		}
		if failures++; failures == snapshotTries {
			return nil, run.Unhealthy(err)
		}
		if !run.Wait(ctx, run.Patience(failures)) {
			return nil, run.ErrInterrupted
		}
	}
}

// unanswered reports whether an error says that nobody has answered, rather than what was answered.
func unanswered(err error) bool {
	lost, ok := errors.AsType[*etcdops.EndpointError](err)
	return ok && lost.Gone() || etcdops.NoAnswer(err)
}

// paceStream holds a snapshot's stream up, but not for the whole of a long pause.
func paceStream(ctx context.Context, pacer *pace.Pacer, bytes int) error {
	limited, cancel := context.WithTimeout(ctx, pausedStream)
	defer cancel()
	err := pacer.Snapshot(limited, bytes)
	switch {
	case err == nil || ctx.Err() != nil || limited.Err() == nil:
		return err
	case pacer.Status().State == pace.Paused:
		return errPausedStream
	}
	return pacer.Snapshot(ctx, bytes) // it is only slow
}

func saveFrom(ctx context.Context, client *etcdops.Client, member etcdops.Member, pacer *pace.Pacer, path string, minRevision int64, progress func(done, total int64)) (*snapshotFile, error) {
	if err := snapshot.CheckSpace(filepath.Dir(path), member.DBSize+spareBytes); err != nil {
		return nil, fmt.Errorf("snapshot %s: %w", path, err)
	}
	stream, err := client.Snapshot(ctx, member.Endpoint)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	info, err := snapshot.Save(ctx, stream, path, snapshot.Options{
		Progress: func(bytes int64) { progress(bytes, member.DBSize) },
		Pace:     func(ctx context.Context, bytes int) error { return paceStream(ctx, pacer, bytes) },
	})
	if err != nil {
		return nil, err
	}
	file, err := openSnapshot(path, info)
	if err != nil {
		return nil, err
	}
	if file.proof.Revision < minRevision {
		return nil, errors.Join(fmt.Errorf("snapshot %s: at revision %d, want %d at least", path, file.proof.Revision, minRevision), file.Close())
	}
	return file, nil
}
