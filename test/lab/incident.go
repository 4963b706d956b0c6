package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"etcdsweep/test/fixtures"
)

const (
	// putsInFlight is many, because etcd writes all that waits with one fsync, and disks differ.
	putsInFlight = 256
	// span is the time in which an incident's pods were made.
	span = 6 * time.Hour
	// leaseTTL is what kube-apiserver gives to events, in seconds; here all copies of leased keys get it.
	leaseTTL = 3600
	// maxJobs is how many letters there are to tell them apart.
	maxJobs = 26

	runawayNamespace   = "batch"
	runawayName        = "runaway"
	lookAlikeNamespace = "batch-2"
	lookAlikePods      = 10
	liveNode           = "node2" // node3 is the other one
)

// deadNode returns the node that the i-th runaway Job is pinned to.
func deadNode(i int) string { return []string{"node7", "node8"}[i%2] }

// Job is a Job that has run away.
type Job struct {
	Namespace, Name string
	UID             string
	Pods            int // that it had when it was filled in or found

	pod *corev1.Pod // one of them
}

// Key returns the Job's key in etcd.
func (j Job) Key() string { return jobKey(j.Namespace, j.Name) }

// Incident says what Fill fills in.
type Incident struct {
	Jobs int    // runaway Jobs, at most 26; 0 means 1
	Pods int    // of all of them together, at least one for each
	Seed uint64 // the same seed gives the same names and UIDs

	// End is when the youngest pod was made, the oldest six hours before; zero means now.
	End time.Time
}

// Fill makes an empty etcd that of a cluster with a runaway incident, and returns the Jobs that have run away.
//
// They are called runaway, runaway-b, runaway-c and so on, in namespace batch, and are pinned to dead nodes; all of their pods but
// the youngest are terminating. Around them stands a whole control plane's content, copied from a real one byte for byte, and for
// each Job two that look like it and are well: one with its name and "-2", and one of the same name in namespace batch-2.
// Each key has a revision to itself, as an apiserver writes them.
func Fill(ctx context.Context, client *clientv3.Client, incident Incident) ([]Job, error) {
	incident.Jobs = max(1, incident.Jobs)
	if incident.Jobs > maxJobs || incident.Pods < incident.Jobs {
		return nil, fmt.Errorf("fill: %d pods of %d jobs: want at most %d jobs, with a pod each", incident.Pods, incident.Jobs, maxJobs)
	}
	if incident.End.IsZero() {
		incident.End = time.Now()
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(putsInFlight)
	f := &filler{client: client, group: group, incident: incident}
	jobs, err := f.fill(ctx)
	if errGroup := group.Wait(); errGroup != nil {
		err = errGroup // the cause of the other, if there are both
	}
	if err != nil {
		return nil, fmt.Errorf("fill: %w", err)
	}
	return jobs, nil
}

// Find returns Jobs, given as namespace/name, that stand in etcd already and have at least one pod each.
func Find(ctx context.Context, client *clientv3.Client, names ...string) ([]Job, error) {
	var jobs []Job
	for _, name := range names {
		job, err := find(ctx, client, name)
		if err != nil {
			return nil, fmt.Errorf("find job %s: %w", name, err)
		}
		jobs = append(jobs, job)
	}
	return jobs, nil
}

// Known returns the names of the runaway Jobs in a fixture, for Find.
func Known(name fixtures.Name) []string {
	switch name {
	case fixtures.Incident:
		return []string{"runaway/error-ret-node7", "runaway/error-ret-node8"}
	case fixtures.Zoo:
		return []string{runawayNamespace + "/" + runawayName}
	default:
		return nil
	}
}

// filler is one run of Fill. Its puts are on their way when its methods return; the group has their errors, and its methods
// take the group's context, which ends with the first of them.
type filler struct {
	client   *clientv3.Client
	group    *errgroup.Group
	incident Incident
}

func (f *filler) fill(ctx context.Context) ([]Job, error) {
	model, err := f.copyCluster(ctx)
	if err != nil {
		return nil, err
	}
	jobs := make([]Job, f.incident.Jobs)
	for i := range jobs {
		if jobs[i], err = f.runaway(ctx, model, i); err != nil {
			return nil, err
		}
		if i == 0 {
			continue // the copied cluster has look-alikes of the first one
		}
		for j, id := range []identity{
			{namespace: runawayNamespace, name: jobs[i].Name + "-2", node: liveNode},
			{namespace: lookAlikeNamespace, name: jobs[i].Name, node: liveNode},
		} {
			if err := f.lookAlike(ctx, model, id, f.incident.Jobs+2*i+j); err != nil {
				return nil, err
			}
		}
	}
	for i := range f.incident.Pods {
		if err := f.runawayPod(ctx, jobs, i); err != nil {
			return nil, err
		}
	}
	return jobs, nil
}

// copyCluster copies the zoo without Job batch/runaway and its pods, and returns these as the model of all others.
func (f *filler) copyCluster(ctx context.Context) (model, error) {
	dir, err := os.MkdirTemp("", "etcdsweep-lab-")
	if err != nil {
		return model{}, err
	}
	defer os.RemoveAll(dir)
	snapshot, err := fixtures.Unpack(fixtures.Zoo, dir)
	if err != nil {
		return model{}, err
	}
	lease, err := f.client.Grant(ctx, leaseTTL)
	if err != nil {
		return model{}, err
	}
	var m model
	for record, err := range fixtures.Records(snapshot) {
		if err != nil {
			return model{}, err
		}
		if record.Key == jobKey(runawayNamespace, runawayName) {
			m.job = record.Value
			continue
		}
		// In one known snapshot the owner's name is enough.
		if owner := podOwner(record.Key, record.Value); owner != nil && owner.Name == runawayName &&
			strings.HasPrefix(record.Key, podKey(runawayNamespace, "")) {
			m.pod = record.Value
			continue
		}
		var options []clientv3.OpOption
		if record.Lease != 0 {
			options = append(options, clientv3.WithLease(lease.ID))
		}
		if err := f.put(ctx, record.Key, record.Value, options...); err != nil {
			return model{}, err
		}
	}
	if m.job == nil || m.pod == nil {
		return model{}, errors.New("no job batch/runaway with pods to copy")
	}
	return m, nil
}

// runaway puts the i-th runaway Job.
func (f *filler) runaway(ctx context.Context, m model, i int) (Job, error) {
	name := runawayName
	if i > 0 {
		name += "-" + string(rune('a'+i))
	}
	id := identity{namespace: runawayNamespace, name: name, uid: f.uid(i, 0), node: deadNode(i)}
	job, pod, err := m.copy(id)
	if err != nil {
		return Job{}, err
	}
	job.CreationTimestamp = metav1.NewTime(f.incident.End.Add(-span).Truncate(time.Second))
	value, err := marshal("batch/v1", "Job", job)
	if err != nil {
		return Job{}, err
	}
	if err := f.put(ctx, jobKey(id.namespace, id.name), value); err != nil {
		return Job{}, err
	}
	return Job{Namespace: id.namespace, Name: id.name, UID: string(id.uid), pod: pod}, nil
}

// runawayPod puts the i-th pod of all, and counts it to its Job.
func (f *filler) runawayPod(ctx context.Context, jobs []Job, i int) error {
	number := i % len(jobs)
	job := &jobs[number]
	job.Pods++
	age := span / time.Duration(f.incident.Pods) * time.Duration(f.incident.Pods-1-i)
	pod := born(job.pod, suffix(f.incident.Seed, uint64(job.Pods)), f.uid(number, job.Pods), f.incident.End.Add(-age))
	if i < f.incident.Pods-len(jobs) {
		terminate(pod)
	}
	return f.putPod(ctx, pod)
}

// lookAlike puts a Job whose pods run on a node that is well.
func (f *filler) lookAlike(ctx context.Context, m model, id identity, number int) error {
	id.uid = f.uid(number, 0)
	job, pod, err := m.copy(id)
	if err != nil {
		return err
	}
	value, err := marshal("batch/v1", "Job", job)
	if err != nil {
		return err
	}
	if err := f.put(ctx, jobKey(id.namespace, id.name), value); err != nil {
		return err
	}
	pod.Status.Phase = corev1.PodRunning
	for i := 1; i <= lookAlikePods; i++ {
		if err := f.putPod(ctx, born(pod, suffix(f.incident.Seed, uint64(i)), f.uid(number, i), f.incident.End)); err != nil {
			return err
		}
	}
	return nil
}

// uid returns the UID of the number-th Job of this incident, or of one of its pods, which count from 1.
func (f *filler) uid(number, pod int) types.UID {
	return uid(f.incident.Seed, uint64(number)<<32|uint64(pod))
}

func (f *filler) putPod(ctx context.Context, pod *corev1.Pod) error {
	value, err := marshal("v1", "Pod", pod)
	if err != nil {
		return err
	}
	return f.put(ctx, podKey(pod.Namespace, pod.Name), value)
}

// put puts a key as soon as fewer than putsInFlight are on their way. Its error is that an earlier one went wrong.
func (f *filler) put(ctx context.Context, key string, value []byte, options ...clientv3.OpOption) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f.group.Go(func() error {
		if _, err := f.client.Put(ctx, key, string(value), options...); err != nil {
			return fmt.Errorf("put %s: %w", key, err)
		}
		return nil
	})
	return nil
}
