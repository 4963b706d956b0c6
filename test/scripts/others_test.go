package scripts_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/time/rate"

	"etcdsweep/decode"
	"etcdsweep/plan/controllers"
)

// runawayPods are the pods of Job batch/runaway. Those of batch/runaway-2 begin like them.
const (
	runawayPods   = "/registry/pods/batch/runaway-"
	lookAlikePods = "/registry/pods/batch/runaway-2-"
)

func (w *world) del(_ *testscript.TestScript, args []string) error {
	for _, key := range args {
		response, err := w.etcd.Delete(w.ctx(), key)
		if err != nil {
			return err
		}
		if response.Deleted == 0 {
			return fmt.Errorf("%s is not there", key)
		}
	}
	return nil
}

func (w *world) touch(_ *testscript.TestScript, args []string) error {
	for _, key := range args {
		value, err := w.get(key)
		if err != nil {
			return err
		}
		if _, err := w.etcd.Put(w.ctx(), key, string(value)); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) replace(ts *testscript.TestScript, args []string) error {
	for _, key := range args {
		value, err := w.get(key)
		if err != nil {
			return err
		}
		object, err := decode.Decode(value)
		if err != nil {
			return err
		}
		if err := w.del(ts, []string{key}); err != nil {
			return err
		}
		if _, err := w.etcd.Put(w.ctx(), key, strings.ReplaceAll(string(value), object.UID, uid(0))); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) back(_ *testscript.TestScript, args []string) error {
	for _, key := range args {
		record, ok := w.noted[key]
		if !ok {
			return fmt.Errorf("%s was not there", key)
		}
		if _, err := w.etcd.Put(w.ctx(), key, string(record.Value)); err != nil {
			return err
		}
	}
	return nil
}

// uid returns a UID that no object in a fixture has. It is as long as any other, so that it can take another's place in
// the bytes of an object.
func uid(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

// clone returns the n-th pod made after one in etcd: it differs in its name, where the last five letters are what
// a controller puts there, and in its UID.
func clone(key string, value []byte, n int) (string, []byte, error) {
	object, err := decode.Decode(value)
	if err != nil {
		return "", nil, err
	}
	name := fmt.Sprintf("%s%05d", object.Name[:len(object.Name)-5], n)
	value = bytes.ReplaceAll(value, []byte(object.UID), []byte(uid(n)))
	value = bytes.ReplaceAll(value, []byte(object.Name), []byte(name))
	return path.Join(path.Dir(key), name), value, nil
}

// model returns a pod of Job batch/runaway: the last one, because those of Job batch/runaway-2 come first.
func (w *world) model() (key string, value []byte, err error) {
	response, err := w.etcd.Get(w.ctx(), runawayPods, clientv3.WithLastKey()...)
	if err != nil {
		return "", nil, err
	}
	if len(response.Kvs) == 0 {
		return "", nil, errors.New("there is no pod to copy")
	}
	return string(response.Kvs[0].Key), response.Kvs[0].Value, nil
}

func (w *world) born(_ *testscript.TestScript, args []string) error {
	pods, err := number(args)
	if err != nil {
		return err
	}
	key, value, err := w.model()
	if err != nil {
		return err
	}
	for n := range pods {
		key, value, err := clone(key, value, n+1)
		if err != nil {
			return err
		}
		if _, err := w.etcd.Put(w.ctx(), key, string(value)); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) produce(_ *testscript.TestScript, args []string) error {
	perSecond, err := number(args)
	if err != nil {
		return err
	}
	key, value, err := w.model()
	if err != nil {
		return err
	}
	limiter, etcd := rate.NewLimiter(rate.Limit(perSecond), 1), w.etcd
	done := make(chan error, 1)
	go func() {
		for n := 1; limiter.Wait(w.ctx()) == nil; n++ {
			key, value, err := clone(key, value, n)
			if err == nil {
				_, err = etcd.Put(w.ctx(), key, string(value))
			}
			if err != nil && w.ctx().Err() == nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	w.t.Cleanup(func() {
		if err := <-done; err != nil {
			w.t.Errorf("produce: %v", err)
		}
	})
	return nil
}

func (w *world) claim(_ *testscript.TestScript, args []string) error {
	if len(args) != 3 {
		return errUsage
	}
	name, policy := args[0], args[2]
	value, err := w.get(args[1])
	if err != nil {
		return err
	}
	owner, err := decode.Decode(value)
	if err != nil {
		return err
	}
	for key, value := range map[string]string{
		"/registry/persistentvolumeclaims/" + owner.Namespace + "/" + name: fmt.Sprintf(`{"apiVersion":"v1","kind":"PersistentVolumeClaim",
			"metadata":{"name":%q,"namespace":%q,"uid":%q,"ownerReferences":[{"apiVersion":%q,"kind":%q,"name":%q,"uid":%q}]},
			"spec":{"volumeName":"pv-%s"}}`, name, owner.Namespace, uid(1_000_001), owner.APIVersion, owner.Kind, owner.Name, owner.UID, name),
		"/registry/persistentvolumes/pv-" + name: fmt.Sprintf(`{"apiVersion":"v1","kind":"PersistentVolume",
			"metadata":{"name":"pv-%s","uid":%q},"spec":{"persistentVolumeReclaimPolicy":%q}}`, name, uid(1_000_002), policy),
	} {
		if _, err := w.etcd.Put(w.ctx(), key, value); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) renameIn(_ *testscript.TestScript, args []string) error {
	if len(args) < 3 || len(args[0]) != len(args[1]) { // or the lengths around it were wrong
		return errUsage
	}
	keys := args[2:]
	under := len(keys) == 1 && strings.HasSuffix(keys[0], "/")
	if under {
		var err error
		if keys, err = w.keys(keys[0]); err != nil {
			return err
		}
	}
	for _, key := range keys {
		value, err := w.get(key)
		if err != nil {
			return err
		}
		if !bytes.Contains(value, []byte(args[0])) {
			if under {
				continue
			}
			return fmt.Errorf("%s has no %q", key, args[0])
		}
		if _, err := w.etcd.Put(w.ctx(), key, strings.ReplaceAll(string(value), args[0], args[1])); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) beat(_ *testscript.TestScript, nodes []string) error {
	leases := map[string]string{}
	for _, node := range nodes {
		key := "/registry/leases/kube-node-lease/" + node
		value, err := w.get(key)
		if err != nil {
			return err
		}
		leases[key] = string(value)
	}
	limiter, etcd := rate.NewLimiter(rate.Every(20*time.Millisecond), 1), w.etcd
	done := make(chan error, 1)
	go func() {
		for limiter.Wait(w.ctx()) == nil {
			for key, value := range leases {
				if _, err := etcd.Put(w.ctx(), key, value); err != nil && w.ctx().Err() == nil {
					done <- err
					return
				}
			}
		}
		done <- nil
	}()
	w.t.Cleanup(func() {
		if err := <-done; err != nil {
			w.t.Errorf("beat: %v", err)
		}
	})
	return nil
}

func (w *world) lead(ts *testscript.TestScript, args []string) error {
	if len(args) != 2 {
		return errUsage
	}
	lease, _ := controllers.Keys("/registry")
	value := fmt.Sprintf(`{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"kube-controller-manager",
		"namespace":"kube-system"},"spec":{"holderIdentity":%q}}`, args[0])
	limiter, etcd, stopped := rate.NewLimiter(rate.Every(20*time.Millisecond), 1), w.etcd, ts.MkAbs(args[1])
	done := make(chan error, 1)
	go func() {
		for limiter.Wait(w.ctx()) == nil {
			if _, err := os.Stat(stopped); err == nil {
				continue
			}
			if _, err := etcd.Put(w.ctx(), lease, value); err != nil && w.ctx().Err() == nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	w.t.Cleanup(func() {
		if err := <-done; err != nil {
			w.t.Errorf("lead: %v", err)
		}
	})
	return nil
}
