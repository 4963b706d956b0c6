package sweep_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"etcdsweep/decode"
	"etcdsweep/plan"
	"etcdsweep/plan/apply"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/run"
	"etcdsweep/plan/undo"
	"etcdsweep/test/lab"
)

// Whatever is in the cluster, whatever is planned of it, however often both are interrupted and answers are lost, and whatever
// a garbage collector takes after the roots: undo(apply(state)) is the state, in bytes.
func TestUndoOfApplyIsTheState(t *testing.T) {
	w := start(t, lab.Config{NoFsync: true})
	planned := 0
	for seed := uint64(1); planned < 40; seed++ { // a history with nothing to plan does not count
		h := &history{world: w, Rand: rand.New(rand.NewPCG(seed, 0)), planned: &planned}
		if ok := t.Run(fmt.Sprintf("seed %d", seed), h.test); !ok {
			return
		}
	}
}

// history is a random cluster, and what is done to it.
type history struct {
	*world
	*rand.Rand
	planned *int
	objects []object
}

// object is a stored object, as JSON.
type object struct {
	resource decode.Resource
	name     string
	owners   []*object
	more     string // of the metadata
	rest     string // behind the metadata
}

const historyNamespace = "chaos"

func (o *object) uid() string { return "uid-" + o.resource.GroupKind.Kind + "-" + o.name }

func (o *object) key() string { return o.resource.Key("/registry", historyNamespace, o.name) }

func (o *object) apiVersion() string {
	if o.resource.GroupKind.Group == "" {
		return "v1"
	}
	return o.resource.GroupKind.Group + "/v1"
}

func (o *object) value() string {
	var refs []string
	for i, owner := range o.owners {
		refs = append(refs, fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"name":%q,"uid":%q,"controller":%v}`,
			owner.apiVersion(), owner.resource.GroupKind.Kind, owner.name, owner.uid(), i == 0))
	}
	namespace := fmt.Sprintf(`"namespace":%q,`, historyNamespace)
	if !o.resource.Namespaced {
		namespace = ""
	}
	return fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"metadata":{"name":%q,%s"uid":%q%s,"ownerReferences":[%s]}%s}`,
		o.apiVersion(), o.resource.GroupKind.Kind, o.name, namespace, o.uid(), o.more, strings.Join(refs, ","), o.rest)
}

func (h *history) add(group, kind, name string, owners ...*object) *object {
	resource, ok := decode.Lookup(schema.GroupKind{Group: group, Kind: kind})
	if !ok {
		panic("no resource " + kind)
	}
	o := &object{resource: resource, name: name, owners: owners}
	if h.IntN(3) == 0 {
		o.more = fmt.Sprintf(`,"annotations":{"noise":%q}`, strings.Repeat("x", h.IntN(4000)))
	}
	h.objects = append(h.objects, *o)
	return o
}

// populate makes a random cluster: a CronJob above Jobs, pods of theirs and of nobody, claims and Secrets of any of them.
func (h *history) populate() (roots []*object) {
	system := h.add("", "Namespace", "kube-system")
	system.more = ""
	h.add("", "Namespace", historyNamespace)
	var above []*object
	if h.IntN(2) == 0 {
		above = append(above, h.add("batch", "CronJob", "cron"))
	}
	owners := []*object{nil}
	for i := range 1 + h.IntN(2) {
		job := h.add("batch", "Job", fmt.Sprintf("job-%d", i), above...)
		roots, owners = append(roots, job), append(owners, job)
	}
	for i := range 1 + h.IntN(80) {
		var of []*object
		if owner := owners[h.IntN(len(owners))]; owner != nil {
			of = append(of, owner)
		}
		pod := h.add("", "Pod", fmt.Sprintf("pod-%02d", i), of...)
		pod.more = fmt.Sprintf(`,"labels":{"half":"%d"}`, i%2)
		pod.rest = fmt.Sprintf(`,"spec":{"nodeName":"node-%d"},"status":{"phase":%q}`, i%3, []string{"Pending", "Failed"}[h.IntN(2)])
		h.objects[len(h.objects)-1] = *pod
		if h.IntN(6) == 0 {
			owners = append(owners, pod)
		}
	}
	for i := range h.IntN(6) {
		kind := []string{"PersistentVolumeClaim", "Secret", "ConfigMap"}[h.IntN(3)]
		var of []*object
		if owner := owners[h.IntN(len(owners))]; owner != nil {
			of = append(of, owner)
		}
		owners = append(owners, h.add("", kind, fmt.Sprintf("thing-%d", i), of...))
	}
	return roots
}

func (h *history) test(t *testing.T) {
	h.world = &world{t: t, lab: h.lab, etcd: h.etcd, client: h.client, dir: t.TempDir()}
	_, err := h.etcd.Delete(t.Context(), "\x00", clientv3.WithFromKey())
	must(t, err)
	roots := h.populate()
	h.Shuffle(len(h.objects), func(i, j int) { h.objects[i], h.objects[j] = h.objects[j], h.objects[i] })
	lease, err := h.etcd.Grant(t.Context(), 3600)
	must(t, err)
	leased := map[string]bool{}
	for i := range h.objects {
		o := &h.objects[i]
		var options []clientv3.OpOption
		if o.resource.GroupKind.Kind == "Pod" && h.IntN(10) == 0 {
			options = append(options, clientv3.WithLease(lease.ID))
			leased[o.key()] = true
		}
		_, err := h.etcd.Put(t.Context(), o.key(), o.value(), options...)
		must(t, err)
	}
	before := h.values(t)

	query := plan.Query{Namespaces: []string{historyNamespace}}
	switch h.IntN(3) {
	case 0:
		query.Selector, _ = labels.Parse("half=1")
	default:
		for _, job := range roots[:1+h.IntN(len(roots))] {
			query.Owners = append(query.Owners, plan.OwnerName{GroupKind: job.resource.GroupKind, Namespace: historyNamespace, Name: job.name})
		}
		query.Limit = h.IntN(2) * h.IntN(20)
	}
	p, err := h.tryPlan(query, func(opts *plan.Options) {
		opts.Allow = []string{plan.AllowCollateral, "data-loss"}
		opts.IncludeOwners = true
		opts.LeaseDuration = time.Millisecond
	})
	if _, ok := errors.AsType[*plan.RefusedError](err); ok {
		return // it selects nothing
	}
	must(t, err)
	*h.planned++

	cfg := h.config(p)
	cfg.Settle, cfg.PageKeys, cfg.LeaseDuration = time.Millisecond, 1+h.IntN(20), 4*time.Millisecond
	cfg.NoChase = query.Limit == 0 && h.IntN(2) == 0
	cluster := faulty{h.live(p), func(ctx context.Context, key string, createRevision, modRevision int64) (int64, *decode.Record, error) {
		at, current, err := h.client.DeleteIf(ctx, key, createRevision, modRevision)
		if len(key)%7 == 0 && at > 0 { // its answer is lost
			return 0, nil, errors.New("answer lost")
		}
		return at, current, err
	}}
	cfg.Cluster = cluster
	h.insist(t, "apply", func(ctx context.Context, observe func(run.Event)) (journal.State, error) {
		cfg.Observe = observe
		report, err := apply.Run(ctx, cfg)
		if report == nil {
			return "", err
		}
		return report.State, err
	})
	for _, key := range keys(t, p) {
		if record, err := h.client.Get(t.Context(), key); err != nil || record != nil {
			t.Fatalf("%s stands after the apply, %v", key, err)
		}
	}
	for line, err := range p.Collateral() { // a garbage collector comes by
		must(t, err)
		if h.IntN(3) > 0 {
			_, err := h.etcd.Delete(t.Context(), line.Key)
			must(t, err)
		}
	}

	h.insist(t, "undo", func(ctx context.Context, observe func(run.Event)) (journal.State, error) {
		dir := *cfg.Dir
		report, err := undo.Run(ctx, undo.Config{
			Plan: cfg.Plan, Cluster: cluster, Dir: &dir, Opened: cfg.Opened, Concurrency: 1 + h.IntN(8), LeaseDuration: 4 * time.Millisecond,
			Now: time.Now, Observe: observe,
		})
		if report == nil {
			return "", err
		}
		return report.State, err
	})
	after := h.values(t)
	for key, value := range before {
		if after[key] != value {
			t.Errorf("%s is %.60q, was %.60q", key, after[key], value)
		}
	}
	for key := range after {
		if _, ok := before[key]; !ok {
			t.Errorf("%s is there", key)
		}
	}
	for key := range leased {
		if record, err := h.client.Get(t.Context(), key); err != nil || record == nil || record.Lease == 0 {
			t.Errorf("%s has no lease any more: %+v, %v", key, record, err)
		}
	}
}

// insist does something that is interrupted at random, until it comes to its end.
func (h *history) insist(t *testing.T, what string, do func(context.Context, func(run.Event)) (journal.State, error)) {
	t.Helper()
	for attempt := 1; ; attempt++ {
		ctx, interrupt := context.WithCancel(t.Context())
		left := h.IntN(30)
		if attempt > 5 {
			left = 1 << 30
		}
		_, err := do(ctx, func(e run.Event) {
			if _, ok := e.(run.Judged); ok {
				if left--; left == 0 {
					interrupt()
				}
			}
		})
		interrupt()
		switch {
		case err == nil, errors.Is(err, run.ErrLeft):
			return
		case errors.Is(err, run.ErrInterrupted):
		default:
			t.Fatalf("%s, attempt %d: %v", what, attempt, err)
		}
	}
}

// values is what the cluster holds, by key.
func (h *history) values(t *testing.T) map[string]string {
	t.Helper()
	response, err := h.etcd.Get(t.Context(), "\x00", clientv3.WithFromKey())
	must(t, err)
	all := map[string]string{}
	for _, kv := range response.Kvs {
		all[string(kv.Key)] = string(kv.Value)
	}
	return all
}
