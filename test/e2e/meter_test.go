package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// clockTick is the unit of /proc/PID/stat on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// usage is the CPU time that the servers of the control plane have used, by name.
type usage map[string]time.Duration

// usage reads what the servers have used so far: those are the children of this process that have a server's name.
func (c *control) usage() usage {
	c.t.Helper()
	used := usage{}
	for _, stat := range got(filepath.Glob("/proc/[0-9]*/stat"))(c.t) {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue // it has ended
		}
		line := string(text)
		end := strings.LastIndexByte(line, ')')
		name := line[strings.IndexByte(line, '(')+1 : end]
		fields := strings.Fields(line[end+1:]) // from the state on, which is the third field of all
		if ppid, _ := strconv.Atoi(fields[1]); ppid != os.Getpid() {
			continue
		}
		for _, server := range []string{etcdName, apiserverName, controllerManagerName} {
			if strings.HasPrefix(server, name) { // the kernel knows the first 15 bytes
				user, _ := strconv.ParseInt(fields[11], 10, 64)
				system, _ := strconv.ParseInt(fields[12], 10, 64)
				used[server] += time.Duration(user+system) * clockTick
			}
		}
	}
	return used
}

// bystander reads and writes one object through the API, ten times a second each, and measures how long it takes.
type bystander struct {
	mu            sync.Mutex
	reads, writes []time.Duration
	failed        int
	stop          func()
}

// bystander starts one. Its object is in a namespace of its own.
func (c *control) bystander(namespace string) *bystander {
	c.t.Helper()
	maps := c.api().client.CoreV1().ConfigMaps(namespace)
	name := "bystander"
	_, err := maps.Create(c.t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	must(c.t, err)
	ctx, cancel := context.WithCancel(c.t.Context())
	b := &bystander{}
	var group sync.WaitGroup
	loop := func(into *[]time.Duration, do func(n int) error) {
		group.Go(func() {
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			for n := 0; ; n++ {
				began := time.Now()
				err := do(n)
				took := time.Since(began)
				if ctx.Err() != nil {
					return
				}
				b.mu.Lock()
				if err != nil {
					b.failed++
				}
				*into = append(*into, took)
				b.mu.Unlock()
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
			}
		})
	}
	loop(&b.reads, func(int) error {
		_, err := maps.Get(ctx, name, metav1.GetOptions{})
		return err
	})
	loop(&b.writes, func(n int) error {
		_, err := maps.Patch(ctx, name, types.MergePatchType, fmt.Appendf(nil, `{"data":{"n":"%d"}}`, n), metav1.PatchOptions{})
		return err
	})
	b.stop = func() { cancel(); group.Wait() }
	return b
}

// p99 is the duration that 99 of 100 do not exceed.
func p99(durations []time.Duration) time.Duration {
	if len(durations) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(durations))
	return sorted[len(sorted)*99/100]
}

// report reports what a benchmark's way of removing pods has cost.
func report(b *testing.B, took time.Duration, left int, used usage, watcher *bystander) {
	b.Helper()
	b.ReportMetric(took.Seconds(), "s")
	b.ReportMetric(float64(left), "pods-left")
	b.ReportMetric(used[apiserverName].Seconds(), "apiserver-cpu-s")
	b.ReportMetric(used[controllerManagerName].Seconds(), "controllers-cpu-s")
	b.ReportMetric(used[etcdName].Seconds(), "etcd-cpu-s")
	b.ReportMetric(float64(p99(watcher.reads).Microseconds())/1000, "read-p99-ms")
	b.ReportMetric(float64(p99(watcher.writes).Microseconds())/1000, "write-p99-ms")
	b.ReportMetric(float64(watcher.failed), "failed")
	b.ReportMetric(0, "ns/op")
}
