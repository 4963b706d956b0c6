package sweep_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"etcdsweep/decode"
	"etcdsweep/plan"
	"etcdsweep/plan/apply"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/pace"
	"etcdsweep/plan/run"
	"etcdsweep/test/lab"
)

// writer writes to some of the planned pods, which no other writer touches, while they are being deleted. Every write is
// made only if the pod is as it was read, so that none comes back that the run has deleted.
type writer struct {
	etcd      *clientv3.Client
	random    *rand.Rand
	pods      []plan.Entry
	mayBear   *atomic.Bool // pods may be made again: before the sweep the run would wait for that to end
	done      map[string]bool
	deleted   map[int64]bool   // revisions of its own deletes
	recreated map[string]int64 // by key, the mod revision of the pod that was made again
	running   map[string]int64 // by key, the mod revision of the pod that runs now
	modified  int
}

func (w *writer) run(ctx context.Context) error {
	for run.Wait(ctx, time.Millisecond) {
		pod := w.pods[w.random.IntN(len(w.pods))]
		if w.done[pod.Key] {
			continue
		}
		if err := w.write(ctx, &pod); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

func (w *writer) write(ctx context.Context, pod *plan.Entry) error {
	requests := context.WithoutCancel(ctx) // or it would not know what it has done
	response, err := w.etcd.Get(requests, pod.Key)
	if err != nil || len(response.Kvs) == 0 {
		return err
	}
	value, modRevision := string(response.Kvs[0].Value), response.Kvs[0].ModRevision
	commit := func(op clientv3.Op) (revision int64, err error) {
		response, err := w.etcd.Txn(requests).If(clientv3.Compare(clientv3.ModRevision(pod.Key), "=", modRevision)).Then(op).Commit()
		if err != nil || !response.Succeeded {
			return 0, err
		}
		return response.Header.Revision, nil
	}
	switch n := w.random.IntN(10); {
	case n < 6:
		revision, err := commit(clientv3.OpPut(pod.Key, value))
		if revision > 0 {
			w.modified++
		}
		return err
	case n < 7 && strings.Contains(value, "Pending"):
		revision, err := commit(clientv3.OpPut(pod.Key, strings.ReplaceAll(value, "Pending", "Running")))
		if revision > 0 {
			w.done[pod.Key], w.running[pod.Key] = true, revision
		}
		return err
	default:
		if n >= 8 && !w.mayBear.Load() {
			return nil
		}
		revision, err := commit(clientv3.OpDelete(pod.Key))
		if err != nil || revision == 0 {
			return err
		}
		w.done[pod.Key], w.deleted[revision] = true, true
		if n < 8 {
			return nil
		}
		modRevision = 0
		other := strings.ReplaceAll(value, pod.UID, strings.Repeat("0", 4)+pod.UID[4:])
		revision, err = commit(clientv3.OpPut(pod.Key, other))
		if revision > 0 {
			w.recreated[pod.Key] = revision
		}
		return err
	}
}

// While a paced run deletes them, pods are written to, deleted and made again by others, and new ones are made: nothing goes
// but what was planned and newcomers, in the version that is in the archive, and what must stay stays and is named.
func TestDriftAllTheWay(t *testing.T) {
	const pods, writers = 600, 4
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	w := start(t, lab.Config{NoFsync: true})
	job := w.fill(pods, 1)[0]

	producing, stopProducing := context.WithCancel(t.Context())
	defer stopProducing()
	var group errgroup.Group
	group.Go(func() error { return lab.Produce(producing, w.etcd, []lab.Job{job}, 50) })

	p := w.plan(jobs(job.Namespace, job.Name))
	planned := podEntries(t, p)
	from := p.Header.Revision
	writing, stopWriting := context.WithCancel(t.Context())
	defer stopWriting()
	var mayBear atomic.Bool
	all := make([]*writer, writers)
	for i := range all {
		all[i] = &writer{
			etcd: w.etcd, random: rand.New(rand.NewPCG(seed, uint64(i))), mayBear: &mayBear,
			done: map[string]bool{}, deleted: map[int64]bool{}, recreated: map[string]int64{}, running: map[string]int64{},
		}
		for n := i; n < len(planned); n += writers {
			all[i].pods = append(all[i].pods, planned[n])
		}
		group.Go(func() error { return all[i].run(writing) })
	}

	cfg := w.config(p)
	cfg.Pace = pace.New(pace.Config{Rate: 300, Concurrency: cfg.Concurrency}, nil)
	cfg.PageKeys, cfg.Settle = 100, 200*time.Millisecond
	reasons := map[string]string{}
	cfg.Observe = func(e run.Event) {
		switch e := e.(type) {
		case run.StepBegan:
			mayBear.Store(mayBear.Load() || e.Step == run.StepPods)
		case run.StepEnded:
			if e.Step == run.StepPods {
				stopWriting()
				stopProducing()
				must(t, group.Wait())
			}
		case run.Judged:
			reasons[e.Key] = e.Reason
		}
	}
	report, err := apply.Run(t.Context(), cfg)
	if !errors.Is(err, run.ErrLeft) {
		t.Fatalf("seed %d: %v, want ErrLeft", seed, err)
	}
	t.Logf("pods %v, newcomers %v", report.Pods.Outcomes, report.Newcomers.Outcomes)
	if total := report.Pods.Total(); total != int64(len(planned)) {
		t.Errorf("seed %d: %d pods judged, %d planned", seed, total, len(planned))
	}
	for _, outcome := range []journal.Outcome{journal.Deleted, journal.DriftedDeleted, journal.AlreadyGone, journal.Skipped} {
		if report.Pods.Outcomes[outcome] == 0 {
			t.Errorf("seed %d: no pod is %s: the test tested less than it should", seed, outcome)
		}
	}

	// What went.
	mayGo, names := map[string]bool{job.UID: true}, map[string]bool{}
	for _, pod := range planned {
		mayGo[pod.UID], names[pod.Key] = true, true
	}
	archived := w.archived(cfg)
	for _, event := range w.events(from) {
		if event.Type != clientv3.EventTypeDelete {
			continue
		}
		kv := event.PrevKv
		object, err := decode.Decode(kv.Value)
		must(t, err)
		owner := object.Controller()
		newcomer := kv.CreateRevision > from && !names[string(kv.Key)] && owner != nil && owner.UID == job.UID
		if !mayGo[object.UID] && !newcomer {
			t.Errorf("seed %d: %s with UID %s was deleted", seed, kv.Key, object.UID)
		}
		byWriter := false
		for _, writer := range all {
			byWriter = byWriter || writer.deleted[event.Kv.ModRevision]
		}
		last := decode.Record{Value: kv.Value, CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision}
		if !byWriter && !same(archived[string(kv.Key)], last) {
			t.Errorf("seed %d: %s was deleted at mod revision %d, the archive has it at %d", seed, kv.Key, kv.ModRevision, archived[string(kv.Key)].ModRevision)
		}
	}

	// What stayed.
	after := w.state()
	var modified, recreated, running int
	for _, writer := range all {
		modified, recreated, running = modified+writer.modified, recreated+len(writer.recreated), running+len(writer.running)
		for key, revision := range writer.recreated {
			if after[key].ModRevision != revision {
				t.Errorf("seed %d: %s was made again at %d, and stands at %d", seed, key, revision, after[key].ModRevision)
			}
		}
		for key, revision := range writer.running {
			if after[key].ModRevision != revision || !strings.Contains(reasons[key], "running-on-live-node") {
				t.Errorf("seed %d: %s runs since %d, and stands at %d; skipped for %q", seed, key, revision, after[key].ModRevision, reasons[key])
			}
		}
	}
	if modified == 0 || recreated == 0 || running == 0 {
		t.Errorf("seed %d: %d pods modified, %d made again, %d run: the test tested less than it should", seed, modified, recreated, running)
	}
	prefix := fmt.Sprintf("/registry/pods/%s/%s-", job.Namespace, job.Name)
	stand := 0
	for key, record := range after {
		if object, err := decode.Decode(record.Value); err == nil && strings.HasPrefix(key, prefix) && object.Controller() != nil && object.Controller().UID == job.UID {
			stand++
		}
	}
	if stand != recreated+running {
		t.Errorf("seed %d: %d pods of the Job stand, %d were made again and %d run", seed, stand, recreated, running)
	}
}
