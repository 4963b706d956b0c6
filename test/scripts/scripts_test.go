// Package scripts_test runs the real binary against a real etcd. Each file in testdata is a script: what an operator
// types, what the tool answers, and what must not have happened. The commands that scripts have beside testscript's own
// are listed in commands.
package scripts_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	clientv3 "go.etcd.io/etcd/client/v3"

	"etcdsweep/decode"
	"etcdsweep/test/fixtures"
	"etcdsweep/test/lab"
)

func TestScripts(t *testing.T) {
	bin := build(t)
	zoo, err := fixtures.Unpack(fixtures.Zoo, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                "testdata",
		Cmds:               commands(),
		RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Values[worldKey{}] = &world{t: env.T().(testing.TB), zoo: zoo}
			return nil
		},
	})
}

// build builds the binary as it is released, and returns its directory.
func build(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", dir, "etcdsweep/cmd/etcdsweep")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	return dir
}

// world is what the commands of one script work on.
type world struct {
	t   testing.TB
	zoo string // path of the snapshot that labs start from

	lab  *lab.Cluster // the one that was started last
	etcd *clientv3.Client

	revision int64 // that "note" saw
	noted    map[string]decode.Record
	pods     map[string]int64 // that "note-pods" saw
	followed *exec.Cmd
	silence  net.Listener
}

type worldKey struct{}

func (w *world) ctx() context.Context { return w.t.Context() }
