package manifest_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	kjson "sigs.k8s.io/json"

	"etcdsweep/decode"
	"etcdsweep/decode/manifest"
	"etcdsweep/test/fixtures"
)

// TestFixtures reads the values of two real clusters, and holds them against what the decoders of Kubernetes' own client make of
// them: all of each kind up to a number, and all that are encrypted.
func TestFixtures(t *testing.T) {
	for _, name := range []fixtures.Name{fixtures.Incident, fixtures.Zoo} {
		t.Run(string(name), func(t *testing.T) {
			const enough = 300
			typed, trees := map[string]int{}, map[string]int{}
			for record := range records(t, name) {
				value, err := record.Readable()
				if err != nil {
					t.Fatalf("%s: %v", record.Key, err)
				}
				m, err := manifest.Read(value)
				if record.Key == "compact_rev_key" {
					if unreadable, ok := errors.AsType[*decode.UnreadableError](err); !ok || unreadable.Reason != decode.UnknownEncoding {
						t.Errorf("%s: %v", record.Key, err)
					}
					continue
				}
				if err != nil {
					t.Fatalf("%s: %v", record.Key, err)
				}
				if m.MetadataOnly {
					t.Fatalf("%s: its type is not known", record.Key)
				}
				class := string(m.Encoding) + " " + m.Object["kind"].(string)
				if typed[class] == enough && record.Plain == nil {
					continue
				}
				want, kind, err := scheme.Codecs.UniversalDeserializer().Decode(value, nil, nil)
				if runtime.IsNotRegisteredError(err) || m.Encoding == decode.CBOR {
					trees[class]++
					agreesWithDecode(t, record.Key, value, m)
					continue
				}
				if err != nil {
					t.Fatalf("%s: the typed decoder: %v", record.Key, err)
				}
				typed[class]++
				if got := asType(t, m.Object, *kind); !equality.Semantic.DeepEqual(want, got) {
					t.Fatalf("%s: -typed +read:\n%s", record.Key, cmp.Diff(want, got))
				}
			}
			t.Logf("typed: %v; trees: %v", typed, trees)
			if len(typed) < 15 || len(trees) < 1 {
				t.Errorf("typed %v, trees %v: want more", typed, trees)
			}
		})
	}
}

// asType reads a tree as its type.
func asType(t *testing.T, tree map[string]any, kind schema.GroupVersionKind) runtime.Object {
	t.Helper()
	text, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	object, err := scheme.Scheme.New(kind)
	if err != nil {
		t.Fatal(err)
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(text, object); err != nil {
		t.Fatal(err)
	}
	return object
}

// agreesWithDecode compares a tree with the projection, which is held against other decoders.
func agreesWithDecode(t *testing.T, key string, value []byte, m *manifest.Manifest) {
	t.Helper()
	want, err := decode.Decode(value)
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	text, err := json.Marshal(m.Object)
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	got, err := decode.Decode(text)
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	got.Encoding = want.Encoding
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s: -decoded +read:\n%s", key, diff)
	}
	if m.Encoding != decode.JSON {
		return
	}
	var tree map[string]any
	if err := json.Unmarshal(value, &tree); err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	var again map[string]any
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	if diff := cmp.Diff(tree, again); diff != "" {
		t.Fatalf("%s: -stored +read:\n%s", key, diff)
	}
}

func TestUnknownType(t *testing.T) {
	value := protobuf(t, "example.com/v1", "Gadget", partial("gadget"))
	m, err := manifest.Read(value)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"apiVersion": "example.com/v1", "kind": "Gadget", "metadata": map[string]any{"name": "gadget", "namespace": "ns", "annotations": map[string]any{"a": "b"}}}
	if diff := cmp.Diff(want, m.Object); diff != "" || !m.MetadataOnly {
		t.Errorf("metadata only: %t; -want +got:\n%s", m.MetadataOnly, diff)
	}
}

func TestUnreadable(t *testing.T) {
	for value, class := range map[string]string{
		"":                                  "empty",
		"12345":                             "unknown encoding",
		"k8s:enc:aescbc:v1:k:x":             "encrypted (aescbc, key k)",
		"{":                                 "malformed json",
		"k8s\x00\xff":                       "malformed protobuf",
		string(protobuf(t, "", "Pod", nil)): "malformed protobuf",
		string(protobuf(t, "v1", "Pod", []byte{0xff})): "malformed protobuf",
		"\xd9\xd9\xf7\x01": "malformed cbor",
	} {
		m, err := manifest.Read([]byte(value))
		unreadable, ok := errors.AsType[*decode.UnreadableError](err)
		if !ok || m != nil || unreadable.Class() != class {
			t.Errorf("%q: %v, %v, want %s", value, m, err, class)
		}
	}
}

func TestPrint(t *testing.T) {
	m, err := manifest.Read([]byte(`{"kind":"Gadget","apiVersion":"example.com/v1","spec":{"many":9007199254740993,"text":"a < b & c\u0007","none":null}}`))
	if err != nil {
		t.Fatal(err)
	}
	var yaml strings.Builder
	if err := m.WriteYAML(&yaml); err != nil {
		t.Fatal(err)
	}
	const want = `apiVersion: example.com/v1
kind: Gadget
spec:
  many: 9007199254740993
  none: null
  text: "a < b & c\a"
`
	if diff := cmp.Diff(want, yaml.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// records yields what is stored in a fixture, opened.
func records(tb testing.TB, name fixtures.Name) func(yield func(decode.Record) bool) {
	tb.Helper()
	path, err := fixtures.Unpack(name, tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	keys := zooKeys(tb)
	return func(yield func(decode.Record) bool) {
		for record, err := range fixtures.Records(path) {
			if err == nil {
				err = keys.Open(tb.Context(), &record)
			}
			if err != nil {
				tb.Fatal(err)
			}
			if !yield(record) {
				return
			}
		}
	}
}
