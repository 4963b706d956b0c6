package sweep_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"
	"testing"

	"etcdsweep/decode"
	"etcdsweep/plan/apply"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/run"
	"etcdsweep/test/faultfs"
)

var errKilled = errors.New("killed")

// process is a cluster as a process sees it that may be killed. Once it is dead it asks nothing and hears nothing: what was
// under way is done or not, and it does not know.
type process struct {
	live
	dead atomic.Bool
	// unheard counts the deletes that were done whose answers nobody heard.
	unheard atomic.Int64
}

// alive makes a request, and hears its answer, unless the process has died before.
func alive[T any](p *process, request func() (T, error)) (answer T, err error) {
	if p.dead.Load() {
		return answer, errKilled
	}
	heard, err := request()
	if p.dead.Load() {
		return answer, errKilled
	}
	return heard, err
}

func (p *process) Get(ctx context.Context, key string) (*decode.Record, error) {
	return alive(p, func() (*decode.Record, error) { return p.live.Get(ctx, key) })
}

func (p *process) GetAll(ctx context.Context, keys []string) ([]*decode.Record, error) {
	return alive(p, func() ([]*decode.Record, error) { return p.live.GetAll(ctx, keys) })
}

func (p *process) Revision(ctx context.Context, key string) (int64, error) {
	return alive(p, func() (int64, error) { return p.live.Revision(ctx, key) })
}

func (p *process) DeleteIf(ctx context.Context, key string, createRevision, modRevision int64) (int64, *decode.Record, error) {
	if p.dead.Load() {
		return 0, nil, errKilled
	}
	at, current, err := p.live.DeleteIf(ctx, key, createRevision, modRevision)
	if p.dead.Load() {
		if at > 0 {
			p.unheard.Add(1)
		}
		return 0, nil, errKilled
	}
	return at, current, err
}

func (p *process) Scan(ctx context.Context, prefix string) iter.Seq2[decode.Record, error] {
	return p.heard(p.live.Scan(ctx, prefix))
}

func (p *process) ScanKeys(ctx context.Context, prefix string) iter.Seq2[decode.Record, error] {
	return p.heard(p.live.ScanKeys(ctx, prefix))
}

func (p *process) heard(records iter.Seq2[decode.Record, error]) iter.Seq2[decode.Record, error] {
	return func(yield func(decode.Record, error) bool) {
		for record, err := range records {
			if p.dead.Load() {
				record, err = decode.Record{}, errKilled
			}
			if !yield(record, err) || err != nil {
				return
			}
		}
	}
}

// killedAt makes an attempt whose process dies at a call on the disk.
func (tr *trial) killedAt(fault faultfs.Fault) (report *apply.Report, unheard int64, err error) {
	tr.t.Helper()
	ctx, cancel := context.WithCancel(tr.t.Context())
	defer cancel()
	p := &process{live: tr.live(tr.plan)}
	fault.Dead = true
	fault.Struck = func(faultfs.Call) {
		p.dead.Store(true)
		cancel() // a dead process does not wait
	}
	tr.disk.Break(fault)
	report, err = tr.attempt(ctx, func(cfg *apply.Config) { cfg.Cluster = p })
	return report, p.unheard.Load(), err
}

func logs(call faultfs.Call) bool {
	name := filepath.Base(call.Path)
	return name == "journal" || name == "archive.zst"
}

// A process that dies at any step of its journal or its archive, while its deletes are under way, loses nothing: whoever
// goes on comes to the same end, and knows of each key whether it may have been the dead one that deleted it.
func TestKilledAtEveryStep(t *testing.T) {
	g := newGround(t, 40)
	var unheard int64
	for at := 1; ; at++ {
		tr := g.try()
		report, missed, err := tr.killedAt(faultfs.Fault{At: at, Only: logs})
		unheard += missed
		call, struck := tr.disk.Struck()
		tr.what = fmt.Sprintf("killed at call %d, %s", at, call)
		if !struck {
			tr.finished(report, err)
			tr.end()
			break
		}
		if err == nil {
			tr.errorf("no error")
		}
		tr.safe()
		gone := len(tr.before) - len(tr.state())
		tr.disk.Break(faultfs.Fault{})
		tr.goOn()
		all := tr.outcomes()
		if unknown := all[journal.GoneUnknown]; all[journal.Deleted]+unknown != int64(len(tr.planned)) || unknown < missed || unknown > int64(gone) {
			tr.errorf("%d keys were gone when it died, %d of them without its knowledge; in the end: %v", gone, missed, all)
		}
		tr.end()
	}
	if unheard == 0 {
		t.Error("no process died while a delete was under way: the test tested less than it should")
	}
}

// Processes that die one after the other, each while it goes on with what the last one left.
func TestKilledAgainAndAgain(t *testing.T) {
	const trials, calls = 40, 45 // about as many calls as a run makes on its journal and its archive
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	g := newGround(t, 40)
	for n := range trials {
		tr := g.try()
		tr.what = fmt.Sprintf("seed %d, trial %d", seed, n)
		for deaths := 0; ; deaths++ {
			report, _, err := tr.killedAt(faultfs.Fault{At: 1 + random.IntN(calls), Only: logs})
			tr.safe()
			call, struck := tr.disk.Struck()
			if !struck {
				tr.finished(report, err)
				break
			}
			tr.what += ", " + call.String()
			if tr.closed() {
				tr.disk.Break(faultfs.Fault{})
				tr.goOn()
				break
			}
		}
		tr.end()
	}
}

// A process that dies while newcomers go leaves them to the next one, whose report tells of all of them and knows which the
// snapshot does not hold.
func TestKilledAmongNewcomers(t *testing.T) {
	const newcomers = 30
	g := newGround(t, 20)
	tr := g.try()
	tr.what = "killed among newcomers"
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p := &process{live: tr.live(tr.plan)}
	like := podEntries(t, tr.plan)[0]
	_, err := tr.attempt(ctx, func(cfg *apply.Config) {
		afterSnapshot(cfg, func() { must(t, tr.bear(t.Context(), like, "n", newcomers)) })
		cfg.Cluster = p
		judged := 0
		cfg.Observe = func(e run.Event) {
			if e, ok := e.(run.Judged); !ok || e.Step != run.StepNewcomers {
				return
			}
			if judged++; judged == newcomers/2 { // its page is in no journal yet
				tr.disk.Break(faultfs.Fault{At: 1, Dead: true})
				p.dead.Store(true)
				cancel()
			}
		}
	})
	if err == nil {
		t.Fatal("it lived")
	}
	tr.disk.Break(faultfs.Fault{})
	report, err := tr.attempt(t.Context())
	must(t, err)
	all := report.Newcomers.Outcomes
	if all[journal.Deleted]+all[journal.GoneUnknown] != newcomers || all[journal.GoneUnknown] == 0 {
		t.Errorf("newcomers: %v", all)
	}
	if report.MissingInSnapshot != newcomers || report.OlderInSnapshot != 0 {
		t.Errorf("%d not in the snapshot, %d older there; want %d and none", report.MissingInSnapshot, report.OlderInSnapshot, newcomers)
	}
	onlyGone(t, tr.before, tr.state(), tr.planned)
}

// closed reports whether the journal says that the run is finished.
func (tr *trial) closed() bool {
	history := journal.History{}
	for frame, err := range journal.ReadFile(tr.dir().Journal()) {
		if err != nil {
			break
		}
		history.Add(frame)
	}
	return history.State().Finished()
}

// outcomes counts the keys of the last report, by outcome.
func (tr *trial) outcomes() map[journal.Outcome]int64 {
	tr.t.Helper()
	report := tr.report()
	all := map[journal.Outcome]int64{}
	for _, tally := range []journal.Tally{report.Roots, report.Pods} {
		for outcome, n := range tally.Outcomes {
			all[outcome] += n
		}
	}
	return all
}
