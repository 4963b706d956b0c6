package scripts_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	clientv3 "go.etcd.io/etcd/client/v3"

	"etcdsweep/decode"
)

func (w *world) note(_ *testscript.TestScript, args []string) (err error) {
	if len(args) != 0 {
		return errUsage
	}
	w.revision, w.noted, err = w.state()
	return err
}

func (w *world) untouched(_ *testscript.TestScript, args []string) error {
	if len(args) != 0 || w.noted == nil {
		return errUsage
	}
	revision, _, err := w.state()
	if err == nil && revision != w.revision {
		err = fmt.Errorf("the revision was %d, and is %d", w.revision, revision)
	}
	return err
}

func (w *world) notePods(_ *testscript.TestScript, args []string) (err error) {
	if len(args) != 0 {
		return errUsage
	}
	w.pods, err = w.podState()
	return err
}

func (w *world) samePods(_ *testscript.TestScript, args []string) error {
	if len(args) != 0 || w.pods == nil {
		return errUsage
	}
	now, err := w.podState()
	if err == nil && !maps.Equal(w.pods, now) {
		err = fmt.Errorf("there were %d pods, there are %d, or their revisions have changed", len(w.pods), len(now))
	}
	return err
}

// podState returns the mod revision of every pod.
func (w *world) podState() (map[string]int64, error) {
	response, err := w.etcd.Get(w.ctx(), "/registry/pods/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return nil, err
	}
	pods := map[string]int64{}
	for _, kv := range response.Kvs {
		pods[string(kv.Key)] = kv.ModRevision
	}
	return pods, nil
}

func (w *world) onlyGone(ts *testscript.TestScript, args []string) error {
	if len(args) != 1 || w.noted == nil {
		return errUsage
	}
	_, now, err := w.state()
	if err != nil {
		return err
	}
	want := maps.Clone(w.noted)
	for _, key := range strings.Fields(ts.ReadFile(args[0])) {
		if _, ok := want[key]; !ok {
			return fmt.Errorf("%s was not there at all", key)
		}
		delete(want, key)
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		was, is := want[key], now[key]
		if !bytes.Equal(is.Value, was.Value) || is.ModRevision != was.ModRevision || is.CreateRevision != was.CreateRevision {
			return fmt.Errorf("%s is not as it was: mod revision %d, was %d", key, is.ModRevision, was.ModRevision)
		}
	}
	for key := range now {
		if _, ok := want[key]; !ok {
			return fmt.Errorf("%s is there", key)
		}
	}
	return nil
}

func (w *world) restored(ts *testscript.TestScript, args []string) error {
	if len(args) != 1 || w.noted == nil {
		return errUsage
	}
	_, now, err := w.state()
	if err != nil {
		return err
	}
	again := map[string]bool{}
	for _, key := range strings.Fields(ts.ReadFile(args[0])) {
		again[key] = true
	}
	for _, key := range slices.Sorted(maps.Keys(w.noted)) {
		was, is := w.noted[key], now[key]
		switch {
		case !bytes.Equal(is.Value, was.Value):
			return fmt.Errorf("%s does not have the bytes that it had", key)
		case again[key] && (is.CreateRevision <= w.revision || !is.Born()):
			return fmt.Errorf("%s was not written exactly once: made at revision %d, last written at %d", key, is.CreateRevision, is.ModRevision)
		case !again[key] && is.ModRevision != was.ModRevision:
			return fmt.Errorf("%s was written, and need not be", key)
		}
	}
	for key := range now {
		if _, ok := w.noted[key]; !ok {
			return fmt.Errorf("%s is there, and was not", key)
		}
	}
	return nil
}

func (w *world) count(_ *testscript.TestScript, args []string) error {
	if len(args) != 2 {
		return errUsage
	}
	want, err := number(args[:1])
	if err != nil {
		return err
	}
	keys, err := w.keys(args[1])
	if err == nil && len(keys) != want {
		err = fmt.Errorf("%d keys under %s, want %d", len(keys), args[1], want)
	}
	return err
}

func (w *world) await(_ *testscript.TestScript, args []string) error {
	return w.awaitEvents(args, clientv3.WithFilterPut())
}

func (w *world) awaitPut(_ *testscript.TestScript, args []string) error {
	return w.awaitEvents(args, clientv3.WithFilterDelete())
}

// awaitEvents waits for as many events as the first argument says, on keys under the second one.
func (w *world) awaitEvents(args []string, filter clientv3.OpOption) error {
	if len(args) != 2 || w.noted == nil {
		return errUsage
	}
	missing, err := number(args[:1])
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(w.ctx())
	defer cancel()
	var last int64
	for response := range w.etcd.Watch(ctx, args[1], clientv3.WithPrefix(), clientv3.WithRev(w.revision+1), filter) {
		if err := response.Err(); err != nil {
			return err
		}
		for _, event := range response.Events {
			if event.Kv.ModRevision == last {
				return fmt.Errorf("revision %d changed more keys than one", last)
			}
			last = event.Kv.ModRevision
		}
		if missing -= len(response.Events); missing <= 0 {
			return nil
		}
	}
	return ctx.Err()
}

// still waits until what was in flight has come to its end: in two rounds in a row each revision is one that it has made itself.
func (w *world) still(_ *testscript.TestScript, args []string) error {
	const key, writes = "/still", 200
	if len(args) != 0 {
		return errUsage
	}
	for quiet, round := 0, 0; quiet < 2; round++ {
		if round == 20 {
			return errors.New("others go on writing")
		}
		first, err := w.etcd.Put(w.ctx(), key, "")
		if err != nil {
			return err
		}
		var last *clientv3.PutResponse
		for range writes - 1 {
			if last, err = w.etcd.Put(w.ctx(), key, ""); err != nil {
				return err
			}
		}
		if quiet++; last.Header.Revision != first.Header.Revision+writes-1 {
			quiet = 0
		}
	}
	_, err := w.etcd.Delete(w.ctx(), key)
	return err
}

// keys returns the keys under a prefix, in order.
func (w *world) keys(prefix string) ([]string, error) {
	response, err := w.etcd.Get(w.ctx(), prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return nil, err
	}
	keys := make([]string, len(response.Kvs))
	for i, kv := range response.Kvs {
		keys[i] = string(kv.Key)
	}
	return keys, nil
}

// state returns the cluster's revision and all its keys but those with a lease, which expire by themselves.
func (w *world) state() (int64, map[string]decode.Record, error) {
	response, err := w.etcd.Get(w.ctx(), "\x00", clientv3.WithFromKey())
	if err != nil {
		return 0, nil, err
	}
	all := make(map[string]decode.Record, len(response.Kvs))
	for _, kv := range response.Kvs {
		if kv.Lease == 0 {
			all[string(kv.Key)] = decode.Record{Value: kv.Value, CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision}
		}
	}
	return response.Header.Revision, all, nil
}

// get reads a key that must be there.
func (w *world) get(key string) ([]byte, error) {
	response, err := w.etcd.Get(w.ctx(), key)
	if err != nil {
		return nil, err
	}
	if len(response.Kvs) == 0 {
		return nil, fmt.Errorf("%s is not there", key)
	}
	return response.Kvs[0].Value, nil
}
