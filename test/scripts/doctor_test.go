package scripts_test

import (
	"errors"
	"os"
	"slices"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/time/rate"

	"etcdsweep/test/kine"
)

// startKine starts something that is no etcd, and lets the ETCDCTL_ variables lead to it.
func (w *world) startKine(ts *testscript.TestScript, args []string) error {
	if len(args) != 1 || !slices.Contains([]string{"strict", "lenient"}, args[0]) {
		return errUsage
	}
	server, err := kine.Start(args[0] == "strict")
	if err != nil {
		return err
	}
	w.t.Cleanup(func() {
		if err := server.Close(); err != nil {
			w.t.Errorf("kine: %v", err)
		}
	})
	ts.Setenv("ETCDCTL_ENDPOINTS", server.Address)
	for _, name := range []string{"ETCDCTL_CACERT", "ETCDCTL_CERT", "ETCDCTL_KEY"} {
		ts.Setenv(name, "")
	}
	return nil
}

// serve goes on renewing the records by which apiservers show that they live, while a file is absent.
func (w *world) serve(ts *testscript.TestScript, args []string) error {
	if len(args) < 2 {
		return errUsage
	}
	names, stopped := args[1:], ts.MkAbs(args[0])
	limiter, etcd := rate.NewLimiter(rate.Every(20*time.Millisecond), 1), w.etcd
	for _, name := range names {
		if _, err := etcd.Put(w.ctx(), "/registry/masterleases/"+name, "x"); err != nil {
			return err
		}
	}
	done := make(chan error, 1)
	go func() {
		for limiter.Wait(w.ctx()) == nil {
			if _, err := os.Stat(stopped); err == nil {
				continue
			}
			for _, name := range names {
				if _, err := etcd.Put(w.ctx(), "/registry/masterleases/"+name, "x"); err != nil && w.ctx().Err() == nil {
					done <- err
					return
				}
			}
		}
		done <- nil
	}()
	w.t.Cleanup(func() {
		if err := <-done; err != nil {
			w.t.Errorf("serve: %v", err)
		}
	})
	return nil
}

// users makes etcd users with the password "secret", and turns authentication on: root, writer and reader of the registry,
// and nobody.
func (w *world) users(_ *testscript.TestScript, args []string) error {
	if len(args) != 0 {
		return errUsage
	}
	ctx, etcd := w.ctx(), w.etcd
	var errs []error
	do := func(_ any, err error) { errs = append(errs, err) }
	for role, kind := range map[string]int32{"writer": int32(clientv3.PermReadWrite), "reader": int32(clientv3.PermRead)} {
		do(etcd.RoleAdd(ctx, role))
		do(etcd.RoleGrantPermission(ctx, role, "/registry/", clientv3.GetPrefixRangeEnd("/registry/"), clientv3.PermissionType(kind)))
	}
	do(etcd.RoleAdd(ctx, "root"))
	for _, user := range []string{"root", "writer", "reader", "nobody"} {
		do(etcd.UserAdd(ctx, user, "secret"))
		if user != "nobody" {
			do(etcd.UserGrantRole(ctx, user, user))
		}
	}
	do(etcd.AuthEnable(ctx))
	return errors.Join(errs...)
}
