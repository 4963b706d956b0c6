package undo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"etcdsweep/decode"
	"etcdsweep/durable"
	"etcdsweep/plan"
	"etcdsweep/plan/controllers"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/pace"
	"etcdsweep/plan/run"
)

// Cluster is what an undo needs of a cluster. Reads are linearizable.
type Cluster interface {
	plan.NodeSource
	// What is archived is archived as it was stored: records of the archive are opened, to be judged, as those of the cluster are.
	decode.Opener
	// Get reads a key; nil stands for one that is absent.
	Get(ctx context.Context, key string) (*decode.Record, error)
	// GetAll reads keys, in their order.
	GetAll(ctx context.Context, keys []string) ([]*decode.Record, error)
	// CreateIf makes a key that is absent, in a transaction of its own. It answers with the revision, or with the record that
	// is there. The lease is one that GrantLease granted, or 0.
	CreateIf(ctx context.Context, key string, value []byte, lease int64) (createdAt int64, current *decode.Record, err error)
	// LeaseLeft tells how long a lease has to go, and whether there is such a lease.
	LeaseLeft(ctx context.Context, id int64) (left time.Duration, found bool, err error)
	// GrantLease grants a lease that nobody renews.
	GrantLease(ctx context.Context, ttl time.Duration) (id int64, err error)
	// Facts gathers what preflight looks at. It fails only if nothing can be said.
	Facts(ctx context.Context) (run.Facts, error)
}

// Config is an undo to be.
type Config struct {
	Plan    *plan.File // of the run, in its directory
	Cluster Cluster
	Dir     *run.Dir // the run's; the cluster is locked
	Opened  journal.Opened

	Only   Only // the zero value selects everything
	Allow  []string
	DryRun bool // write nothing, neither to etcd nor to the journal

	// Pace holds up the writes. It is not started, and ends with the undo. It is nil if nothing is to be held up.
	Pace        *pace.Pacer
	Concurrency int // writes in flight

	// StopWords is how to stop kube-controller-manager here, for advice; "" says it in general.
	StopWords string

	// LeaseDuration is how long a lease stands still whose holder is dead: kube-controller-manager's, and that of a node.
	LeaseDuration time.Duration

	Now     func() time.Time
	Observe func(run.Event) // called by one goroutine at a time
}

// undoer is an undo under way.
type undoer struct {
	Config
	stage   string    // of the journal: each selection and each new look has its own
	before  time.Time // when the look before this one ended; zero if there was none
	deleted deleted
	survey  survey
	writes  *run.Writes
	journal *journal.Writer
	leases  map[int64]*lease // by the ID of the old one

	controllers *controllers.Watch
	moves       int64 // that it had seen when preflight judged that kube-controller-manager stands still

	mu      sync.Mutex      // guards history, report, begun, and calls of Observe
	begun   bool            // there is a journal
	early   []journal.Frame // of the pace, from before there was
	history *journal.History
	report  Report
}

// Run puts back what the run has deleted, or goes on where an earlier attempt has left it. The report tells what all attempts
// have done, whatever the error: nil; [run.ErrLeft]; [run.ErrInterrupted] when ctx has ended; a *run.PreflightError, a
// *plan.RefusedError or a *run.HealthError; or another. It is nil if there is nothing to report.
func Run(ctx context.Context, cfg Config) (_ *Report, err error) {
	u := &undoer{Config: cfg, leases: map[int64]*lease{}, history: &journal.History{}}
	u.Concurrency = max(cfg.Concurrency, 1)
	if u.Pace == nil {
		u.Pace = pace.New(pace.Config{Concurrency: u.Concurrency}, nil)
	}
	u.Opened.Command = "undo" + cfg.Only.String()
	u.writes = &run.Writes{
		Get:  cfg.Cluster.Get,
		Wait: u.Pace.Wait,
		Now:  cfg.Now,
		Silent: func(err error) {
			u.emit(run.Warning{Text: fmt.Sprintf("no answer: %v; reading again, and trying again", err)})
		},
	}
	defer func() {
		if u.journal != nil {
			err = errors.Join(err, u.journal.Close())
		}
	}()
	if err := u.open(); err != nil {
		return nil, err
	}
	running, stop := u.Pace.Start(ctx, run.PaceHooks(u.emit, u.notePause))
	err = run.Interrupted(running, u.steps(running))
	stop() // before the journal is closed: it tells of pauses
	return u.conclude(err)
}

// open reads what the run and earlier attempts to undo it have written down.
func (u *undoer) open() (err error) {
	if u.deleted, err = readDeleted(u.Dir); err != nil {
		return err
	}
	for frame, err := range journal.ReadFile(u.Dir.UndoJournal()) {
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, durable.ErrTorn):
		case err != nil:
			return err
		default:
			u.history.Add(frame)
		}
	}
	u.join()
	return nil
}

// join finds the stage to go on with: the one of the last attempt with the same selection; but a new one if that went to its
// end, because whoever gives the command again wants to know what has become of it since.
func (u *undoer) join() {
	looks := 1
	for i := range u.history.Attempts {
		if a := &u.history.Attempts[i]; u.ended(a) {
			looks++
			u.before = a.Ended
		}
	}
	u.stage = string(run.StepRestore) + strings.TrimPrefix(u.Opened.Command, "undo")
	if looks > 1 {
		u.stage += fmt.Sprintf(" (%d)", looks)
	}
}

// ended reports whether an attempt was one with the same selection, and went to its end.
func (u *undoer) ended(a *journal.Attempt) bool {
	return a.Command == u.Opened.Command && a.Closed != nil && a.Closed.State.Finished()
}

// steps is the order of an undo.
func (u *undoer) steps(ctx context.Context) error {
	u.emit(run.StepBegan{Step: run.StepPreflight})
	if !u.before.IsZero() {
		u.warn("this was put back before, at %s: looking at all of it anew", u.before.Format("2006-01-02 15:04:05 MST"))
	}
	defer u.watchControllers(ctx)()
	if err := u.look(ctx); err != nil {
		return err
	}
	refused, err := u.preflight(ctx)
	if err != nil {
		return err
	}
	if u.DryRun && refused.readable {
		if err := u.rehearse(ctx); err != nil {
			return err
		}
	}
	if err := refused.Err(); err != nil || u.DryRun {
		return err
	}
	if err := u.begin(); err != nil {
		return err
	}
	if err := u.restore(ctx); err != nil {
		return err
	}
	err = u.verify(ctx)
	u.Pace.After(ctx)
	return err
}

// begin writes down who undoes what. From here on there is a journal.
func (u *undoer) begin() (err error) {
	var cut int64
	u.journal, u.history, cut, err = u.Dir.OpenJournal(u.Dir.UndoJournal(), u.Now)
	if err != nil {
		return err
	}
	if cut > 0 {
		u.warn("the journal of the undo ended within a frame, as after a crash: %d bytes were cut off", cut)
	}
	if u.handled() > 0 {
		u.warn("going on where an earlier attempt has ended: what is done is not done again")
	}
	u.mu.Lock()
	u.begun = true
	early := u.early
	u.mu.Unlock()
	for _, frame := range append([]journal.Frame{{Opened: &u.Opened}}, early...) {
		if err := u.note(frame); err != nil {
			return err
		}
	}
	sight := u.controllers.Sight()
	return u.note(journal.Frame{Controllers: &journal.Controllers{Key: sight.Key, Holder: sight.Holder, Moving: sight.Moves > 0}})
}

// handled returns how many of the selected records, in their order, earlier attempts have come to: judged or in doubt.
func (u *undoer) handled() int64 {
	tally := u.history.Tally(u.stage)
	return tally.Total() - tally.Outcomes[journal.Unresolved] + int64(len(u.history.Doubt[u.stage]))
}

// note writes a frame to the journal, and to the history. The history has it whatever the error.
func (u *undoer) note(frame journal.Frame) error {
	if frame.At.IsZero() {
		frame.At = u.Now().UTC()
	}
	u.mu.Lock()
	u.history.Add(&frame)
	u.mu.Unlock()
	return u.journal.Append(frame)
}

// notePause writes down a pause, or what was said to the undo, as soon as there is a journal. If it cannot be written to, the next
// page cannot either.
func (u *undoer) notePause(frame journal.Frame) {
	u.mu.Lock()
	begun := u.begun
	if !begun {
		frame.At = u.Now().UTC()
		u.early = append(u.early, frame)
	}
	u.mu.Unlock()
	if begun {
		_ = u.note(frame)
	}
}

// conclude writes the report, and closes the journal's attempt: in this order, for an undo whose journal says that it is done is
// not gone on with, and would have no report of what it did.
func (u *undoer) conclude(err error) (*Report, error) {
	switch {
	case u.DryRun:
		u.fillReport(u.closing(err))
		return &u.report, err
	case u.journal == nil:
		return nil, err // refused before it began
	}
	if reportErr := u.writeReport(err); reportErr != nil {
		err = run.Unfinished(err, reportErr)
	}
	if noteErr := u.note(journal.Frame{Closed: u.closing(err)}); noteErr != nil && !errors.Is(err, errors.Unwrap(noteErr)) {
		err = run.Unfinished(err, noteErr)
		_ = u.writeReport(err) // it may say that the undo is done, and the next attempt goes on
	}
	u.fillReport(u.closing(err))
	return &u.report, err
}

// closing says how the attempt ends that ends with err.
func (u *undoer) closing(err error) *journal.Closed {
	closed := &journal.Closed{State: run.StateOf(err, u.journal != nil)}
	if err != nil {
		closed.Error = err.Error()
	}
	return closed
}

func (u *undoer) writeReport(err error) error {
	u.fillReport(u.closing(err))
	return u.Dir.WriteReport(u.Dir.UndoReport(), &u.report)
}

// emit hands an event to the observer.
func (u *undoer) emit(e run.Event) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.Observe != nil {
		u.Observe(e)
	}
}

// warn says what the operator must not overlook, now and in the report.
func (u *undoer) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	u.report.Warnings = append(u.report.Warnings, text)
	u.emit(run.Warning{Text: text})
}
