package apply

import (
	"context"
	"errors"
	"time"

	"etcdsweep/plan/controllers"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/run"
)

// Controllers is what a run saw of kube-controller-manager.
type Controllers struct {
	Found   bool     `json:"found"`             // its leader election has a record
	Holders []string `json:"holders,omitempty"` // who was seen to write it, in order
	Alive   bool     `json:"alive"`             // somebody still wrote it when the run ended
	// StillSeconds is how long nobody had written it then, as far as the run has looked.
	StillSeconds float64 `json:"still_seconds"`
}

// watchControllers begins to watch kube-controller-manager. The returned function ends the watch.
func (r *sweeper) watchControllers(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	interval := min(controllers.DefaultInterval, r.LeaseDuration/4)
	r.controllers = controllers.Start(ctx, r.Cluster, r.Plan.Header.Prefix, interval, r.Now)
	return func() {
		cancel()
		r.controllers.Wait()
	}
}

// offerStop asks the operator, where there is one to ask, to have kube-controller-manager stopped if it is alive. It is the
// best thing that can be done: no producer, no garbage collector, nothing drifts, and an undo is faithful.
func (r *sweeper) offerStop(ctx context.Context) error {
	if r.OfferStop == nil {
		return nil
	}
	r.emit(run.StepBegan{Step: run.StepControllers})
	sight, err := r.controllers.Await(ctx, r.LeaseDuration)
	switch {
	case ctx.Err() != nil:
		return run.ErrInterrupted
	case err != nil:
		return err
	}
	r.emit(run.StepEnded{Step: run.StepControllers, Words: sight.Words(r.LeaseDuration)})
	if sight.Moving {
		return r.OfferStop(ctx, r.controllers)
	}
	return nil
}

// noteControllers writes down what is known of kube-controller-manager before anything is deleted, and warns if it is alive.
func (r *sweeper) noteControllers(ctx context.Context) error {
	sight, err := r.controllers.Await(ctx, r.LeaseDuration) // nearly always known by now
	switch {
	case ctx.Err() != nil:
		return run.ErrInterrupted
	case err != nil:
		return err
	case sight.Moving:
		r.emit(run.Warning{Text: "kube-controller-manager is alive (" + sight.Holder + "): its controllers write to what this run deletes, " +
			"its garbage collector deletes what the roots own, and an undo is refused until it is stopped"})
	}
	return r.note(journal.Frame{Controllers: &journal.Controllers{Key: sight.Key, Holder: sight.Holder, Moving: sight.Moves > 0}})
}

// concludeControllers puts into the report what was seen of kube-controller-manager, and writes down who else has led.
func (r *sweeper) concludeControllers() error {
	sight := r.controllers.Sight()
	if sight.Reads == 0 {
		return nil
	}
	r.report.Controllers = Controllers{
		Found:        sight.Found,
		Holders:      sight.Holders,
		Alive:        sight.Alive(r.LeaseDuration),
		StillSeconds: sight.Still.Round(100 * time.Millisecond).Seconds(),
	}
	var errs []error
	for _, holder := range sight.Holders {
		errs = append(errs, r.note(journal.Frame{Controllers: &journal.Controllers{Key: sight.Key, Holder: holder, Moving: true}}))
	}
	return errors.Join(errs...)
}
