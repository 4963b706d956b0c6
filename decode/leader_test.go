package decode_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor"
	kjson "sigs.k8s.io/json"

	"etcdsweep/decode"
	"etcdsweep/test/fixtures"
)

const leaderAnnotation = "control-plane.alpha.kubernetes.io/leader"

func TestLeaderIdentity(t *testing.T) {
	annotated := func(key, value string) []byte {
		return envelope("v1", "Endpoints", chunk(1, message(text(1, "kube-controller-manager"), chunk(12, message(text(1, key), text(2, value))))))
	}
	lease := func(spec ...[]byte) []byte {
		return envelope("coordination.k8s.io/v1", "Lease", chunk(2, message(spec...)))
	}
	const none, unreadable = "none", "unreadable"
	tests := []struct {
		name   string
		value  []byte
		holder string
		fails  string
	}{
		{"lease", lease(text(1, "master1_abc"), number(2, 15)), "master1_abc", ""},
		{"lease of an early version", envelope("coordination.k8s.io/v1beta1", "Lease", chunk(2, text(1, "h"))), "h", ""},
		{"lease that was released", lease(text(1, ""), number(2, 1)), "", ""},
		{"lease without a holder", lease(number(2, 15)), "", ""},
		{"lease without a spec", envelope("coordination.k8s.io/v1", "Lease", nil), "", ""},
		{"lease whose holder comes twice", lease(text(1, "old"), text(1, "new")), "new", ""},
		{"lease of another group", envelope("example.com/v1", "Lease", chunk(2, text(1, "h"))), "", none},
		{"lease with a holder that is a number", lease(number(1, 7)), "", unreadable},
		{"endpoints", annotated(leaderAnnotation, `{"holderIdentity":"vm_1","leaseDurationSeconds":15}`), "vm_1", ""},
		{"endpoints whose annotation comes twice", envelope("v1", "Endpoints", message(
			chunk(1, chunk(12, message(text(1, leaderAnnotation), text(2, `{"holderIdentity":"old"}`)))),
			chunk(1, chunk(12, message(text(1, leaderAnnotation), text(2, `{"holderIdentity":"new"}`)))))), "new", ""},
		{"endpoints of a service", annotated("other", "x"), "", none},
		{"endpoints with half an annotation", annotated(leaderAnnotation, `{"holderIdentity":`), "", unreadable},
		{"config map", envelope("v1", "ConfigMap", chunk(1, chunk(12, message(text(1, leaderAnnotation), text(2, `{"holderIdentity":"cm"}`))))), "cm", ""},
		{"pod with the annotation", envelope("v1", "Pod", chunk(1, chunk(12, message(text(1, leaderAnnotation), text(2, "{}"))))), "", none},
		{"JSON lease", []byte(`{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","spec":{"holderIdentity":"j"}}`), "j", ""},
		{"JSON lease without a holder", []byte(`{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","spec":{"holderIdentity":null}}`), "", ""},
		{"JSON endpoints", []byte(`{"apiVersion":"v1","kind":"Endpoints","metadata":{"annotations":{"` + leaderAnnotation + `":"{\"holderIdentity\":\"je\"}"}}}`), "je", ""},
		{"JSON endpoints of a service", []byte(`{"apiVersion":"v1","kind":"Endpoints"}`), "", none},
		{"CBOR lease", []byte("\xd9\xd9\xf7\xa3JapiVersionVcoordination.k8s.io/v1DkindELeaseDspec\xa1NholderIdentityAc"), "c", ""},
		{"YAML lease", []byte("apiVersion: coordination.k8s.io/v1\nkind: Lease\nspec: {holderIdentity: master1}\n"), "master1", ""},
		{"encrypted", []byte("k8s:enc:aescbc:v1:key-1:x"), "", unreadable},
		{"nothing", nil, "", unreadable},
		{"cut off", []byte(magic + "\x0a\xff"), "", unreadable},
		{"without a kind", envelope("v1", "", nil), "", unreadable},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			holder, err := decode.LeaderIdentity(test.value)
			var typed *decode.UnreadableError
			fails := ""
			switch {
			case errors.Is(err, decode.ErrNoLeaderRecord):
				fails = none
			case errors.As(err, &typed):
				fails = unreadable
			}
			if holder != test.holder || fails != test.fails || (err != nil) != (fails != "") {
				t.Errorf("holder %q, error %v, want %q and %q", holder, err, test.holder, test.fails)
			}
			agreeOnLeader(t, test.value)
		})
	}
}

// The records of two real clusters: the older has its leader in an annotation, the newer in a Lease.
func TestLeaderIdentityOfFixtures(t *testing.T) {
	for name, want := range map[fixtures.Name]struct{ key, holder string }{
		fixtures.Incident: {"/registry/services/endpoints/kube-system/kube-controller-manager", "vm_b26be54b-7536-4401-870d-e0aa2971f6a9"},
		fixtures.Zoo:      {"/registry/leases/kube-system/kube-controller-manager", "vm_f9812a3a-2209-4cc7-9d3b-7fc7eeeb7f58"},
	} {
		found, leases := false, 0
		for record := range records(t, name) {
			agreeOnLeader(t, record.Value)
			if strings.HasPrefix(record.Key, "/registry/leases/") {
				if holder, err := decode.LeaderIdentity(record.Value); err != nil || holder == "" {
					t.Errorf("%s: holder %q, error %v", record.Key, holder, err)
				}
				leases++
			}
			if record.Key == want.key {
				found = true
				if holder, err := decode.LeaderIdentity(record.Value); holder != want.holder || err != nil {
					t.Errorf("%s: holder %q, error %v, want %q", record.Key, holder, err, want.holder)
				}
			}
		}
		if !found || name == fixtures.Zoo && leases < 2 {
			t.Errorf("%s: found %t, %d leases", name, found, leases)
		}
	}
}

// FuzzLeaderIdentity looks for a record that the typed decoders read, and LeaderIdentity refuses or reads otherwise.
func FuzzLeaderIdentity(f *testing.F) {
	for _, name := range []fixtures.Name{fixtures.Incident, fixtures.Zoo} {
		for record := range records(f, name) {
			if strings.HasPrefix(record.Key, "/registry/leases/") || strings.HasSuffix(record.Key, "endpoints/kube-system/kube-controller-manager") {
				f.Add(record.Value)
				_, raw, _ := bytes.Cut(record.Value, []byte("Endpoints\x12"))
				f.Add(raw)
			}
		}
	}
	f.Add(message(text(1, "master1_abc"), number(2, 15)))
	f.Add([]byte(`{"holderIdentity":"a","HolderIdentity":"b"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		agreeOnLeader(t, b)
		agreeOnLeader(t, envelope("coordination.k8s.io/v1", "Lease", b))
		agreeOnLeader(t, envelope("coordination.k8s.io/v1", "Lease", chunk(2, b)))
		agreeOnLeader(t, envelope("v1", "Endpoints", chunk(1, b)))
		agreeOnLeader(t, envelope("v1", "Endpoints", chunk(1, chunk(12, message(text(1, leaderAnnotation), chunk(2, b))))))
	})
}

// agreeOnLeader checks that LeaderIdentity reads what the typed decoders read, if they accept the value.
func agreeOnLeader(t *testing.T, value []byte) {
	t.Helper()
	got, err := decode.LeaderIdentity(value)
	want, class := typedLeader(value)
	switch {
	case class == leaderRefused:
	case class == leaderAbsent && !errors.Is(err, decode.ErrNoLeaderRecord):
		t.Errorf("%q: holder %q, error %v, want no record", value, got, err)
	case class == leaderFound && (err != nil || got != want):
		t.Errorf("%q: holder %q, error %v, want %q", value, got, err, want)
	}
}

const (
	leaderRefused = iota // by the typed decoders
	leaderAbsent
	leaderFound
)

// typedLeader reads the record with the typed decoders.
func typedLeader(value []byte) (holder string, class int) {
	var (
		meta  metav1.TypeMeta
		fill  func(into any) error
		lease coordinationv1.Lease
		other metav1.PartialObjectMetadata
	)
	switch {
	case bytes.HasPrefix(value, []byte(magic)):
		var unknown runtime.Unknown
		if unknown.Unmarshal(value[len(magic):]) != nil || unknown.ContentEncoding != "" || unknown.ContentType != "" && unknown.ContentType != runtime.ContentTypeProtobuf {
			return "", leaderRefused
		}
		meta = metav1.TypeMeta{APIVersion: unknown.APIVersion, Kind: unknown.Kind}
		fill = func(into any) error { return into.(interface{ Unmarshal([]byte) error }).Unmarshal(unknown.Raw) }
	case bytes.HasPrefix(value, []byte("\xd9\xd9\xf7")):
		var tree unstructured.Unstructured
		if _, _, err := cbor.NewSerializer(scheme(), scheme()).Decode(value, nil, &tree); err != nil {
			return "", leaderRefused
		}
		meta = metav1.TypeMeta{APIVersion: tree.GetAPIVersion(), Kind: tree.GetKind()}
		fill = func(into any) error { return runtime.DefaultUnstructuredConverter.FromUnstructured(tree.Object, into) }
	case bytes.HasPrefix(bytes.TrimSpace(value), []byte("{")):
		if kjson.UnmarshalCaseSensitivePreserveInts(value, &meta) != nil {
			return "", leaderRefused
		}
		fill = func(into any) error { return kjson.UnmarshalCaseSensitivePreserveInts(value, into) }
	default:
		return "", leaderRefused
	}
	object, ok := newTyped(meta.APIVersion, meta.Kind)
	if !ok {
		return "", leaderRefused
	}
	switch group, _, grouped := strings.Cut(meta.APIVersion, "/"); {
	case grouped && group == "coordination.k8s.io" && meta.Kind == "Lease":
		if fill(&lease) != nil {
			return "", leaderRefused
		}
		if lease.Spec.HolderIdentity == nil {
			return "", leaderFound
		}
		return *lease.Spec.HolderIdentity, leaderFound
	case grouped && group != "" || meta.Kind != "Endpoints" && meta.Kind != "ConfigMap":
		if fill(&other) != nil {
			return "", leaderRefused
		}
		return "", leaderAbsent
	}
	if fill(object) != nil {
		return "", leaderRefused
	}
	annotation, ok := object.GetAnnotations()[leaderAnnotation]
	if !ok {
		return "", leaderAbsent
	}
	var record struct { // client-go tools/leaderelection/resourcelock, LeaderElectionRecord
		HolderIdentity       string      `json:"holderIdentity"`
		LeaseDurationSeconds int         `json:"leaseDurationSeconds"`
		AcquireTime          metav1.Time `json:"acquireTime"`
		RenewTime            metav1.Time `json:"renewTime"`
		LeaderTransitions    int         `json:"leaderTransitions"`
	}
	if json.Unmarshal([]byte(annotation), &record) != nil {
		return "", leaderRefused
	}
	return record.HolderIdentity, leaderFound
}
