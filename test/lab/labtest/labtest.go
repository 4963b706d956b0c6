// Package labtest has what tests with a lab in their process share.
package labtest

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"etcdsweep/test/lab"
)

// peerTimeout is longer than connections between members of a lab outlive its Close.
const peerTimeout = 10 * time.Second

// Run runs a package's tests and fails them if goroutines are left behind. It returns the exit status.
func Run(m *testing.M) int {
	status := m.Run()
	if leaks := leaked(); status == 0 && len(leaks) > 0 {
		fmt.Fprintln(os.Stderr, "goroutines left behind:", strings.Join(leaks, "\n"))
		return 1
	}
	return status
}

// NoLeaks fails the test if goroutines that it starts from here on are left behind at its end.
func NoLeaks(t *testing.T) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		if leaks := leaked(before); len(leaks) > 0 {
			t.Error("goroutines left behind:", strings.Join(leaks, "\n"))
		}
	})
}

// leaked returns the stacks of goroutines that are left, once it has given them time to end. Those of etcd servers in this
// process do not count: their connections come and go as they like, and the one that looks after the storage version may
// wait for ever for a database that was closed before it. Nor do those of toxiproxy, which never end where it has cut a
// connection.
func leaked(options ...goleak.Option) []string {
	servers := []string{"go.etcd.io/etcd/server/v3", "github.com/Shopify/toxiproxy/v2", "net/http.(*conn).serve", "net/http.(*http2serverConn)", "google.golang.org/grpc.(*Server)", "transport.NewServerTransport", "transport.(*http2Server)"}
	for deadline := time.Now().Add(peerTimeout); ; {
		err := goleak.Find(options...) // which looks again and again for a while
		if err == nil {
			return nil
		}
		stacks := strings.Split(err.Error(), "Goroutine ")[1:]
		stacks = slices.DeleteFunc(stacks, func(stack string) bool {
			return slices.ContainsFunc(servers, func(frame string) bool { return strings.Contains(stack, frame) })
		})
		if len(stacks) == 0 || time.Now().After(deadline) {
			return stacks
		}
	}
}

// RequireEtcd is the environment variable that makes the absence of an etcd binary an error, as in CI.
const RequireEtcd = "ETCDSWEEP_REQUIRE_ETCD"

// Servers returns the etcd servers to test against, by name: the library, as an empty path, and the etcd binary of this
// machine, if it has one. Debian's is a 3.4, the oldest server that etcdsweep supports.
func Servers(t *testing.T) map[string]string {
	t.Helper()
	servers := map[string]string{"library": ""}
	switch binary, err := exec.LookPath("etcd"); {
	case err == nil:
		servers["process"] = binary
	case os.Getenv(RequireEtcd) != "":
		t.Fatalf("%v: these tests need a real etcd: apt-get install etcd-server", err)
	default:
		t.Logf("not tested against an etcd process: %v (apt-get install etcd-server)", err)
	}
	return servers
}

// Process returns the etcd to run as a process of its own, which can hang, die, and have metrics: the binary of this machine, or the
// library's, which is built for it.
func Process(t *testing.T) string {
	t.Helper()
	if binary, err := exec.LookPath("etcd"); err == nil {
		return binary
	}
	binary, err := lab.BuildServer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return binary
}
