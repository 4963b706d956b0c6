package decode

import (
	"encoding/json"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// ErrNoLeaderRecord says that an object is no record of a leader election.
var ErrNoLeaderRecord = errors.New("no record of a leader election")

// leaderAnnotation is LeaderElectionRecordAnnotationKey in client-go tools/leaderelection/resourcelock.
const leaderAnnotation = "control-plane.alpha.kubernetes.io/leader"

// LeaderIdentity reads who holds a leader election out of the stored value of its record: a Lease of coordination.k8s.io, or
// the Endpoints or ConfigMap whose annotation control-plane.alpha.kubernetes.io/leader was that record before Kubernetes 1.17, and
// beside the Lease until 1.19. The holder is "" if nobody holds it: a manager that ends in good order may say so.
//
// Other objects, and those without the annotation, are [ErrNoLeaderRecord]. What cannot be read is an [*UnreadableError].
func LeaderIdentity(value []byte) (holder string, err error) {
	var record leaderRecord
	encoding, text := encodingOf(value)
	switch encoding {
	case Protobuf:
		err = record.decodeProtobuf(value[len(protobufMagic):])
	case CBOR:
		var unmarshal func(into any) error
		if unmarshal, err = fromCBOR(value); err == nil {
			err = record.decodeTree(unmarshal)
		}
	case JSON, YAML:
		err = record.decodeTree(fromJSON(text))
	default:
		_, err := Decode(value) // which knows what else there is
		return "", err
	}
	if err == nil {
		holder, err = record.identity()
	}
	if errors.Is(err, ErrNoLeaderRecord) {
		return "", err
	}
	if err != nil {
		return "", &UnreadableError{Reason: Malformed, Encoding: encoding, Err: err}
	}
	return holder, nil
}

// leaderRecord is what a leader election has of an object.
type leaderRecord struct {
	kind       schema.GroupKind
	holder     string // of a Lease: spec.holderIdentity
	annotated  bool
	annotation string
}

func (l *leaderRecord) isLease() bool {
	return l.kind == schema.GroupKind{Group: "coordination.k8s.io", Kind: "Lease"}
}

// identity finds the holder where the kind has it.
func (l *leaderRecord) identity() (string, error) {
	switch annotated := l.kind.Group == "" && (l.kind.Kind == "Endpoints" || l.kind.Kind == "ConfigMap"); {
	case l.isLease():
		return l.holder, nil
	case !annotated:
		return "", fmt.Errorf("%s: %w", l.kind, ErrNoLeaderRecord)
	case !l.annotated:
		return "", fmt.Errorf("%s without annotation %s: %w", l.kind, leaderAnnotation, ErrNoLeaderRecord)
	}
	var record struct {
		HolderIdentity string `json:"holderIdentity"`
	}
	if err := json.Unmarshal([]byte(l.annotation), &record); err != nil { // as client-go's resource locks do
		return "", fmt.Errorf("annotation %s: %w", leaderAnnotation, err)
	}
	return record.HolderIdentity, nil
}

// decodeProtobuf reads a runtime.Unknown. The field numbers are those of apimachinery pkg/apis/meta/v1 and of
// k8s.io/api coordination/v1 and v1beta1.
func (l *leaderRecord) decodeProtobuf(unknown []byte) error {
	var d protobufDecoder
	raw, err := d.open(unknown)
	if err != nil {
		return err
	}
	if _, err := d.form(); err != nil {
		return err
	}
	l.kind = d.GroupKind()
	r := reader{buf: raw}
	for r.next() {
		switch {
		case r.field == 1:
			r.message("metadata", l.decodeMetadata(r.bytes()))
		case r.field == 2 && l.isLease():
			r.message("spec", l.decodeSpec(r.bytes()))
		}
	}
	return r.err
}

func (l *leaderRecord) decodeMetadata(message []byte) error {
	r := reader{buf: message}
	for r.next() {
		if r.field == 12 {
			if key, value := r.entry(); string(key) == leaderAnnotation {
				l.annotated, l.annotation = true, string(value)
			}
		}
	}
	return r.err
}

func (l *leaderRecord) decodeSpec(message []byte) error {
	r := reader{buf: message}
	for r.next() {
		if r.field == 1 {
			l.holder = string(r.bytes())
		}
	}
	return r.err
}

// decodeTree reads the forms that name their fields.
func (l *leaderRecord) decodeTree(unmarshal func(into any) error) error {
	var object struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   struct {
			Annotations map[string]string `json:"annotations"`
		} `json:"metadata"`
	}
	if err := unmarshal(&object); err != nil {
		return err
	}
	typed := Object{APIVersion: object.APIVersion, Kind: object.Kind}
	if _, err := typed.form(); err != nil {
		return err
	}
	l.kind = typed.GroupKind()
	l.annotation, l.annotated = object.Metadata.Annotations[leaderAnnotation]
	if !l.isLease() {
		return nil
	}
	var lease struct {
		Spec struct {
			HolderIdentity string `json:"holderIdentity"`
		} `json:"spec"`
	}
	if err := unmarshal(&lease); err != nil {
		return err
	}
	l.holder = lease.Spec.HolderIdentity
	return nil
}
