package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"etcdsweep/decode"
	"etcdsweep/etcdops"
	"etcdsweep/etcdops/snapshot"
	"etcdsweep/plan"
	"etcdsweep/plan/controllers"
	"etcdsweep/plan/doctor"
)

// examiner gathers the facts for doctor over a connection that stands.
type examiner struct {
	client *etcdops.Client
	prefix string
	lease  time.Duration
	facts  *doctor.Facts
}

// all gathers them. It fails only if ctx ends.
func (e *examiner) all(ctx context.Context, stateDir string, screen *screen) error {
	if e.members(ctx); e.facts.NotEtcd != "" || e.facts.MembersErr != nil {
		return ctx.Err()
	}
	e.room(stateDir)
	e.latency(ctx)
	if e.facts.Quorum != nil {
		return ctx.Err()
	}
	access, err := e.client.Access(ctx)
	e.facts.Access = doctor.Access{
		Enabled: access.Enabled, User: cmp.Or(access.User, "nobody"), Roles: access.Roles, Err: err,
		Read: access.MayRead(e.prefix + "/"), Write: access.MayWrite(e.prefix + "/"), Root: access.Root(),
	}
	e.facts.Keys, e.facts.KeysErr = e.client.Count(ctx, e.prefix+"/")
	if e.facts.KeysErr != nil || e.facts.Keys == 0 {
		return ctx.Err()
	}
	identity, err := plan.Identify(ctx, e.client, "", e.prefix)
	e.facts.System, e.facts.SystemErr = identity.SystemUID != "", err
	e.values(ctx)
	screen.wait(fmt.Sprintf("watching who writes, for up to %s", e.lease))
	e.writers(ctx)
	screen.wait("")
	return ctx.Err()
}

func (e *examiner) members(ctx context.Context) {
	status, err := e.client.Status(ctx)
	if imposter, ok := errors.AsType[*etcdops.NotEtcdError](err); ok {
		e.facts.NotEtcd = imposter.Error()
		return
	}
	if e.facts.MembersErr = err; err != nil {
		return
	}
	names := map[uint64]string{}
	vitals := map[uint64]etcdops.MemberVitals{}
	looked, err := e.client.Vitals(ctx)
	if err == nil { // else Status has told what there is
		for _, v := range looked {
			vitals[v.ID] = v
		}
	}
	for _, m := range status.Members {
		names[m.ID] = m.String()
		member := doctor.Member{
			Name: m.String(), Version: m.Version, Leader: m.Leader, Learner: m.Learner, Err: m.Err,
			DBSize: m.DBSize, InUse: m.DBSizeInUse, Quota: m.Quota, Revision: m.Revision, Applied: m.RaftAppliedIndex,
		}
		v := vitals[m.ID]
		member.Latency = v.Latency
		if v.Metrics != nil {
			member.Quota = cmp.Or(member.Quota, v.Metrics.Quota)
		}
		e.facts.Members = append(e.facts.Members, member)
	}
	for _, a := range status.Alarms {
		e.facts.Alarms = append(e.facts.Alarms, doctor.Alarm{Member: cmp.Or(names[a.Member], clusterID(a.Member)), Kind: string(a.Type)})
	}
	e.facts.Quorum = status.AlarmsErr
}

const latencySamples = 20

// latency takes a sample of linearizable reads, which also shows whether there is a quorum.
func (e *examiner) latency(ctx context.Context) {
	for range latencySamples {
		start := time.Now()
		if err := e.client.Ping(ctx); err != nil {
			e.facts.Quorum = err
			return
		}
		e.facts.Latency = append(e.facts.Latency, float64(time.Since(start).Microseconds())/1000)
	}
}

// room looks at the file system that a run's directory would be on: that of what is there of its path.
func (e *examiner) room(dir string) {
	r := &e.facts.Room
	r.Dir = dir
	for _, m := range e.facts.Members {
		r.Need = max(r.Need, m.DBSize+spareBytes)
	}
	for {
		_, err := os.Stat(dir)
		if !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	r.Free, r.Err = snapshot.FreeSpace(dir)
}

// sampled are the resources whose values are looked at, and how many requests that may take each.
func sampled() map[string]int {
	return map[string]int{"pods": 16, "jobs": 8, "secrets": 2, "configmaps": 2}
}

// values tells how a sample of values is stored.
func (e *examiner) values(ctx context.Context) {
	byName := map[string]*doctor.Encoding{}
	for name, reads := range sampled() {
		resource, _ := decode.LookupName(name)
		records, err := e.client.Sample(ctx, resource.NamespacePrefix(e.prefix, ""), reads)
		if err != nil {
			e.facts.EncodingsErr = err
			return
		}
		for i := range records {
			r := &records[i]
			stored := storedAs(r)
			seen := byName[stored.Name]
			if seen == nil {
				seen = &stored
				byName[stored.Name] = seen
			}
			seen.Count++
			seen.Example = min(seen.Example, r.Key)
		}
	}
	for _, seen := range byName {
		e.facts.Encodings = append(e.facts.Encodings, *seen)
	}
	slices.SortFunc(e.facts.Encodings, func(a, b doctor.Encoding) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Name, b.Name))
	})
}

// storedAs says how a record is stored, and whether it can be read.
func storedAs(r *decode.Record) doctor.Encoding {
	e := doctor.Encoding{Name: string(decode.EncodingOf(r.Value)), Example: r.Key}
	_, err := r.Decode()
	e.Readable = err == nil
	if unreadable, ok := errors.AsType[*decode.UnreadableError](err); ok {
		e.Name, e.Hint = unreadable.Class(), unreadable.Hint()
	} else if encrypted := decode.Encryption(r.Value); encrypted != nil {
		e.Name = encrypted.Class()
	}
	return e
}

// writers watches for kube-controller-manager and the apiservers, until it is known of the first whether it writes.
func (e *examiner) writers(ctx context.Context) {
	watching, cancel := context.WithCancel(ctx)
	w := controllers.Start(watching, e.client, e.prefix, controllers.DefaultInterval, time.Now)
	defer w.Wait()
	defer cancel()

	began := time.Now()
	before, err := e.masterLeases(ctx)
	e.facts.ServersErr = err
	sight, err := w.Await(ctx, e.lease)
	e.facts.Controllers = doctor.Writer{
		Name: controllerManager, Found: sight.Found, Alive: sight.Alive(e.lease), Words: sight.Words(e.lease), Err: err,
	}
	if e.facts.ServersErr != nil {
		return
	}
	e.facts.APIServers, e.facts.ServersErr = e.apiServers(ctx, before, began.Add(e.lease))
}

// apiServers watches those that were there before until each has renewed its record, or until a time.
func (e *examiner) apiServers(ctx context.Context, before map[string]int64, until time.Time) ([]doctor.Writer, error) {
	ticker := time.NewTicker(controllers.DefaultInterval)
	defer ticker.Stop()
	for {
		now, err := e.masterLeases(ctx)
		if err != nil {
			return nil, err
		}
		var all []doctor.Writer
		still := false
		for _, name := range slices.Sorted(maps.Keys(now)) {
			w := doctor.Writer{Name: name, Found: true, Alive: before[name] != now[name]}
			all, still = append(all, w), still || !w.Alive
		}
		if !still || !time.Now().Before(until) {
			return all, nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// masterLeases returns the mod revision of each apiserver's record of itself. It renews it every ten seconds, with a lease of
// fifteen (kubernetes pkg/controlplane/instance.go, DefaultEndpointReconcilerInterval and TTL).
func (e *examiner) masterLeases(ctx context.Context) (map[string]int64, error) {
	prefix := e.prefix + "/masterleases/"
	all := map[string]int64{}
	for r, err := range e.client.ScanKeys(ctx, prefix) {
		if err != nil {
			return nil, err
		}
		all[strings.TrimPrefix(r.Key, prefix)] = r.ModRevision
	}
	return all, nil
}
