package scripts_test

import (
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"etcdsweep/test/lab"
)

func (w *world) startLab(ts *testscript.TestScript, args []string) error {
	flags := flag.NewFlagSet("lab", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	pods := flags.Int("pods", 0, "")
	var config lab.Config
	flags.IntVar(&config.Members, "members", 1, "")
	flags.StringVar(&config.Snapshot, "from", w.zoo, "")
	flags.BoolVar(&config.PlainText, "plain", false, "")
	if flags.Parse(args) != nil || flags.NArg() > 0 {
		return errUsage
	}
	config.Snapshot = ts.MkAbs(config.Snapshot)
	if err := w.start(config); err != nil {
		return err
	}
	ts.Setenv("ETCDCTL_ENDPOINTS", strings.Join(w.lab.Endpoints(), ","))
	if !config.PlainText {
		ts.Setenv("ETCDCTL_CACERT", w.lab.CA.Path())
		ts.Setenv("ETCDCTL_CERT", w.lab.Cert)
		ts.Setenv("ETCDCTL_KEY", w.lab.Key)
	}
	if *pods == 0 {
		return nil
	}
	return w.trim(*pods)
}

// start starts a lab, which lives as long as the script.
func (w *world) start(config lab.Config) error {
	config.Dir, config.NoFsync = w.t.TempDir(), true
	cluster, err := lab.Start(w.ctx(), config)
	if err != nil {
		return err
	}
	w.t.Cleanup(func() {
		if err := cluster.Close(); err != nil {
			w.t.Errorf("lab: %v", err)
		}
	})
	client, err := cluster.Client()
	if err != nil {
		return err
	}
	w.t.Cleanup(func() { _ = client.Close() }) // it says only that it was closed
	w.lab, w.etcd = cluster, client
	return nil
}

// trim leaves so many of the pods of Job batch/runaway.
func (w *world) trim(pods int) error {
	keys, err := w.keys(runawayPods)
	if err != nil {
		return err
	}
	keys = slices.DeleteFunc(keys, func(key string) bool { return strings.HasPrefix(key, lookAlikePods) })
	if pods > len(keys) {
		return fmt.Errorf("there are %d pods only", len(keys))
	}
	if pods == len(keys) {
		return nil
	}
	_, err = w.etcd.Delete(w.ctx(), keys[pods], clientv3.WithRange(clientv3.GetPrefixRangeEnd(runawayPods)))
	return err
}

func (w *world) member(_ *testscript.TestScript, args []string) error {
	if len(args) != 2 {
		return errUsage
	}
	n, err := number(args[1:])
	if err != nil {
		return err
	}
	switch args[0] {
	case "kill":
		return w.lab.KillMember(n - 1)
	case "start":
		return w.lab.StartMember(w.ctx(), n-1)
	default:
		return errUsage
	}
}

func (w *world) alarm(_ *testscript.TestScript, args []string) error {
	if len(args) != 1 {
		return errUsage
	}
	kind, ok := etcdserverpb.AlarmType_value[args[0]]
	if !ok {
		return errUsage
	}
	members, err := w.etcd.MemberList(w.ctx())
	if err != nil {
		return err
	}
	_, err = etcdserverpb.NewMaintenanceClient(w.etcd.ActiveConnection()).Alarm(w.ctx(), &etcdserverpb.AlarmRequest{
		Action:   etcdserverpb.AlarmRequest_ACTIVATE,
		MemberID: members.Members[0].ID,
		Alarm:    etcdserverpb.AlarmType(kind),
	})
	return err
}

func (w *world) mint(ts *testscript.TestScript, args []string) error {
	if len(args) != 3 {
		return errUsage
	}
	now := time.Now()
	var validity [2]time.Time
	for i := range validity {
		age, err := time.ParseDuration(args[1+i])
		if err != nil {
			return err
		}
		validity[i] = now.Add(-age)
	}
	_, _, err := w.lab.CA.Client(ts.MkAbs("."), args[0], validity[0], validity[1])
	return err
}

func (w *world) authority(ts *testscript.TestScript, args []string) error {
	if len(args) != 1 {
		return errUsage
	}
	dir := ts.MkAbs(args[0])
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	_, err := lab.NewCA(dir)
	return err
}

func (w *world) silent(ts *testscript.TestScript, args []string) error {
	if len(args) != 1 {
		return errUsage
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	w.silence = listener
	w.t.Cleanup(func() { _ = listener.Close() }) // nothing was written to it
	ts.Setenv(args[0], listener.Addr().String())
	return nil
}

// awaitCall accepts one connection. The others are accepted by the kernel alone.
func (w *world) awaitCall(_ *testscript.TestScript, args []string) error {
	if len(args) != 0 || w.silence == nil {
		return errUsage
	}
	conn, err := w.silence.Accept()
	if err != nil {
		return err
	}
	w.t.Cleanup(func() { _ = conn.Close() }) // nothing was written to it
	return nil
}
