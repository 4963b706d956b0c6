package lab

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

// Produce does what a controller does that has run away: for each of the Jobs it makes pods, perSecond of them for all Jobs
// together, as long as the Job's key stands. A Job whose key is gone gets none from the very next transaction on, and gets
// more if the key comes back. Nothing but the end of ctx ends it, then with nil: like a controller it tries again whatever etcd answers.
func Produce(ctx context.Context, client *clientv3.Client, jobs []Job, perSecond float64) error {
	if perSecond <= 0 {
		return fmt.Errorf("produce: %g pods a second", perSecond)
	}
	r, err := client.Get(ctx, "seed")
	if err != nil {
		return fmt.Errorf("produce: %w", err)
	}
	seed := uint64(r.Header.Revision) // another one for each producer, so that no UID comes twice
	group, ctx := errgroup.WithContext(ctx)
	for i, job := range jobs {
		p := &producer{
			client:  client,
			job:     job,
			limiter: rate.NewLimiter(rate.Limit(perSecond/float64(len(jobs))), 1),
			seed:    seed<<8 + uint64(i),
		}
		group.Go(func() error { return p.run(ctx) })
	}
	return group.Wait()
}

// producer makes the pods of one Job.
type producer struct {
	client  *clientv3.Client
	job     Job
	limiter *rate.Limiter
	seed    uint64
}

func (p *producer) run(ctx context.Context) error {
	for n := uint64(1); p.limiter.Wait(ctx) == nil; n++ { // an error of Wait is the end of ctx
		pod := born(p.job.pod, suffix(p.seed, n), uid(p.seed, n), time.Now())
		value, err := marshal("v1", "Pod", pod)
		if err != nil {
			return fmt.Errorf("produce: %w", err)
		}
		// A controller tries again for ever: no quorum, no space, no leader only hold it up.
		_ = p.create(ctx, podKey(pod.Namespace, pod.Name), value)
	}
	return nil
}

// create puts a pod if its Job stands. Like an apiserver it overwrites nothing: a name that is taken is left out.
func (p *producer) create(ctx context.Context, key string, value []byte) error {
	_, err := p.client.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(p.job.Key()), ">", 0), clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, string(value))).
		Commit()
	return err
}
