package decode_test

import (
	"bytes"
	gocmp "cmp"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/encoding/protowire"

	"etcdsweep/decode"
	"etcdsweep/test/fixtures"
)

const magic = "k8s\x00"

func TestDecodePod(t *testing.T) {
	owner := message(
		text(1, "Job"), text(3, "runaway"), text(4, "uid-of-owner"), text(5, "batch/v1"), number(6, 1), number(7, 1))
	value := envelope("v1", "Pod", message(
		chunk(1, message(
			text(1, "runaway-x2x9c"),
			text(3, "batch"),
			text(5, "uid-of-pod"),
			chunk(8, message(number(1, 1_700_000_000), number(2, 999))),
			chunk(9, message(number(1, 1_700_000_060))),
			chunk(11, message(text(1, "app"), text(2, "x"))),
			chunk(12, message(text(1, "kubernetes.io/config.mirror"), text(2, "hash"))),
			chunk(13, owner),
			text(14, "batch.kubernetes.io/job-tracking"),
			text(14, "example.com/mine"),
		)),
		chunk(2, message(
			chunk(1, message(text(1, "cache"), chunk(2, message(chunk(2, nil))))),
			chunk(1, message(text(1, "data"), chunk(2, message(chunk(10, message(text(1, "data-claim"))))))),
			chunk(1, message(text(1, "scratch"), chunk(2, message(chunk(29, nil))))),
			text(10, "node7"),
		)),
		chunk(3, message(text(1, "Pending"), text(4, "Evicted"))),
	))
	want := decode.Object{
		Encoding:   decode.Protobuf,
		APIVersion: "v1",
		Kind:       "Pod",
		Namespace:  "batch",
		Name:       "runaway-x2x9c",
		UID:        "uid-of-pod",
		Created:    time.Unix(1_700_000_000, 0),
		Deleted:    time.Unix(1_700_000_060, 0),
		Labels:     decode.Labels{{Key: "app", Value: "x"}},
		Owners: []decode.OwnerReference{
			{APIVersion: "batch/v1", Kind: "Job", Name: "runaway", UID: "uid-of-owner", Controller: true},
		},
		Finalizers: []string{"batch.kubernetes.io/job-tracking", "example.com/mine"},
		Mirror:     true,
		NodeName:   "node7",
		Phase:      "Pending",
		Reason:     "Evicted",
		Claims:     []string{"data-claim", "runaway-x2x9c-scratch"},
	}
	got, err := decode.Decode(value)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if !agree(t, value) {
		t.Error("the typed decoder refuses it")
	}
}

// TestDecodeOddities holds the projection against the typed decoder.
func TestDecodeOddities(t *testing.T) {
	for _, test := range oddities() {
		t.Run(test.name, func(t *testing.T) {
			if typed := agree(t, test.value); typed != test.typed {
				t.Errorf("typed decoder accepts it: %t, want %t", typed, test.typed)
			}
			if _, err := decode.Decode(test.value); (err == nil) != test.typed {
				t.Errorf("Decode: %v", err)
			}
		})
	}
}

// oddity is a value that no Kubernetes writes.
type oddity struct {
	name  string
	value []byte
	typed bool // the typed decoder accepts it
}

func oddities() []oddity {
	var (
		longOne  = []byte{0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x7e} // 1, and bits beyond the 64th
		metadata = func(fields ...[]byte) []byte { return envelope("v1", "Pod", chunk(1, message(fields...))) }
		spec     = func(fields ...[]byte) []byte { return envelope("v1", "Pod", chunk(2, message(fields...))) }
		defines  = func(fields ...[]byte) []byte {
			return envelope("apiextensions.k8s.io/v1", "CustomResourceDefinition", message(fields...))
		}
		source = func(fields ...[]byte) []byte { return chunk(1, chunk(2, message(fields...))) }
	)
	return []oddity{
		{"no fields at all", envelope("v1", "Pod", nil), true},
		{"reason of a pod comes twice", envelope("v1", "Pod", message(chunk(3, text(4, "old")), chunk(3, message(text(1, "Failed"), text(4, "new"))))), true},
		{"reason of a pod as a number", envelope("v1", "Pod", chunk(3, number(4, 1))), false},
		{"reason of an event, and what it is about in two parts", envelope("v1", "Event", message(
			text(3, "old"), chunk(2, text(4, "uid")), text(3, "FailedCreate"), chunk(2, text(1, "Job")))), true},
		{"reason of an event as a number", envelope("v1", "Event", number(3, 1)), false},
		{"metadata comes twice", envelope("v1", "Pod", message(
			chunk(1, message(text(1, "old"), text(3, "ns"), text(14, "a"))), chunk(1, message(text(1, "new"), text(14, "b"))))), true},
		{"spec and status come twice", envelope("v1", "Pod", message(
			chunk(2, text(10, "node")), chunk(3, text(1, "Failed")), chunk(2, source(chunk(10, text(1, "c")))), chunk(3, nil))), true},
		{"object comes twice", message([]byte(magic), chunk(1, message(text(1, "v1"), text(2, "Pod"))),
			chunk(2, chunk(1, text(1, "old"))), chunk(2, chunk(1, text(3, "ns")))), true},
		{"type comes in two parts", message([]byte(magic), chunk(1, text(1, "v1")), chunk(1, text(2, "Pod"))), true},
		{"type comes last", message([]byte(magic), chunk(2, chunk(2, text(10, "node"))), chunk(1, message(text(1, "v1"), text(2, "Pod")))), true},
		{"name comes after the ephemeral volume", envelope("v1", "Pod", message(
			chunk(2, chunk(1, message(text(1, "v"), chunk(2, chunk(29, nil))))), chunk(1, text(1, "pod")))), true},
		{"claim in two parts", spec(source(chunk(10, text(1, "claim")), chunk(10, number(2, 1)))), true},
		{"claim without a name", spec(source(chunk(10, nil))), true},
		{"claim and ephemeral in one volume", spec(source(chunk(29, nil), chunk(10, text(1, "claim")))), true},
		{"group is stepped over", metadata(tag(99, 3), text(1, "inside"), tag(99, 4), text(1, "name")), true},
		{"group ends under another number", metadata(tag(99, 3), tag(98, 4), text(1, "name")), true},
		{"field zero inside a group", metadata(tag(99, 3), []byte{0, 1}, tag(99, 4), text(1, "name")), true},
		{"group does not end", metadata(tag(99, 3), text(1, "inside")), false},
		{"group ends without a start", metadata(tag(99, 4)), false},
		{"known field as a group", metadata(tag(1, 3), tag(1, 4)), false},
		{"fixed-size fields", metadata(tag(98, 1), make([]byte, 8), tag(99, 5), make([]byte, 4), text(1, "name")), true},
		{"fixed-size field is cut off", metadata(tag(98, 1), make([]byte, 7)), false},
		{"wire type six", metadata(tag(99, 6), []byte{1}), false},
		{"field zero", metadata([]byte{0, 1}), false},
		{"field number beyond 32 bits", metadata(protowire.AppendVarint(nil, 1<<35|1<<3|2), protowire.AppendString(nil, "name")), true},
		{"negative field number", metadata(protowire.AppendVarint(nil, 1<<34|1<<3|2), protowire.AppendString(nil, "name")), false},
		{"string as a varint", metadata(number(1, 7)), false},
		{"bool as a string", metadata(chunk(13, text(6, "x"))), false},
		{"bool above one", metadata(chunk(13, number(6, 2))), true},
		{"bool beyond 64 bits", metadata(chunk(13, message(tag(6, 0), longOne))), true},
		{"bool of eleven bytes", metadata(chunk(13, message(tag(6, 0), bytes.Repeat([]byte{0x80}, 10), []byte{1}))), false},
		{"bool is taken back", metadata(chunk(13, message(number(6, 1), number(6, 0)))), true},
		{"negative length", metadata(tag(1, 2), protowire.AppendVarint(nil, 1<<63)), false},
		{"length beyond the message", metadata(tag(1, 2), []byte{5}, []byte("name")), false},
		{"length in ten bytes", metadata(tag(14, 2), longOne, []byte("f")), true},
		{"cut off after a tag", metadata(tag(1, 2)), false},
		{"invalid UTF-8", metadata(text(1, "n\xff\xfe"), text(14, "\xc3\x28")), true},
		{"label value first", metadata(chunk(11, message(text(2, "value"), text(1, "key")))), true},
		{"label without a key", metadata(chunk(11, text(2, "value"))), true},
		{"label without anything", metadata(chunk(11, nil)), true},
		{"label comes twice", metadata(chunk(11, message(text(1, "k"), text(2, "1"))), chunk(11, message(text(1, "k"), text(2, "2")))), true},
		{"label with key in two", metadata(chunk(11, message(text(1, "old"), text(1, "key"), text(2, "v")))), true},
		{"label with other wire types", metadata(chunk(11, message(tag(1, 0), []byte{1, 'k'}, tag(2, 5), []byte{1, 'v'}))), true},
		{"label with field zero", metadata(chunk(11, message([]byte{0, 1}, text(1, "k")))), true},
		{"label with the end of a group", metadata(chunk(11, tag(9, 4))), false},
		{"label longer than its entry", metadata(chunk(11, message(tag(1, 2), []byte{4}, []byte("ab"))), text(1, "name")), true},
		{"label with another field longer than its entry", metadata(chunk(11, message(tag(9, 2), []byte{4}, []byte("ab"))), text(1, "name")), false},
		{"label as a number", metadata(number(11, 1)), false},
		{"mirror annotation without a value", metadata(chunk(12, text(1, "kubernetes.io/config.mirror"))), true},
		{"time before the epoch", metadata(chunk(8, number(1, 1<<64-62135596800))), true},
		{"time of the epoch", metadata(chunk(9, number(1, 0))), true},
		{"time without fields", metadata(chunk(9, number(1, 5)), chunk(9, nil)), true},
		{"time with unknown fields only", metadata(chunk(9, number(7, 0))), true},
		{"seconds as a string", metadata(chunk(9, text(1, "x"))), false},
		{"two controllers", metadata(chunk(13, number(6, 1)), chunk(13, number(6, 1))), true},
		{"pod fields in another kind", envelope("example.com/v1", "Pod", message(chunk(2, text(10, "node")), chunk(3, text(1, "Failed")))), true},

		{"claim with a volume", envelope("v1", "PersistentVolumeClaim", chunk(2, message(text(1, "ReadWriteOnce"), text(3, "old"), text(3, "pv")))), true},
		{"claim with a volume as a number", envelope("v1", "PersistentVolumeClaim", chunk(2, number(3, 1))), false},
		{"claim of another version", envelope("v2", "PersistentVolumeClaim", chunk(2, text(3, "pv"))), false},
		{"claim in another group", envelope("example.com/v1", "PersistentVolumeClaim", chunk(2, text(3, "pv"))), true},
		{"volume with a policy", envelope("v1", "PersistentVolume", message(chunk(2, text(5, "Retain")), chunk(2, text(5, "Delete")))), true},
		{"volume of another version", envelope("v2", "PersistentVolume", nil), false},
		{"definition", defines(chunk(1, text(1, "reports.example.com")), chunk(2, message(
			text(1, "example.com"), chunk(3, message(text(1, "reports"), text(4, "Report"))), text(4, "Namespaced")))), true},
		{"definition in parts", defines(chunk(2, message(text(1, "example.com"), chunk(3, text(1, "reports")))), chunk(2, chunk(3, text(4, "Report")))), true},
		{"definition with other fields", defines(chunk(2, message(text(2, "v1"), chunk(7, text(1, "v1")), number(10, 1), text(4, "Cluster")))), true},
		{"definition with names as a number", defines(chunk(2, number(3, 1))), false},
		{"definition v1beta1", envelope("apiextensions.k8s.io/v1beta1", "CustomResourceDefinition", chunk(2, text(1, "example.com"))), true},
		{"definition v2", envelope("apiextensions.k8s.io/v2", "CustomResourceDefinition", chunk(2, text(1, "example.com"))), false},

		{"JSON claim", []byte(`{"apiVersion":"v1","kind":"PersistentVolumeClaim","spec":{"volumeName":"pv","resources":{"requests":{"storage":"1Gi"}}}}`), true},
		{"JSON volume", []byte(`{"apiVersion":"v1","kind":"PersistentVolume","spec":{"persistentVolumeReclaimPolicy":"Delete"}}`), true},
		{"JSON definition", []byte(`{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","spec":{"group":"example.com","names":{"plural":"reports","kind":"Report"},"scope":"Namespaced"}}`), true},
		{"CBOR claim", []byte("\xd9\xd9\xf7\xa3JapiVersionBv1DkindUPersistentVolumeClaimDspec\xa1JvolumeNameBpv"), true},
		{"CBOR definition", []byte("\xd9\xd9\xf7\xa3JapiVersionWapiextensions.k8s.io/v1DkindX\x18CustomResourceDefinitionDspec\xa2EgroupAgEnames\xa1FpluralAp"), true},
		{"CBOR with invalid UTF-8", []byte("\xd9\xd9\xf7\xa3JapiVersionBv1DkindFReportHmetadata\xa1DnameBn\xff"), true},
		{"CBOR pod", []byte("\xd9\xd9\xf7\xa4JapiVersionBv1DkindCPodHmetadata\xa1DnameApDspec\xa1Gvolumes\x81\xa2DnameAvIephemeral\xa0"), true},
		{"CBOR with a repeated field", []byte("\xd9\xd9\xf7\xa3JapiVersionBv1DkindFReportDkindFReport"), false},
		{"CBOR name that is a number", []byte("\xd9\xd9\xf7\xa3JapiVersionBv1DkindFReportHmetadata\xa1Dname\x01"), false},

		{"JSON with nulls", []byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":null,"deletionTimestamp":null,"labels":{"a":null},"ownerReferences":null},"spec":null}`), true},
		{"JSON after white space", []byte(" \t\r\n{\"apiVersion\":\"v1\",\"kind\":\"Pod\"}\n"), true},
		{"JSON with the wrong case", []byte(`{"apiVersion":"v1","kind":"Pod","Metadata":{"name":"a"},"metadata":{"Name":"b"}}`), true},
		{"JSON with repeated fields", []byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","labels":{"a":"1"}},"metadata":{"labels":{"b":"2"}}}`), true},
		{"JSON with repeated volumes", []byte(`{"apiVersion":"v1","kind":"Pod","spec":{"volumes":[{"name":"a","ephemeral":{}}],"volumes":[{"name":"b"}]}}`), true},
		{"JSON time with a zone", []byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"creationTimestamp":"2026-01-02T03:04:05+07:00"}}`), true},
		{"JSON time that is none", []byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"creationTimestamp":"yesterday"}}`), false},
		{"JSON volumes that are none", []byte(`{"apiVersion":"v1","kind":"Pod","spec":{"volumes":"none"}}`), false},
		{"JSON volumes of another kind", []byte(`{"apiVersion":"example.com/v1","kind":"Disk","spec":{"volumes":"none"}}`), true},
		{"JSON is cut off", []byte(`{"apiVersion":"v1","kind":"Pod"`), false},
		{"JSON twice", []byte(`{"apiVersion":"v1","kind":"Pod"}{}`), false},
	}
}

// TestDecodeSuperset shows that what is stepped over may be damaged.
func TestDecodeSuperset(t *testing.T) {
	value := envelope("v1", "Pod", message(chunk(1, message(text(1, "name"), text(7, "not a number"))), chunk(2, text(4, "nor this"))))
	if _, ok := typed(value); ok {
		t.Fatal("the typed decoder accepts it")
	}
	o, err := decode.Decode(value)
	if err != nil || o.Name != "name" {
		t.Errorf("got %+v, %v", o, err)
	}
}

func TestDecodeUnreadable(t *testing.T) {
	tests := []struct {
		value string
		class string
	}{
		{"", "empty"},
		{"compacted at 7", "unknown encoding"},
		{"k8s", "unknown encoding"},
		{"apiVersion: v1\n", "malformed yaml"},
		{"apiVersion: v1\nkind: Pod\nmetadata: x\n", "malformed yaml"},
		{"- apiVersion: v1\n", "unknown encoding"},
		{"# nothing\n", "unknown encoding"},
		{"\xd9\xd9", "unknown encoding"},
		{"k8s:enc:aescbc:v1:key-1:\x00\xff", "encrypted (aescbc, key key-1)"},
		{"k8s:enc:aesgcm:v1:2024:a:b", "encrypted (aesgcm, key 2024)"},
		{"k8s:enc:secretbox:v1:k:", "encrypted (secretbox, key k)"},
		{"k8s:enc:secretbox:v2:k:x", "encrypted (secretbox v2, key k)"},
		{"k8s:enc:kms:v1:vault:x", "encrypted (kms v1, key vault)"},
		{"k8s:enc:kms:v2:vault:x", "encrypted (kms v2, key vault)"},
		{"k8s:enc:", "encrypted"},
		{"k8s:enc:aescbc:v1:key-1", "encrypted"},
		{"k8s:enc:\x1b[2J:v1:key-1:x", "encrypted"},
		{"k8s:enc:aescbc:v1:\xff:x", "encrypted"},
		{"\xd9\xd9\xf7", "malformed cbor"},
		{"\xd9\xd9\xf7\x01", "malformed cbor"},
		{"\xd9\xd9\xf7\xa0", "malformed cbor"},
		{"{", "malformed json"},
		{"{}", "malformed json"},
		{`{"kind":"Pod"}`, "malformed json"},
		{magic, "malformed protobuf"},
		{magic + "\x0a\xff", "malformed protobuf"},
		{string(envelope("", "Pod", nil)), "malformed protobuf"},
		{string(envelope("v1", "", nil)), "malformed protobuf"},
		{string(envelope("apps/", "Pod", nil)), "malformed protobuf"},
		{string(envelope("a/b/c", "Pod", nil)), "malformed protobuf"},
		{string(envelope("v2", "Pod", nil)), "malformed protobuf"},
		{string(envelope("v1", "Pod", text(1, "\xff"))), "malformed protobuf"},
		{string(message(envelope("v1", "Pod", nil), text(3, "gzip"))), "malformed protobuf"},
		{string(message(envelope("v1", "Pod", nil), text(4, "application/json"))), "malformed protobuf"},
	}
	for _, test := range tests {
		o, err := decode.Decode([]byte(test.value))
		var unreadable *decode.UnreadableError
		if !errors.As(err, &unreadable) {
			t.Errorf("%q: error %v", test.value, err)
			continue
		}
		if got := unreadable.Class(); got != test.class {
			t.Errorf("%q: class %q, want %q", test.value, got, test.class)
		}
		if diff := cmp.Diff(decode.Object{}, o); diff != "" {
			t.Errorf("%q: an object beside the error:\n%s", test.value, diff)
		}
	}
}

func TestDecodeYAML(t *testing.T) {
	value := []byte(`apiVersion: v1
kind: Pod
metadata:
  name: runaway-x2x9c
  namespace: batch
  labels: {app: x, "on": "yes"}
  ownerReferences:
  - {apiVersion: batch/v1, kind: Job, name: runaway, uid: uid-of-owner, controller: true}
spec:
  nodeName: node7
status:
  phase: Pending
`)
	want := decode.Object{
		Encoding: decode.YAML, APIVersion: "v1", Kind: "Pod", Namespace: "batch", Name: "runaway-x2x9c",
		Labels:   decode.Labels{{Key: "app", Value: "x"}, {Key: "on", Value: "yes"}},
		Owners:   []decode.OwnerReference{{APIVersion: "batch/v1", Kind: "Job", Name: "runaway", UID: "uid-of-owner", Controller: true}},
		NodeName: "node7", Phase: "Pending",
	}
	got, err := decode.Decode(value)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if !agree(t, value) {
		t.Error("the typed decoder refuses it")
	}
}

func TestEncodingOf(t *testing.T) {
	for value, want := range map[string]decode.Encoding{
		magic: decode.Protobuf, " {": decode.JSON, "\xd9\xd9\xf7": decode.CBOR, "a: b": decode.YAML,
		"k8s:enc:aescbc:v1:k:x": "", "": "", "a": "", "\x00\x01": "",
	} {
		if got := decode.EncodingOf([]byte(value)); got != want {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
}

// Whatever an encrypted value was not opened for has a hint of its own, unless no key opens it.
func TestHint(t *testing.T) {
	hints := map[string]bool{}
	whys := []decode.Why{decode.NotTried, decode.NoSuchKey, decode.NotOpened, decode.NoAnswer, decode.Refused}
	for _, why := range whys {
		e := decode.Encryption([]byte("k8s:enc:aescbc:v1:k:x"))
		e.Why = why
		hints[e.Hint()] = true
	}
	if len(hints) != len(whys) || hints[""] {
		t.Errorf("%v, want one for each of %q", hints, whys)
	}
	for _, e := range []*decode.UnreadableError{decode.Encryption([]byte("k8s:enc:aescbc")), {Reason: decode.Empty}, {Reason: decode.Malformed, Encoding: decode.JSON}} {
		if hint := e.Hint(); hint != "" {
			t.Errorf("%s: %q", e.Class(), hint)
		}
	}
}

// TestRecordIsRead holds what is decoded of a record: the value, or what it holds if it is encrypted, or why that is unknown.
func TestRecordIsRead(t *testing.T) {
	lease := envelope("coordination.k8s.io/v1", "Lease", message(chunk(1, text(1, "name")), chunk(2, text(1, "holder"))))
	closed := []byte("k8s:enc:aescbc:v1:k:x")
	why := decode.Encryption(closed)
	why.Why = "wrong key"
	for _, test := range []struct {
		record decode.Record
		class  string
	}{
		{decode.Record{Value: lease}, ""},
		{decode.Record{Value: closed, Plain: lease}, ""},
		{decode.Record{Value: closed}, "encrypted (aescbc, key k)"},
		{decode.Record{Value: closed, Plain: []byte{}}, "empty"},
		{decode.Record{Value: closed, Sealed: why}, "encrypted (aescbc, key k: wrong key)"},
	} {
		class := func(err error) string {
			if unreadable, ok := errors.AsType[*decode.UnreadableError](err); ok {
				return unreadable.Class()
			}
			return fmt.Sprint(err)
		}
		want := gocmp.Or(test.class, "<nil>")
		object, err := test.record.Decode()
		if class(err) != want || err == nil && object.Name != "name" {
			t.Errorf("%+v: %+v, %v, want %s", test.record, object, err, want)
		}
		holder, err := test.record.LeaderIdentity()
		if class(err) != want || err == nil && holder != "holder" {
			t.Errorf("%+v: holder %q, %v, want %s", test.record, holder, err, want)
		}
	}
}

func TestDecodeContentType(t *testing.T) {
	value := message(envelope("v1", "Pod", chunk(1, text(1, "name"))), text(3, ""), text(4, "application/vnd.kubernetes.protobuf"))
	if o, err := decode.Decode(value); err != nil || o.Name != "name" {
		t.Errorf("got %+v, %v", o, err)
	}
}

func TestUnreadableErrorSaysWhere(t *testing.T) {
	_, err := decode.Decode(envelope("v1", "Pod", chunk(1, chunk(13, text(6, "x")))))
	const want = "value is malformed protobuf: metadata: ownerReferences: field 6: wire type 2, want 0"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestLabels(t *testing.T) {
	labels := decode.Labels{{Key: "a", Value: "1"}, {Key: "b", Value: ""}, {Key: "a", Value: "2"}}
	if value, ok := labels.Lookup("a"); value != "2" || !ok {
		t.Errorf("a: %q, %t", value, ok)
	}
	if !labels.Has("b") || labels.Has("c") || labels.Get("a") != "2" || labels.Get("c") != "" {
		t.Errorf("Has or Get disagrees with %v", labels)
	}
}

// TestDecodeFixtures holds the projection against the typed decoders on every value of two real clusters.
func TestDecodeFixtures(t *testing.T) {
	for _, name := range []fixtures.Name{fixtures.Incident, fixtures.Zoo} {
		t.Run(string(name), func(t *testing.T) {
			compared, kinds := 0, make(map[string]bool)
			for record := range records(t, name) {
				object, err := decode.Decode(record.Value)
				if err != nil {
					continue // counted in package fixtures
				}
				want, ok := typed(record.Value)
				if !ok {
					t.Fatalf("%s: the typed decoder refuses it", record.Key)
				}
				if diff := diff(want, object); diff != "" {
					t.Fatalf("%s: -typed +projected:\n%s", record.Key, diff)
				}
				compared++
				kinds[string(object.Encoding)+" "+object.Kind] = true
			}
			if compared < 6_000 || len(kinds) < 15 {
				t.Errorf("compared %d values of %d kinds, want more", compared, len(kinds))
			}
		})
	}
}

// FuzzDecode looks for a value that the typed decoder accepts and the projection refuses, or reads otherwise.
// Its seeds are the shortest real values of each class. The bytes are taken for a value, and for parts of a Pod's, so that
// no mutation has to get the lengths around them right.
func FuzzDecode(f *testing.F) {
	seeds := make(map[string][]byte)
	for record := range records(f, fixtures.Zoo) {
		object, err := decode.Decode(record.Value)
		class := string(object.Encoding) + " " + object.Kind
		if err != nil {
			class = err.Error()
		} else if owner := object.Controller(); owner != nil {
			class += " of " + owner.Kind
		}
		if seed, ok := seeds[class]; !ok || len(record.Value) < len(seed) {
			seeds[class] = record.Value
		}
	}
	for _, seed := range seeds {
		f.Add(seed)
	}
	f.Add([]byte("apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {b: c}}\n"))
	for _, oddity := range oddities() {
		f.Add(oddity.value)
		_, raw, _ := bytes.Cut(oddity.value, []byte("\x12\x03Pod\x12"))
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		agree(t, b)
		agree(t, envelope("v1", "Pod", b))
		agree(t, envelope("v1", "Pod", chunk(1, b)))
		agree(t, envelope("v1", "Pod", chunk(2, b)))
		agree(t, envelope("v1", "Pod", chunk(3, b)))
		agree(t, envelope("v1", "Event", b))
		agree(t, envelope("v1", "PersistentVolumeClaim", chunk(2, b)))
		agree(t, envelope("v1", "PersistentVolume", chunk(2, b)))
		agree(t, envelope("apiextensions.k8s.io/v1", "CustomResourceDefinition", chunk(2, b)))
	})
}

// agree checks that the projection reads what the typed decoder reads, if that accepts the value at all, which it returns.
func agree(t *testing.T, value []byte) bool {
	t.Helper()
	want, ok := typed(value)
	scratch := slices.Clone(value)
	got, err := decode.Decode(scratch)
	clear(scratch) // an object that aliases its value changes
	if !ok {
		return false
	}
	if err != nil {
		t.Errorf("the typed decoder accepts %q; Decode: %v", value, err)
	} else if diff := diff(want, got); diff != "" {
		t.Errorf("%q: -typed +projected:\n%s", value, diff)
	}
	return true
}

func diff(want, got decode.Object) string {
	want.Labels, got.Labels = asMap(want.Labels), asMap(got.Labels)
	return cmp.Diff(want, got, cmpopts.EquateEmpty())
}

// asMap does to labels what a map does: it forgets the order, and all but the last of a key.
func asMap(labels decode.Labels) decode.Labels {
	m := make(map[string]string, len(labels))
	for _, label := range labels {
		m[label.Key] = label.Value
	}
	labels = nil
	for _, key := range slices.Sorted(maps.Keys(m)) {
		labels = append(labels, decode.Label{Key: key, Value: m[key]})
	}
	return labels
}

// records yields what is stored in a fixture.
func records(tb testing.TB, name fixtures.Name) iter.Seq[decode.Record] {
	tb.Helper()
	path, err := fixtures.Unpack(name, tb.TempDir())
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

// What follows writes protobuf by hand, so that it can be wrong.

func envelope(apiVersion, kind string, raw []byte) []byte {
	return message([]byte(magic), chunk(1, message(text(1, apiVersion), text(2, kind))), chunk(2, raw))
}

func message(fields ...[]byte) []byte { return slices.Concat(fields...) }

func tag(field protowire.Number, wire protowire.Type) []byte {
	return protowire.AppendTag(nil, field, wire)
}

func number(field protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(tag(field, protowire.VarintType), v)
}

func chunk(field protowire.Number, b []byte) []byte {
	return protowire.AppendBytes(tag(field, protowire.BytesType), b)
}

func text(field protowire.Number, s string) []byte { return chunk(field, []byte(s)) }
