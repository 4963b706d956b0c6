package apply

import (
	"context"
	"fmt"
	"sync"
	"time"

	"etcdsweep/decode"
	"etcdsweep/plan"
	"etcdsweep/plan/run"
)

// nodes tells live nodes from dead ones, for pods that have drifted. Its first look is taken when the run begins and its
// second when it matters; what was measured longer ago than nodesKnown is measured anew.
type nodes struct {
	watch *plan.NodeWatch // nil if the first look failed: then all nodes are unknown, and their running pods stay

	mu       sync.Mutex
	measured time.Time
	guards   plan.Guards
}

// nodesKnown is how long a node that was dead is taken for dead.
const nodesKnown = time.Minute

// watchNodes takes the first look.
func (r *sweeper) watchNodes(ctx context.Context) {
	r.nodes.guards = r.guards
	watch, err := plan.WatchNodes(ctx, r.Cluster, r.Plan.Header.Prefix)
	if err != nil {
		r.emit(run.Warning{Text: fmt.Sprintf("it is not known which nodes are alive: %v; pods that drift into running stay", err)})
		return
	}
	r.nodes.watch = watch
}

// objection is that of the guards. Where it rests on whether a node is alive, that is measured.
func (r *sweeper) objection(ctx context.Context, o *decode.Object) (guard, why string, err error) {
	if guard, why = r.guards.Objection(o); guard != plan.GuardRunning {
		return guard, why, nil
	}
	r.nodes.mu.Lock()
	defer r.nodes.mu.Unlock()
	if r.nodes.watch == nil {
		return guard, why, nil
	}
	if r.nodes.measured.IsZero() || r.Now().Sub(r.nodes.measured) > nodesKnown {
		if err := r.measureNodes(ctx); ctx.Err() != nil {
			return "", "", run.ErrInterrupted
		} else if err != nil {
			return "", "", run.Unhealthy(err)
		}
	}
	guard, why = r.nodes.guards.Objection(o)
	return guard, why, nil
}

// measureNodes takes the second look, and the first one again if that served before.
func (r *sweeper) measureNodes(ctx context.Context) (err error) {
	if !r.nodes.measured.IsZero() {
		if r.nodes.watch, err = plan.WatchNodes(ctx, r.Cluster, r.Plan.Header.Prefix); err != nil {
			return err
		}
	}
	seen, err := r.nodes.watch.Finish(ctx, r.LeaseDuration)
	if err != nil {
		return err
	}
	r.nodes.measured, r.nodes.guards = r.Now(), r.guards.With(seen)
	return nil
}
