package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"etcdsweep/test/lab/labtest"

	"etcdsweep/test/lab"
)

func TestMain(m *testing.M) { os.Exit(labtest.Run(m)) }

func TestUpAndCheck(t *testing.T) {
	for name, flags := range map[string][]string{
		"filled":   {"--pods", "20", "--jobs", "2", "--produce", "50"},
		"restored": {"--from-fixture", "k8s-1.37-zoo"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "it's a lab")
			ctx, interrupt := context.WithCancel(t.Context())
			stdout, w := io.Pipe()
			var stderr bytes.Buffer
			status := make(chan int)
			go func() {
				status <- run(ctx, append([]string{"up", "--dir", dir}, flags...), w, &stderr)
			}()
			lines := bufio.NewScanner(stdout)
			for lines.Scan() && !strings.HasPrefix(lines.Text(), "ready") {
			}

			env, err := os.ReadFile(filepath.Join(dir, envFile))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(env), `ETCDCTL_CACERT='`+strings.ReplaceAll(dir, "'", `'\''`)+`/ca.crt'`) {
				t.Errorf("env.sh: %s", env)
			}
			var out bytes.Buffer
			if got := run(t.Context(), []string{"check", "--dir", dir}, &out, &out); got != 0 || !strings.Contains(out.String(), "none changed") {
				t.Errorf("check: status %d: %s", got, &out)
			}
			client, err := lab.Connect(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			const key = "/registry/jobs/batch/runaway-2"
			if _, err := client.Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
			out.Reset()
			if got := run(t.Context(), []string{"check", "--dir", dir}, &out, &out); got != 1 || !strings.Contains(out.String(), key+": gone\n") {
				t.Errorf("check after a bystander went: status %d: %s", got, &out)
			}

			interrupt()
			if got := <-status; got != 0 || stderr.Len() > 0 {
				t.Errorf("up: status %d: %s", got, &stderr)
			}
			if _, err := os.Stat(filepath.Join(dir, envFile)); !os.IsNotExist(err) {
				t.Errorf("env.sh is still there: %v", err)
			}
		})
	}
}

func TestUsage(t *testing.T) {
	for line, want := range map[string]int{
		"":                                  0,
		"up --help":                         0,
		"nope":                              2,
		"up":                                2,
		"up --dir d x":                      2,
		"up --dir d --members 2":            2,
		"up --dir d --jobs 0":               2,
		"up --dir d --jobs 27 --pods 27":    2,
		"up --dir d --jobs 2 --pods 1":      2,
		"up --dir d --produce -1":           2,
		"up --dir d --from-fixture nope":    2,
		"up --dir d --from-fixture nope -x": 2,
		"up --dir d --from-fixture k8s-1.37-zoo --pods 3": 2,
		"up --dir /dev/null/lab":                          1,
		"check":                                           2,
		"check --dir /no/such/lab":                        1,
	} {
		var stdout, stderr bytes.Buffer
		if got := run(t.Context(), strings.Fields(line), &stdout, &stderr); got != want {
			t.Errorf("%q: status %d, want %d: %s", line, got, want, &stderr)
		}
		if (stderr.Len() > 0) != (want != 0) || (stdout.Len() > 0) != (want == 0) {
			t.Errorf("%q: stdout %q, stderr %q", line, &stdout, &stderr)
		}
	}
}
