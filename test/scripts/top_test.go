package scripts_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"etcdsweep/test/fixtures"
	"etcdsweep/test/lab"
)

// top is what programs read of it.
type top struct {
	Total  struct{ Count int }
	Groups []struct {
		Name, Namespace string
		Count           int
		Terminating     int
	}
	Unreadable []struct {
		Class string
		Count int
	}
	Culprits []struct{ Name, Command string }
}

// root is the highest owner of pods that the truth knows by their own one.
func root(c fixtures.PodCount) string {
	switch {
	case c.OwnerKind == "":
		return "none in " + c.Namespace
	case c.OwnerKind == "Node":
		return "Node " + c.OwnerName
	case c.OwnerKind == "ReplicaSet":
		return "Deployment " + c.Namespace + "/" + c.OwnerName[:strings.LastIndex(c.OwnerName, "-")]
	case strings.HasPrefix(c.OwnerName, "tick-"):
		return "CronJob ops/tick"
	default:
		return c.OwnerKind + " " + c.Namespace + "/" + c.OwnerName
	}
}

// What top counts is the truth, which was read through a kube-apiserver: of a cluster, and of its snapshot.
func TestTopTruth(t *testing.T) {
	bin := filepath.Join(build(t), "etcdsweep")
	for _, name := range []fixtures.Name{fixtures.Incident, fixtures.Zoo} {
		t.Run(string(name), func(t *testing.T) {
			path, err := fixtures.Unpack(name, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			w := &world{t: t}
			if err := w.start(lab.Config{Snapshot: path}); err != nil {
				t.Fatal(err)
			}
			live := []string{"--endpoints", strings.Join(w.lab.Endpoints(), ","), "--cacert", w.lab.CA.Path(), "--cert", w.lab.Cert, "--key", w.lab.Key}
			var keys []string
			if config, err := fixtures.EncryptionConfig(name); err == nil {
				file := filepath.Join(t.TempDir(), "encryption.yaml")
				if err := os.WriteFile(file, config, 0o600); err != nil {
					t.Fatal(err)
				}
				keys = []string{"--encryption-config", file}
			}
			for source, flags := range map[string][]string{"cluster": live, "snapshot": {"--from-snapshot", path}} {
				t.Run(source, func(t *testing.T) {
					ask := func(flags ...string) top { return run(t, bin, append([]string{"top", "-o", "json"}, flags...)) }
					checkOwners(t, name, ask(append(flags, keys...)...))
					checkSealed(t, name, ask(flags...))
					for by, value := range map[string]func(fixtures.PodCount) string{
						"phase":     func(c fixtures.PodCount) string { return c.Phase },
						"namespace": func(c fixtures.PodCount) string { return c.Namespace },
					} {
						want, _ := truth(t, name, value)
						result := ask(append(append([]string{"--by", by}, flags...), keys...)...)
						if got, _ := result.groups(t); !maps.Equal(got, want) {
							t.Errorf("by %s: %v, want %v", by, got, want)
						}
					}
				})
			}
		})
	}
}

// checkOwners holds what top has counted with all keys against the truth.
func checkOwners(t *testing.T, name fixtures.Name, result top) {
	t.Helper()
	wantPods, wantTerminating := truth(t, name, root)
	pods, terminating := result.groups(t)
	if diff := cmp.Diff(wantPods, pods); diff != "" {
		t.Errorf("by owner: -want +got:\n%s", diff)
	}
	if diff := cmp.Diff(wantTerminating, terminating); diff != "" {
		t.Errorf("terminating: -want +got:\n%s", diff)
	}
	if len(result.Unreadable) > 0 {
		t.Errorf("unreadable with all keys: %v", result.Unreadable)
	}
	culprits := map[fixtures.Name][]string{
		fixtures.Incident: {"Job runaway/error-ret-node8", "Job runaway/error-ret-node7"},
		fixtures.Zoo:      {"Job batch/runaway"},
	}[name]
	var got []string
	for i, c := range result.Culprits {
		got = append(got, c.Name)
		if result.Groups[i].Name != c.Name || !strings.HasPrefix(c.Command, "etcdsweep plan -n ") {
			t.Errorf("culprit %d is %s, and %s the largest; its command: %s", i, c.Name, result.Groups[i].Name, c.Command)
		}
	}
	if diff := cmp.Diff(culprits, got); diff != "" {
		t.Errorf("culprits: -want +got:\n%s", diff)
	}
}

// checkSealed holds what it has counted without a key against the truth: what is missing is told by its provider.
func checkSealed(t *testing.T, name fixtures.Name, result top) {
	t.Helper()
	want, _ := truth(t, name, root)
	for owner, n := range sealed(name) {
		if want[owner] -= n; want[owner] == 0 {
			delete(want, owner)
		}
	}
	got, _ := result.groups(t)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("without keys: -want +got:\n%s", diff)
	}
	classes := map[string]int{}
	for _, u := range result.Unreadable {
		classes[u.Class] = u.Count
	}
	wantClasses := map[string]int{}
	if name == fixtures.Zoo {
		wantClasses = map[string]int{
			"encrypted (aescbc, key key-aescbc)": 80, "encrypted (aesgcm, key key-aesgcm)": 80, "encrypted (secretbox, key key-secretbox)": 60,
		}
	}
	if diff := cmp.Diff(wantClasses, classes); diff != "" {
		t.Errorf("unreadable: -want +got:\n%s", diff)
	}
}

func run(t *testing.T, bin string, args []string) (result top) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), bin, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, stderr.String())
	}
	if err := json.Unmarshal(out, &result); err != nil {
		t.Fatal(err)
	}
	return result
}

// sealed are the pods of the zoo that cannot be read without keys.
func sealed(name fixtures.Name) map[string]int {
	if name != fixtures.Zoo {
		return nil
	}
	return map[string]int{"Job batch/enc-aescbc": 60, "Job batch/enc-aesgcm": 60, "Job batch/enc-secretbox": 60, "CronJob ops/tick": 40}
}

// truth adds up the pods of a fixture by what key makes of them, and those that are terminating.
func truth(t *testing.T, name fixtures.Name, key func(fixtures.PodCount) string) (pods, terminating map[string]int) {
	t.Helper()
	counts, err := fixtures.Pods(name)
	if err != nil {
		t.Fatal(err)
	}
	pods, terminating = map[string]int{}, map[string]int{}
	for _, c := range counts {
		pods[key(c)] += c.Pods
		if c.Deletion == "terminating" {
			terminating[key(c)] += c.Pods
		}
	}
	return pods, terminating
}

// groups returns the counts of top by the names of the groups, of which each is there once.
func (r *top) groups(t *testing.T) (pods, terminating map[string]int) {
	t.Helper()
	pods, terminating = map[string]int{}, map[string]int{}
	for _, g := range r.Groups {
		name := g.Name
		if name == "" {
			name = "none in " + g.Namespace
		}
		if _, again := pods[name]; again {
			t.Errorf("%s comes twice", name)
		}
		pods[name] = g.Count
		if g.Terminating > 0 {
			terminating[name] = g.Terminating
		}
	}
	return pods, terminating
}
