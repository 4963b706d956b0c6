package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	goyaml "go.yaml.in/yaml/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor/direct"
	"k8s.io/client-go/kubernetes/scheme"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"etcdsweep/decode"
)

// Manifest is a stored object, whole.
type Manifest struct {
	Encoding     decode.Encoding
	Object       map[string]any // as JSON has it
	MetadataOnly bool           // the type is not known, and Object has nothing else
}

// Read reads a stored value, after it was decrypted. Errors are of type *decode.UnreadableError.
func Read(value []byte) (*Manifest, error) {
	m := &Manifest{Encoding: decode.EncodingOf(value)}
	var err error
	switch m.Encoding {
	case decode.Protobuf:
		err = m.readProtobuf(value)
	case decode.JSON:
		err = kjson.UnmarshalCaseSensitivePreserveInts(value, &m.Object)
	case decode.YAML:
		var text []byte
		if text, err = yaml.YAMLToJSON(value); err == nil {
			err = kjson.UnmarshalCaseSensitivePreserveInts(text, &m.Object)
		}
	case decode.CBOR:
		err = direct.Unmarshal(value, &m.Object)
	default:
		_, err := decode.Decode(value) // which knows why not
		return nil, err
	}
	if err == nil && m.Object == nil {
		err = errors.New("no object")
	}
	if err != nil {
		return nil, &decode.UnreadableError{Reason: decode.Malformed, Encoding: m.Encoding, Err: err}
	}
	return m, nil
}

// protobufMagic is in front of a runtime.Unknown (apimachinery pkg/runtime/serializer/protobuf/protobuf.go).
const protobufMagic = "k8s\x00"

// message is what a generated type reads itself from.
type message interface{ Unmarshal([]byte) error }

func (m *Manifest) readProtobuf(value []byte) error {
	var unknown runtime.Unknown
	if err := unknown.Unmarshal(value[len(protobufMagic):]); err != nil {
		return err
	}
	if unknown.ContentEncoding != "" || unknown.ContentType != "" && unknown.ContentType != runtime.ContentTypeProtobuf {
		return fmt.Errorf("content type %q, encoding %q", unknown.ContentType, unknown.ContentEncoding)
	}
	kind := schema.FromAPIVersionAndKind(unknown.APIVersion, unknown.Kind)
	if kind.Version == "" || kind.Kind == "" {
		return errors.New("no apiVersion or no kind")
	}
	var typed any
	if typed, m.MetadataOnly = newObject(kind); m.MetadataOnly {
		typed = new(metav1.PartialObjectMetadata) // metadata is field 1 of every stored type
	}
	if err := typed.(message).Unmarshal(unknown.Raw); err != nil {
		return err
	}
	text, err := json.Marshal(typed)
	if err != nil {
		return err
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(text, &m.Object); err != nil {
		return err
	}
	m.Object["apiVersion"], m.Object["kind"] = unknown.APIVersion, unknown.Kind
	return nil
}

// newObject makes an empty object of a built-in type, or reports that the type is unknown.
func newObject(kind schema.GroupVersionKind) (object any, unknown bool) {
	typed, err := scheme.Scheme.New(kind)
	if err != nil {
		return nil, true
	}
	_, ok := typed.(message)
	return typed, !ok
}

// WriteYAML writes the object as one document of YAML. The way of sigs.k8s.io/yaml, over JSON, would refuse control characters
// that a string may have; here they are escaped.
func (m *Manifest) WriteYAML(w io.Writer) error {
	text, err := goyaml.Marshal(m.Object)
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}
