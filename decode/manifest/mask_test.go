package manifest_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	goyaml "go.yaml.in/yaml/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor/direct"

	"etcdsweep/decode/manifest"
	"etcdsweep/etcdops/encryption"
	"etcdsweep/test/fixtures"
)

const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// TestMask holds what is left of a Secret in each form in which it can be stored.
func TestMask(t *testing.T) {
	for encoding, value := range secretForms(t, "hunter22") {
		m, err := manifest.Read(value)
		if err != nil {
			t.Fatalf("%s: %v", encoding, err)
		}
		if !m.Secret() {
			t.Fatalf("%s: no Secret", encoding)
		}
		m.Mask()
		want := map[string]any{
			"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
			"metadata": map[string]any{"name": "s", "namespace": "ns", "annotations": map[string]any{lastApplied: "*** (53 bytes)"}},
			"data":     map[string]any{"password": "*** (8 bytes)"},
		}
		if encoding != "protobuf" { // whose type has no place for it
			want["stringData"] = map[string]any{"other": "*** (8 bytes)"}
			want["future"] = []any{"*** (8 bytes)", "*** (1 byte)"}
		}
		if diff := cmp.Diff(want, m.Object); diff != "" {
			t.Errorf("%s: -want +got:\n%s", encoding, diff)
		}
	}
}

func TestMaskOdd(t *testing.T) {
	for _, text := range []string{
		`{"kind":"Secret","apiVersion":"v1","metadata":"hunter22","type":{"a":"hunter22"},"immutable":"hunter22"}`,
		`{"kind":"Secret","apiVersion":"v1","metadata":{"annotations":["hunter22"]},"data":"hunter22","Data":[{"a":"hunter22"}]}`,
		`{"kind":"ConfigMap","kind":"Secret","apiVersion":"v1","data":{"a":"hunter22"}}`,
		`{"kind":"Secret","apiVersion":"example.com/v1","spec":{"a":"hunter22"}}`,
	} {
		m, err := manifest.Read([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		m.Mask()
		if left, _ := json.Marshal(m.Object); !m.Secret() || strings.Contains(string(left), "hunter22") {
			t.Errorf("%s: %s is left", text, left)
		}
	}
}

// FuzzMask puts noise into every place of a Secret where a value may be, in every form: nothing of it is left.
func FuzzMask(f *testing.F) {
	f.Add("hunter22")
	f.Add("\x00\xff")
	f.Add("\x7f\u009b")
	f.Add("a: b\n---\n'")
	f.Add(`{"data":{"a":"b"}}`)
	f.Fuzz(func(t *testing.T, noise string) {
		for encoding, value := range secretForms(t, "SECRET"+noise+"SECRET") {
			m, err := manifest.Read(value)
			if err != nil {
				t.Fatalf("%s: %q: %v", encoding, noise, err)
			}
			m.Mask()
			var yaml, text strings.Builder
			if err := m.WriteYAML(&yaml); err != nil {
				t.Fatal(err)
			}
			if err := json.NewEncoder(&text).Encode(m.Object); err != nil {
				t.Fatal(err)
			}
			for _, printed := range []string{yaml.String(), text.String()} {
				if strings.Contains(printed, "SECRET") || strings.Contains(printed, "U0VDUkVU") { // in base64
					t.Fatalf("%s: left of %q:\n%s", encoding, noise, printed)
				}
			}
		}
	})
}

// FuzzRead reads noise, masks it and prints it: neither panics, and what is read is printed.
func FuzzRead(f *testing.F) {
	seeds := map[string][]byte{}
	for record := range records(f, fixtures.Zoo) {
		value, err := record.Readable()
		if err != nil {
			f.Fatal(err)
		}
		if m, err := manifest.Read(value); err == nil {
			kind := string(m.Encoding) + m.Object["kind"].(string)
			if seed, ok := seeds[kind]; !ok || len(value) < len(seed) {
				seeds[kind] = value
			}
		}
	}
	for _, seed := range seeds {
		f.Add(seed)
	}
	f.Add([]byte("a: &a [*b]"))
	f.Fuzz(func(t *testing.T, value []byte) {
		m, err := manifest.Read(value)
		if (m == nil) == (err == nil) {
			t.Fatalf("%v, %v", m, err)
		}
		if m == nil {
			return
		}
		var out strings.Builder
		if err := m.WriteYAML(&out); err != nil {
			t.Fatalf("%q: %v", value, err)
		}
		m.Mask()
		if err := m.WriteYAML(&out); err != nil {
			t.Fatalf("%q: %v", value, err)
		}
	})
}

// secretForms returns a Secret that holds a value wherever it can, in every form.
func secretForms(t testing.TB, secret string) map[string][]byte {
	t.Helper()
	typed := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "ns", Annotations: map[string]string{
			lastApplied: `{"apiVersion":"v1","kind":"Secret","data":"` + secret + `"}`,
		}},
		Data: map[string][]byte{"password": []byte(secret)},
		Type: corev1.SecretTypeOpaque,
	}
	text, err := json.Marshal(typed)
	if err != nil {
		t.Fatal(err)
	}
	var tree map[string]any
	if err := json.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	tree["apiVersion"], tree["kind"] = "v1", "Secret"
	tree["stringData"] = map[string]any{"other": secret}
	tree["future"] = []any{secret, 7}
	forms := map[string][]byte{"protobuf": protobuf(t, "v1", "Secret", marshal(t, typed))}
	if forms["json"], err = json.Marshal(tree); err != nil {
		t.Fatal(err)
	}
	if forms["yaml"], err = goyaml.Marshal(tree); err != nil {
		t.Fatal(err)
	}
	untagged, err := direct.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	forms["cbor"] = append([]byte("\xd9\xd9\xf7"), untagged...)
	return forms
}

func marshal(t testing.TB, object interface{ Marshal() ([]byte, error) }) []byte {
	t.Helper()
	raw, err := object.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func partial(name string) []byte {
	object := metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", Annotations: map[string]string{"a": "b"}}}
	raw, err := object.Marshal()
	if err != nil {
		panic(err)
	}
	return raw
}

// protobuf wraps an object as kube-apiserver stores it.
func protobuf(t testing.TB, apiVersion, kind string, raw []byte) []byte {
	t.Helper()
	unknown := runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: apiVersion, Kind: kind}, Raw: raw}
	return append([]byte("k8s\x00"), marshal(t, &unknown)...)
}

func zooKeys(tb testing.TB) *encryption.Keys {
	tb.Helper()
	config, err := fixtures.EncryptionConfig(fixtures.Zoo)
	if err != nil {
		tb.Fatal(err)
	}
	file := filepath.Join(tb.TempDir(), "encryption.yaml")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		tb.Fatal(err)
	}
	keys, err := encryption.Load(file, "/registry")
	if err != nil {
		tb.Fatal(err)
	}
	return keys
}
