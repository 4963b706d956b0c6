package encryption_test

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"etcdsweep/decode"
	"etcdsweep/etcdops/encryption"
	"etcdsweep/test/fixtures"
)

// TestZoo opens every encrypted value of a real cluster that has written with three providers, and compares the pods with those
// that a kube-apiserver counted there.
func TestZoo(t *testing.T) {
	truth, err := fixtures.Pods(fixtures.Zoo)
	if err != nil {
		t.Fatal(err)
	}
	want := map[fixtures.PodCount]int{}
	for _, line := range truth {
		pods := line.Pods
		line.Pods = 0
		want[line] = pods
	}
	keys := load(t, zooConfig(t))
	got, opened := map[fixtures.PodCount]int{}, map[string]int{}
	for record := range zoo(t) {
		stored := string(record.Value)
		if err := keys.Open(t.Context(), &record); err != nil {
			t.Fatalf("%s: %v", record.Key, err)
		}
		if string(record.Value) != stored {
			t.Fatalf("%s: the stored value has changed", record.Key)
		}
		encryption := decode.Encryption(record.Value)
		if (encryption != nil) != (record.Plain != nil) || record.Sealed != nil {
			t.Fatalf("%s: encrypted: %v, sealed: %v", record.Key, encryption, record.Sealed)
		}
		kind := strings.Split(record.Key, "/")[2]
		object, err := record.Decode()
		if kind != "pods" && encryption == nil {
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", record.Key, err)
		}
		if encryption != nil {
			opened[kind+" "+encryption.Provider]++
		}
		if kind != "pods" {
			continue
		}
		if err := decode.Pods().Check("/registry", record.Key, &object); err != nil {
			t.Fatal(err)
		}
		line := fixtures.PodCount{Namespace: object.Namespace, Phase: object.Phase}
		if owner := object.Controller(); owner != nil {
			line.OwnerKind, line.OwnerName = owner.Kind, owner.Name
		}
		got[line]++
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pods, -truth +opened:\n%s", diff)
	}
	wantOpened := map[string]int{
		"pods aescbc": 80, "pods aesgcm": 80, "pods secretbox": 60,
		"jobs aescbc": 2, "jobs aesgcm": 2, "jobs secretbox": 1,
	}
	if diff := cmp.Diff(wantOpened, opened); diff != "" {
		t.Errorf("opened, -want +got:\n%s", diff)
	}
}

// TestUnreadable counts the classes of what a configuration does not open.
func TestUnreadable(t *testing.T) {
	config := zooConfig(t)
	rule := func(from, to string) string { return strings.ReplaceAll(config, from, to) }
	const (
		cbcSecret = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
		boxSecret = "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXowMTIzNDU="
		gcmSecret = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo1NDMyMTA="
	)
	for _, test := range []struct {
		name, config string
		classes      map[string]int
	}{
		{"wrong key of aescbc", rule(cbcSecret, boxSecret), map[string]int{"encrypted (aescbc, key key-aescbc: wrong key or damaged)": 82}},
		{"wrong key of aesgcm", rule(gcmSecret, boxSecret), map[string]int{"encrypted (aesgcm, key key-aesgcm: wrong key or damaged)": 82}},
		{"wrong key of secretbox", rule(boxSecret, cbcSecret), map[string]int{"encrypted (secretbox, key key-secretbox: wrong key or damaged)": 61}},
		{"renamed key", rule("key-aesgcm", "key-of-2024"), map[string]int{"encrypted (aesgcm, key key-aesgcm: no such key)": 82}},
		{"another provider", rule("aesgcm:", "aescbc:"), map[string]int{"encrypted (aesgcm, key key-aesgcm: no such key)": 82}},
		{"pods are not configured", rule("  - pods\n", ""), map[string]int{
			"encrypted (aescbc, key key-aescbc: no such key)":       80,
			"encrypted (aesgcm, key key-aesgcm: no such key)":       80,
			"encrypted (secretbox, key key-secretbox: no such key)": 60,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			keys := load(t, test.config)
			classes := map[string]int{}
			for record := range zoo(t) {
				if decode.Encryption(record.Value) == nil {
					continue
				}
				if err := keys.Open(t.Context(), &record); err != nil {
					t.Fatal(err)
				}
				object, err := record.Decode()
				if err == nil {
					continue
				}
				unreadable, ok := errors.AsType[*decode.UnreadableError](err)
				if !ok || unreadable.Err == nil || object.Name != "" {
					t.Fatalf("%s: %+v, %v", record.Key, object, err)
				}
				classes[unreadable.Class()]++
			}
			if !maps.Equal(test.classes, classes) {
				t.Errorf("got %v, want %v", classes, test.classes)
			}
		})
	}
}

// TestMoved copies values to the key of another pod. Those of aesgcm are bound to their key; the others open, and are then found
// to be somebody else's.
func TestMoved(t *testing.T) {
	keys := load(t, zooConfig(t))
	moved := map[string]string{}
	for record := range zoo(t) {
		encryption := decode.Encryption(record.Value)
		if encryption == nil || !strings.HasPrefix(record.Key, "/registry/pods/") {
			continue
		}
		record.Key += "x"
		if err := keys.Open(t.Context(), &record); err != nil {
			t.Fatal(err)
		}
		object, err := record.Decode()
		if err == nil {
			err = decode.Pods().Check("/registry", record.Key, &object)
		}
		what := fmt.Sprintf("%T", err)
		if before, ok := moved[encryption.Provider]; ok && before != what {
			t.Fatalf("%s: %v, and another one: %s", record.Key, err, before)
		}
		moved[encryption.Provider] = what
	}
	want := map[string]string{"aescbc": "*decode.MismatchError", "aesgcm": "*decode.UnreadableError", "secretbox": "*decode.MismatchError"}
	if diff := cmp.Diff(want, moved); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func zooConfig(tb testing.TB) string {
	tb.Helper()
	config, err := fixtures.EncryptionConfig(fixtures.Zoo)
	if err != nil {
		tb.Fatal(err)
	}
	return string(config)
}

func zoo(tb testing.TB) iter.Seq[decode.Record] {
	tb.Helper()
	path, err := fixtures.Unpack(fixtures.Zoo, tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	return func(yield func(decode.Record) bool) {
		for record, err := range fixtures.Records(path) {
			if err != nil {
				tb.Fatal(err)
			}
			if !yield(record) {
				return
			}
		}
	}
}

// load reads a configuration, whose keys are closed when the test ends.
func load(tb testing.TB, config string) *encryption.Keys {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "encryption.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		tb.Fatal(err)
	}
	keys, err := encryption.Load(file, "/registry")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := keys.Close(); err != nil {
			tb.Error(err)
		}
	})
	return keys
}
