package apply

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"etcdsweep/decode"
	"etcdsweep/plan"
)

// Cluster is what a run needs of a cluster.
type Cluster interface {
	plan.Source
	// DeleteIf deletes a key in a transaction of its own if its revisions are those given. It answers with the revision
	// of the delete, or with the record as it is now, or with neither if the key is absent.
	DeleteIf(ctx context.Context, key string, createRevision, modRevision int64) (deletedAt int64, current *decode.Record, err error)
	// ScanKeys is Scan without the values.
	ScanKeys(ctx context.Context, prefix string) iter.Seq2[decode.Record, error]
	// WatchPuts yields every put under a prefix from a revision on until ctx ends; an error is the last pair.
	WatchPuts(ctx context.Context, prefix string, fromRevision int64) iter.Seq2[decode.Record, error]
	// Facts gathers what preflight looks at. It fails only if nothing can be said.
	Facts(ctx context.Context) (Facts, error)
}

// Snapshot is a snapshot that is whole and on the disk.
type Snapshot interface {
	// Holds reports whether it has the key as it was written at the mod revision.
	Holds(key string, createRevision, modRevision int64) (bool, error)
	// Describe fills in path, revision, size and digest.
	Describe() Proof
}

// Archive takes the raw bytes of what the snapshot does not hold. When Append returns nil they are on the disk.
type Archive interface {
	Append(records ...decode.Record) error
}

// Config is a run to be.
type Config struct {
	Plan    *plan.File
	Cluster Cluster
	// Keep makes the two places where bytes are kept: a snapshot whose revision has reached the given one, and an
	// archive. It calls progress with the bytes of the snapshot received, and with the total as far as it is known. Both
	// are the caller's to close.
	Keep func(ctx context.Context, minRevision int64, progress func(done, total int64)) (Snapshot, Archive, error)

	First bool     // the plan was never applied before
	Allow []string // see Allowances

	Rate        float64 // deletes a second, 0 for unpaced
	Concurrency int     // deletes in flight

	NoChase  bool  // leave newcomers
	ChaseMax int64 // the most newcomers to delete; 0 for the larger of 1,000 and half of the plan

	// Settle is the time without births that the run waits for between roots and pods; 0 for three times the median
	// time between two births that the plan saw, 5 s at least and 60 s at most.
	Settle time.Duration
	// SettleMax is the longest that it waits while births go on.
	SettleMax time.Duration

	Now     func() time.Time
	Observe func(Event) // called by one goroutine at a time
}

// run is a run under way.
type run struct {
	Config
	selection plan.Selection // owners by the UIDs that the plan met
	matches   func(*decode.Object) (*plan.Owner, bool)
	guards    plan.Guards
	limiter   *rate.Limiter
	snapshot  Snapshot
	archive   Archive
	births    *births

	sweepBegan time.Time // when the first pod was to go

	mu     sync.Mutex // guards report, calls of Observe, and warned
	report Report
	warned time.Time // when a lost answer was last told
}

// Run carries out the plan. The report tells what was done, whatever the error: nil; [ErrLeft]; [ErrInterrupted] when
// ctx has ended; a [PreflightError], a *plan.RefusedError or a [HealthError]; or another.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	r, err := newRun(cfg)
	if err != nil {
		return nil, err
	}
	err = r.steps(ctx)
	if err != nil && ctx.Err() != nil {
		err = ErrInterrupted
	}
	r.report.Ended = r.Now().UTC()
	r.report.State = r.state(err)
	if err != nil {
		r.report.Error = err.Error()
	}
	return &r.report, err
}

func (r *run) state(err error) State {
	var health *HealthError
	var preflight *PreflightError
	var refused *plan.RefusedError
	switch {
	case err == nil:
		return StateDone
	case errors.Is(err, ErrLeft):
		return StateLeft
	case errors.Is(err, ErrInterrupted):
		return StateInterrupted
	case errors.As(err, &preflight), errors.As(err, &refused) && r.report.Roots.Total() == 0:
		return StateRefused
	case errors.As(err, &health), errors.As(err, &refused):
		return StateStopped
	default:
		return StateFailed
	}
}

func newRun(cfg Config) (*run, error) {
	header := cfg.Plan.Header
	r := &run{Config: cfg, selection: header.Selection.ByUID(cfg.Plan.Trailer.Owners)}
	var err error
	if r.matches, err = r.selection.Matcher(); err != nil {
		return nil, fmt.Errorf("plan %s: %w", cfg.Plan.Path(), err)
	}
	if r.guards, err = plan.NewGuards(header.Allow); err != nil {
		return nil, fmt.Errorf("plan %s: %w", cfg.Plan.Path(), err)
	}
	limit := rate.Limit(cfg.Rate)
	if cfg.Rate == 0 {
		limit = rate.Inf
	}
	r.limiter = rate.NewLimiter(limit, 1)
	r.Concurrency = max(cfg.Concurrency, 1)
	if cfg.ChaseMax == 0 {
		r.ChaseMax = max(1000, cfg.Plan.Trailer.Entries/2)
	}
	r.report = Report{Plan: cfg.Plan.ID, Started: cfg.Now().UTC()}
	return r, nil
}

// steps is the order of a run.
func (r *run) steps(ctx context.Context) error {
	if err := r.preflight(ctx); err != nil {
		return err
	}
	if err := r.takeSnapshot(ctx); err != nil {
		return err
	}
	if err := r.prove(ctx); err != nil {
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
	if err := r.removePods(ctx); err != nil {
		return err
	}
	if err := r.chase(ctx); err != nil {
		return err
	}
	return r.verify(ctx)
}

func (r *run) preflight(ctx context.Context) error {
	r.emit(StepBegan{Step: StepPreflight})
	facts, err := r.Cluster.Facts(ctx)
	if err != nil {
		return err
	}
	if refusals := Check(r.Plan, facts, r.Allow, r.First, r.Now()); len(refusals) > 0 {
		return &PreflightError{Refusals: refusals}
	}
	for _, m := range facts.Members {
		if m.Err != nil {
			r.emit(Warning{fmt.Sprintf("member %s does not answer: %v", m.Name, m.Err)})
		}
	}
	for _, alarm := range facts.Alarms {
		r.emit(Warning{fmt.Sprintf("member %s has the alarm %s; deletes pass", alarm.Member, alarm.Kind)})
	}
	r.emit(StepEnded{StepPreflight, fmt.Sprintf("same cluster, revision %d, %d of %d members answer", facts.Revision, answering(facts.Members), len(facts.Members))})
	return nil
}

func answering(members []Member) (n int) {
	for _, m := range members {
		if m.Err == nil {
			n++
		}
	}
	return n
}

// emit hands an event to the observer.
func (r *run) emit(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.observe(e)
}

func (r *run) observe(e Event) {
	if r.Observe != nil {
		r.Observe(e)
	}
}

// judged counts what became of a key in the tally of its step.
func (r *run) judged(step Step, key string, outcome Outcome, reason string, revision int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tally(step).add(outcome, reason, key)
	if revision > 0 {
		if r.report.FirstRevision == 0 || revision < r.report.FirstRevision {
			r.report.FirstRevision = revision
		}
		r.report.LastRevision = max(r.report.LastRevision, revision)
	}
	r.observe(Judged{Step: step, Key: key, Outcome: outcome, Reason: reason})
}

func (r *run) tally(step Step) *Tally {
	switch step {
	case StepRoots:
		return &r.report.Roots
	case StepNewcomers:
		return &r.report.Newcomers
	default:
		return &r.report.Pods
	}
}
