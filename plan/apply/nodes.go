package apply

import (
	"context"
	"fmt"
	"sync"

	"etcdsweep/decode"
	"etcdsweep/plan"
	"etcdsweep/plan/run"
)

// nodes tells live nodes from dead ones, for pods that have drifted. Its first look is taken when the run begins and its
// second when it matters, at most once.
type nodes struct {
	watch *plan.NodeWatch // nil if the first look failed: then all nodes are unknown, and their running pods stay

	mu       sync.Mutex
	measured bool
	guards   plan.Guards
}

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
	if guard, why = r.guards.Objection(o); guard != plan.GuardRunning || r.nodes.watch == nil {
		return guard, why, nil
	}
	r.nodes.mu.Lock()
	defer r.nodes.mu.Unlock()
	if !r.nodes.measured {
		seen, err := r.nodes.watch.Finish(ctx, r.LeaseDuration)
		if err != nil {
			if ctx.Err() != nil {
				return "", "", run.ErrInterrupted
			}
			return "", "", run.Unhealthy(err)
		}
		r.nodes.measured, r.nodes.guards = true, r.guards.With(seen)
	}
	guard, why = r.nodes.guards.Objection(o)
	return guard, why, nil
}
