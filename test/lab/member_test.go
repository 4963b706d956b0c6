package lab

import (
	"errors"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// Start depends on it: a port that somebody else took is told apart from all other failures.
func TestPortInUse(t *testing.T) {
	etcd, err := exec.LookPath("etcd")
	if err != nil {
		t.Fatalf("%v: this test needs a real etcd: apt-get install etcd-server", err)
	}
	for server, binary := range map[string]string{"library": "", "process": etcd} {
		t.Run(server, func(t *testing.T) {
			c := &Cluster{config: Config{Dir: t.TempDir(), Members: 1, Binary: binary, PlainText: true}}
			if err := c.addMembers(); err != nil {
				t.Fatal(err)
			}
			listener, err := net.Listen("tcp", strings.TrimPrefix(c.members[0].client, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			if err := c.StartMember(t.Context(), 0); !errors.Is(err, syscall.EADDRINUSE) {
				t.Errorf("started on a port in use: %v", err)
			}
			if c.members[0].server != nil {
				t.Error("still runs")
			}
		})
	}
}
