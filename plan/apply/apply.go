package apply

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"etcdsweep/decode"
	"etcdsweep/plan"
	"etcdsweep/plan/archive"
	"etcdsweep/plan/controllers"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/pace"
	"etcdsweep/plan/run"
)

// Cluster is what a run needs of a cluster.
type Cluster interface {
	plan.Source
	// GetAll reads keys, in their order; nil stands for one that is absent.
	GetAll(ctx context.Context, keys []string) ([]*decode.Record, error)
	// DeleteIf deletes a key in a transaction of its own if its revisions are those given. It answers with the revision
	// of the delete, or with the record as it is now, or with neither if the key is absent.
	DeleteIf(ctx context.Context, key string, createRevision, modRevision int64) (deletedAt int64, current *decode.Record, err error)
	// ScanKeys is Scan without the values.
	ScanKeys(ctx context.Context, prefix string) iter.Seq2[decode.Record, error]
	// WatchPuts yields every put under a prefix from a revision on until ctx ends; an error is the last pair.
	WatchPuts(ctx context.Context, prefix string, fromRevision int64) iter.Seq2[decode.Record, error]
	// Facts gathers what preflight looks at. It fails only if nothing can be said.
	Facts(ctx context.Context) (run.Facts, error)
}

// Snapshots takes a snapshot, or opens one that was taken before. What they return is the caller's to close.
type Snapshots interface {
	// Save writes one to path, which must be free, from a member whose revision has reached minRevision. It calls
	// progress with the bytes received, and with the total as far as it is known.
	Save(ctx context.Context, path string, minRevision int64, progress func(done, total int64)) (Snapshot, error)
	// Open opens one, after its SHA-256 was computed again.
	Open(ctx context.Context, path string) (Snapshot, error)
}

// Snapshot is a snapshot that is whole and on the disk.
type Snapshot interface {
	// Holds reports whether it has the key as it was written at the mod revision.
	Holds(key string, createRevision, modRevision int64) (bool, error)
	// Describe fills in path, revision, size and digest.
	Describe() journal.Proof
	Close() error
}

// Config is a run to be.
type Config struct {
	Plan      *plan.File // the copy in Dir
	Cluster   Cluster
	Snapshots Snapshots
	Dir       *run.Dir // the plan's; the cluster is locked
	Opened    journal.Opened

	Allow []string // see Allowances

	// Pace holds up the deletes. It is not started, and ends with the run. It is nil if nothing is to be held up.
	Pace        *pace.Pacer
	Concurrency int // deletes in flight
	PageKeys    int // the most keys of a page; 0 for what goes in about two seconds

	NoChase  bool  // leave newcomers
	ChaseMax int64 // the most newcomers to delete; 0 for the larger of 1,000 and half of the plan

	// Settle is the time without births that the run waits for between roots and pods; 0 for three times the median
	// time between two births that the plan saw, 5 s at least and 60 s at most.
	Settle time.Duration
	// SettleMax is the longest that it waits while births go on.
	SettleMax time.Duration

	// LeaseDuration is how long the lease of kube-controller-manager stands still when nobody leads.
	LeaseDuration time.Duration
	// OfferStop is called if kube-controller-manager is alive, before anything is written: it asks the operator to stop it,
	// and returns when that is done, or is not to be done. It is nil where there is nobody to ask.
	OfferStop func(ctx context.Context, w *controllers.Watch) error

	Now     func() time.Time
	Observe func(run.Event) // called by one goroutine at a time
}

// sweeper is a run under way.
type sweeper struct {
	Config
	selection plan.Selection // owners by the UIDs that the plan met
	matches   func(*decode.Object) (*plan.Owner, bool)
	owners    map[string]*plan.Owner // of the selection, by UID
	guards    plan.Guards
	writes    *run.Writes
	snapshot  Snapshot
	archive   *archive.Writer
	journal   *journal.Writer
	births    *births

	controllers *controllers.Watch
	nodes       nodes

	// archived has the revisions of what an earlier attempt has archived, of the keys that it left in doubt.
	archived map[string]revisions

	sweepBegan time.Time // when the first pod was to go

	mu     sync.Mutex // guards history, report, opened, and calls of Observe
	rounds int        // of looking for newcomers in a whole namespace
	stays  bool       // the namespace that was planned whole is not empty

	opened  bool            // this attempt stands in the journal
	early   []journal.Frame // of the pace, from before it did
	history *journal.History
	report  Report
}

// revisions are those of a version of a key.
type revisions struct{ create, mod int64 }

// Run carries out the plan, or goes on where an earlier attempt has left it. The report tells what was done in all of them,
// whatever the error: nil; [run.ErrLeft]; [run.ErrInterrupted] when ctx has ended; a *run.PreflightError, a
// *plan.RefusedError or a *run.HealthError; or another. It is nil if there is nothing to report.
func Run(ctx context.Context, cfg Config) (_ *Report, err error) {
	r, err := newSweeper(cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.open(); err != nil {
		return nil, err
	}
	defer r.watchControllers(context.WithoutCancel(ctx))()
	running, stop := r.Pace.Start(ctx, run.PaceHooks(r.emit, r.notePause))
	err = run.Interrupted(running, r.steps(running))
	stop() // before the journal is closed: it tells of pauses
	return r.conclude(err)
}

func newSweeper(cfg Config) (*sweeper, error) {
	header := &cfg.Plan.Header
	r := &sweeper{Config: cfg, selection: header.Selection.ByUID(cfg.Plan.Trailer.Owners), history: &journal.History{}}
	var err error
	if r.matches, err = r.selection.Matcher(); err != nil {
		return nil, fmt.Errorf("plan %s: %w", cfg.Plan.Path(), err)
	}
	if r.guards, err = plan.NewGuards(header.Allow); err != nil {
		return nil, fmt.Errorf("plan %s: %w", cfg.Plan.Path(), err)
	}
	if r.selection.Whole != nil {
		r.guards = r.guards.OfNamespace()
	}
	r.owners = map[string]*plan.Owner{}
	for i := range r.selection.Owners {
		for _, uid := range r.selection.Owners[i].UIDs {
			r.owners[uid] = &r.selection.Owners[i]
		}
	}
	r.Concurrency = max(cfg.Concurrency, 1)
	if r.Pace == nil {
		r.Pace = pace.New(pace.Config{Concurrency: r.Concurrency}, nil)
	}
	r.writes = &run.Writes{
		Get:  cfg.Cluster.Get,
		Wait: r.Pace.Wait,
		Now:  cfg.Now,
		Silent: func(err error) {
			r.emit(run.Warning{Text: fmt.Sprintf("no answer: %v; reading again, and trying again", err)})
		},
	}
	r.LeaseDuration = cmp.Or(cfg.LeaseDuration, controllers.DefaultStill)
	if cfg.ChaseMax == 0 {
		r.ChaseMax = max(1000, cfg.Plan.Trailer.Entries/2)
	}
	r.report = Report{Plan: cfg.Plan.ID, Directory: cfg.Dir.Path}
	return r, nil
}

// steps is the order of a run.
func (r *sweeper) steps(ctx context.Context) error {
	if err := r.preflight(ctx); err != nil {
		return err
	}
	r.watchNodes(ctx)
	if err := r.offerStop(ctx); err != nil {
		return err
	}
	if err := r.begin(); err != nil {
		return err
	}
	if err := r.keepSnapshot(ctx); err != nil {
		return err
	}
	if err := r.openArchive(); err != nil {
		return err
	}
	if err := r.noteControllers(ctx); err != nil {
		return err
	}
	if err := r.removeRoots(ctx); err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	births, err := r.watchBirths(watching)
	defer births.wait()
	defer stop()
	if err != nil {
		return err
	}
	r.births = births
	if err := r.settle(ctx); err != nil {
		return err
	}
	r.sweepBegan = r.Now()
	if err := r.removeRest(ctx); err != nil {
		return err
	}
	if err := r.chase(ctx); err != nil {
		return err
	}
	if err := r.removeNamespace(ctx); err != nil {
		return err
	}
	err = r.verify(ctx)
	r.Pace.After(ctx)
	return err
}

func (r *sweeper) preflight(ctx context.Context) error {
	r.emit(run.StepBegan{Step: run.StepPreflight})
	facts, err := r.Cluster.Facts(ctx)
	if err != nil {
		return err
	}
	if err := Check(r.Plan, facts, r.Allow, len(r.history.Attempts) == 0, r.Now()).Err(); err != nil {
		return err
	}
	for _, m := range facts.Members {
		if m.Err != nil {
			r.emit(run.Warning{Text: fmt.Sprintf("member %s does not answer: %v", m.Name, m.Err)})
		}
	}
	for _, alarm := range facts.Alarms {
		r.emit(run.Warning{Text: fmt.Sprintf("member %s has the alarm %s; deletes pass", alarm.Member, alarm.Kind)})
	}
	if err := r.sameNamespace(ctx); err != nil {
		return err
	}
	if err := r.Pace.Measure(ctx); err != nil {
		return err
	}
	began := r.Pace.Status()
	if slow := run.PaceWarning(began); slow != "" {
		r.emit(run.Warning{Text: slow})
	}
	r.emit(run.StepEnded{Step: run.StepPreflight, Words: fmt.Sprintf("same cluster, revision %d, %d of %d members answer", facts.Revision, facts.Answering(), len(facts.Members)) + run.PaceWords(began)})
	return nil
}

// emit hands an event to the observer.
func (r *sweeper) emit(e run.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Observe != nil {
		r.Observe(e)
	}
}
