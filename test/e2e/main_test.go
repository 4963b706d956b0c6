package e2e

import (
	"io"
	"os"
	"path/filepath"
	"testing"
	_ "time/tzdata" // CronJobs have time zones

	"go.etcd.io/etcd/server/v3/etcdmain"
	"google.golang.org/grpc/grpclog"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

const (
	etcdName              = "etcd"
	apiserverName         = "kube-apiserver"
	controllerManagerName = "kube-controller-manager"
)

// TestMain runs the tests, unless the binary is called by the name of one of the servers: then it is that server.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case etcdName:
		etcdmain.Main(os.Args)
	case apiserverName:
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case controllerManagerName:
		os.Exit(cli.Run(controllers.NewControllerManagerCommand()))
	default:
		grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard)) // errors are returned
		os.Exit(m.Run())
	}
}

// program returns the path of a server: the test binary, under the server's name.
func program(t testing.TB, name string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(self, path); err != nil {
		t.Fatal(err)
	}
	return path
}
