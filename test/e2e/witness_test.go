package e2e

import (
	"context"
	"errors"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// witness is a client that watches all pods, and counts what it is told.
type witness struct {
	name  string
	store cache.Store // of an informer; nil for a bare watch

	mu      sync.Mutex
	deleted map[string]int  // how often, by key
	known   map[string]bool // keys
	failed  error           // it was cut off, or had to list again
}

func newWitness(kind string, i int) *witness {
	return &witness{name: fmt.Sprintf("%s %d", kind, i+1), deleted: map[string]int{}, known: map[string]bool{}}
}

func podKey(pod *corev1.Pod) string { return podsPrefix + pod.Namespace + "/" + pod.Name }

func (w *witness) see(pod *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known[podKey(pod)] = true
}

func (w *witness) lose(pod *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deleted[podKey(pod)]++
}

func (w *witness) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failed = errors.Join(w.failed, err)
}

// watchers starts so many bare watches of all pods, from now on.
func (c *control) watchers(count int) (all []*witness) {
	c.t.Helper()
	pods := c.api().client.CoreV1().Pods("")
	list := got(pods.List(c.t.Context(), metav1.ListOptions{ResourceVersion: "0"}))(c.t)
	for i := range count {
		w := newWitness("watch", i)
		events := got(pods.Watch(c.t.Context(), metav1.ListOptions{ResourceVersion: list.ResourceVersion}))(c.t)
		done := make(chan struct{})
		c.t.Cleanup(func() { events.Stop(); <-done })
		go func() {
			defer close(done)
			w.follow(events)
		}()
		all = append(all, w)
	}
	return all
}

// follow counts events until the watch ends, which it should not do by itself.
func (w *witness) follow(events watch.Interface) {
	seen := 0
	for event := range events.ResultChan() {
		seen++
		pod, ok := event.Object.(*corev1.Pod)
		switch {
		case !ok:
			w.fail(fmt.Errorf("told: %v", event.Object))
		case event.Type == watch.Deleted:
			w.lose(pod)
		default:
			w.see(pod)
		}
	}
	w.fail(fmt.Errorf("cut off after %d events", seen))
}

// informers starts so many informers of all pods, each with a store of its own, and waits until they have them.
func (c *control) informers(count int) (all []*witness) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	for i := range count {
		w := newWitness("informer", i)
		factory := informers.NewSharedInformerFactory(c.api().client, 0)
		informer := factory.Core().V1().Pods().Informer()
		w.store = informer.GetStore()
		must(c.t, informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
			if ctx.Err() == nil {
				w.fail(fmt.Errorf("reflector: %w", err))
			}
		}))
		got(informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { w.see(o.(*corev1.Pod)) },
			UpdateFunc: func(_, o any) { w.see(o.(*corev1.Pod)) },
			DeleteFunc: func(o any) {
				pod, ok := o.(*corev1.Pod)
				if !ok {
					w.fail(fmt.Errorf("missed a deletion: %T", o))
					return
				}
				w.lose(pod)
			},
		}))(c.t)
		factory.Start(ctx.Done())
		c.t.Cleanup(func() { cancel(); factory.Shutdown() })
		factory.WaitForCacheSync(ctx.Done())
		all = append(all, w)
	}
	return all
}

// catchUp makes a pod, and waits until every witness and every apiserver's cache knows it: they know then all that was before.
func (c *control) catchUp(namespace, name string, witnesses []*witness) {
	c.t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: pinned(name, "").Spec}
	_, err := c.api().client.CoreV1().Pods(namespace).Create(c.t.Context(), pod, metav1.CreateOptions{})
	must(c.t, err)
	for _, w := range witnesses {
		eventually(c.t, w.name+" to catch up", func(context.Context) (bool, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.known[podKey(pod)], w.failed
		})
	}
	for _, a := range c.apiservers {
		eventually(c.t, a.url+" to catch up", func(ctx context.Context) (bool, error) {
			list, err := a.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{ResourceVersion: "0", FieldSelector: "metadata.name=" + name})
			return err == nil && len(list.Items) == 1, err
		})
	}
}

// check finds what is wrong with what a witness was told: each of the keys must have been deleted once, and nothing cut off.
func (w *witness) check(deleted []string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	missed, again := 0, 0
	for _, key := range deleted {
		switch n := w.deleted[key]; {
		case n == 0:
			missed++
		case n > 1:
			again++
		}
	}
	if missed+again > 0 || w.failed != nil {
		return fmt.Errorf("%s: of %d deletions %d were missed, %d seen again; %v", w.name, len(deleted), missed, again, w.failed)
	}
	return nil
}
