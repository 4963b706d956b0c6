package sweep_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"etcdsweep/decode"
	"etcdsweep/durable"
	"etcdsweep/plan"
	"etcdsweep/plan/apply"
	"etcdsweep/plan/archive"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/run"
	"etcdsweep/test/faultfs"
	"etcdsweep/test/lab"
)

// ground is a small cluster on which a run is tried again and again, each time with another fault. What went is put back
// in between.
type ground struct {
	*world
	query  plan.Query
	trials int
}

// newGround copies a runaway Job with its pods, and some bystanders, into a cluster whose snapshot is a few writes long.
func newGround(t *testing.T, pods int) *ground {
	t.Helper()
	source := start(t, lab.Config{NoFsync: true})
	job := source.fill(pods, 1)[0]
	g := &ground{world: start(t, lab.Config{NoFsync: true}), query: jobs(job.Namespace, job.Name)}
	copied := state{}
	for key, record := range source.state() {
		for _, prefix := range []string{"/registry/namespaces/", "/registry/jobs/", "/registry/pods/batch/runaway", "/registry/pods/batch-2/"} {
			if strings.HasPrefix(key, prefix) {
				copied[key] = record
			}
		}
	}
	g.putBack(copied)
	return g
}

// putBack makes the keys again that are gone.
func (w *world) putBack(all state) {
	w.t.Helper()
	const opsInTxn = 128
	now := w.state()
	var puts []clientv3.Op
	for key, record := range all {
		if _, ok := now[key]; !ok {
			puts = append(puts, clientv3.OpPut(key, string(record.Value)))
		}
	}
	for some := range slices.Chunk(puts, opsInTxn) {
		_, err := w.etcd.Txn(w.t.Context()).Then(some...).Commit()
		must(w.t, err)
	}
}

// trial is one plan on the ground, and its run, which may take several attempts.
type trial struct {
	*ground
	disk     *faultfs.Disk
	stateDir string
	plan     *plan.File
	planned  []string
	before   state
	what     string // for messages
}

// try begins a trial. end puts back what went.
func (g *ground) try() *trial {
	g.t.Helper()
	const compactEvery = 25 // or the snapshots grow
	if g.trials++; g.trials%compactEvery == 0 {
		now, err := g.client.Revision(g.t.Context(), "/registry")
		must(g.t, err)
		if _, err = g.etcd.Compact(g.t.Context(), now, clientv3.WithCompactPhysical()); !errors.Is(err, rpctypes.ErrCompacted) {
			must(g.t, err)
		}
	}
	stateDir, err := os.MkdirTemp(g.dir, "state-")
	must(g.t, err)
	p := g.plan(g.query)
	return &trial{ground: g, disk: faultfs.New(), stateDir: stateDir, plan: p, planned: keys(g.t, p), before: g.state()}
}

func (tr *trial) end() {
	tr.t.Helper()
	tr.putBack(tr.before)
	must(tr.t, os.RemoveAll(tr.stateDir))
}

// attempt carries the plan out, or goes on with it, in pages of ten keys.
func (tr *trial) attempt(ctx context.Context, change ...func(*apply.Config)) (*apply.Report, error) {
	cfg, err := tr.tryConfig(tr.disk, tr.stateDir, tr.plan)
	if err != nil {
		return nil, err
	}
	cfg.PageKeys, cfg.Settle = 10, time.Nanosecond
	for _, c := range change {
		c(&cfg)
	}
	return apply.Run(ctx, cfg)
}

func (tr *trial) dir() *run.Dir {
	return &run.Dir{Path: filepath.Join(tr.stateDir, "runs", tr.plan.ID), FS: durable.OS()}
}

func (tr *trial) errorf(format string, args ...any) {
	tr.t.Helper()
	tr.t.Errorf("%s: %s", tr.what, fmt.Sprintf(format, args...))
}

// safe checks what an attempt may leave that has failed: some of the plan's keys are gone, nothing else has changed, and a
// power cut at this moment would leave the bytes of every key that is gone.
func (tr *trial) safe() {
	tr.t.Helper()
	after := tr.state()
	gone := slices.DeleteFunc(slices.Clone(tr.planned), func(key string) bool {
		_, stands := after[key]
		return stands
	})
	onlyGone(tr.t, tr.before, after, gone)
	kept := map[string]decode.Record{}
	for _, record := range tr.keptAfterPowerCut() {
		kept[record.Key] = record
	}
	lost := slices.DeleteFunc(gone, func(key string) bool { return same(kept[key], tr.before[key]) })
	if len(lost) > 0 {
		key := lost[0]
		tr.errorf("%d keys are gone that a power cut would lose: %s went at mod revision %d, and the archive has it at %d", len(lost), key, tr.before[key].ModRevision, kept[key].ModRevision)
	}
}

// same reports whether two records are the same version of a key.
func same(a, b decode.Record) bool {
	return bytes.Equal(a.Value, b.Value) && a.ModRevision == b.ModRevision && a.CreateRevision == b.CreateRevision
}

// keptAfterPowerCut returns the records in that part of the archive which is surely on the disk.
func (tr *trial) keptAfterPowerCut() (records []decode.Record) {
	tr.t.Helper()
	path := tr.dir().Archive()
	content, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		tr.t.Fatal(err)
	}
	synced := min(tr.disk.Synced(path), int64(len(content)))
	if synced < int64(len(archive.Format)) {
		return nil
	}
	for record, err := range archive.Read(bytes.NewReader(content[:synced])) {
		if errors.Is(err, durable.ErrTorn) {
			break
		}
		must(tr.t, err)
		records = append(records, record)
	}
	return records
}

// finished checks what stands after the last attempt: the whole plan is gone and nothing else, each version was archived
// once, and the report tells of each key once.
func (tr *trial) finished(report *apply.Report, err error) {
	tr.t.Helper()
	if err != nil || report.State != journal.StateDone {
		tr.t.Fatalf("%s: the last attempt: %v", tr.what, err)
	}
	tr.safe()
	onlyGone(tr.t, tr.before, tr.state(), tr.planned)
	tr.accounts(report)
}

// accounts checks that report and archive tell of every planned key, once.
func (tr *trial) accounts(report *apply.Report) {
	tr.t.Helper()
	type version struct {
		key         string
		modRevision int64
	}
	seen, keys := map[version]bool{}, map[string]bool{}
	for record, err := range archive.ReadFile(tr.dir().Archive()) {
		must(tr.t, err)
		v := version{record.Key, record.ModRevision}
		if seen[v] {
			tr.errorf("%s at mod revision %d was archived twice", v.key, v.modRevision)
		}
		seen[v], keys[v.key] = true, true
	}
	if total := report.Roots.Total() + report.Pods.Total(); total != int64(len(tr.planned)) || report.Roots.Remaining()+report.Pods.Remaining() > 0 {
		tr.errorf("%d keys accounted for, %d are planned; roots %v, pods %v", total, len(tr.planned), report.Roots.Outcomes, report.Pods.Outcomes)
	}
	if report.Archived != int64(len(keys)) || len(keys) != len(tr.planned) {
		tr.errorf("%d keys archived, the report says %d, %d are planned", len(keys), report.Archived, len(tr.planned))
	}
}
