package decode

import (
	"bytes"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// Encoding is the form in which a value is stored. A cluster can hold a mix of them, whatever its apiserver writes now.
type Encoding string

const (
	Protobuf Encoding = "protobuf" // most built-in resources
	JSON     Encoding = "json"     // custom resources, and built-in ones under --storage-media-type=application/json
	CBOR     Encoding = "cbor"     // custom resources, under feature gate CBORServingAndStorage
	YAML     Encoding = "yaml"     // built-in resources under --storage-media-type=application/yaml
)

// What a value of each encoding begins with.
const (
	protobufMagic   = "k8s\x00"      // apimachinery pkg/runtime/serializer/protobuf/protobuf.go
	cborMagic       = "\xd9\xd9\xf7" // RFC 8949 section 3.4.6; apimachinery pkg/runtime/serializer/cbor/cbor.go
	encryptedPrefix = "k8s:enc:"     // apiserver pkg/storage/value/encrypt/identity/identity.go
)

// Decode reads the stored value of one key. Errors are of type [*UnreadableError].
//
// An encrypted value is unreadable: see [Record.Decode] for one that was opened.
func Decode(value []byte) (Object, error) {
	if err := Encryption(value); err != nil {
		return Object{}, err
	}
	encoding, text := encodingOf(value)
	var o Object
	var err error
	switch encoding {
	case Protobuf:
		o, err = decodeProtobuf(value[len(protobufMagic):])
	case CBOR:
		o, err = decodeCBOR(value)
	case JSON, YAML:
		o, err = decodeJSON(text)
	default:
		if len(value) == 0 {
			return Object{}, &UnreadableError{Reason: Empty}
		}
		return Object{}, &UnreadableError{Reason: UnknownEncoding}
	}
	return checked(o, encoding, err)
}

// EncodingOf tells how a value is encoded by what it begins with, or "" if it is like nothing that kube-apiserver stores. An
// encrypted value has no encoding: see [Encryption].
func EncodingOf(value []byte) Encoding {
	encoding, _ := encodingOf(value)
	return encoding
}

// encodingOf returns beside the encoding the text of JSON and YAML, as JSON.
func encodingOf(value []byte) (Encoding, []byte) {
	switch {
	case bytes.HasPrefix(value, []byte(protobufMagic)):
		return Protobuf, nil
	case bytes.HasPrefix(value, []byte(cborMagic)):
		return CBOR, nil
	case bytes.HasPrefix(bytes.TrimSpace(value), []byte("{")):
		return JSON, value
	case Encryption(value) != nil:
		return "", nil
	}
	// Nothing tells YAML from noise but that it can be read, as a mapping. This is how kube-apiserver reads it
	// (apimachinery pkg/runtime/serializer/json/json.go), after all else.
	if text, err := yaml.YAMLToJSON(value); err == nil && bytes.HasPrefix(text, []byte("{")) {
		return YAML, text
	}
	return "", nil
}

func checked(o Object, encoding Encoding, err error) (Object, error) {
	if err != nil {
		return Object{}, &UnreadableError{Reason: Malformed, Encoding: encoding, Err: err}
	}
	o.Encoding = encoding
	return o, nil
}

// form is a kind of which more is read than the metadata.
type form int

const (
	plainForm form = iota // nothing but the metadata
	podForm
	claimForm
	volumeForm
	definitionForm
	eventForm
)

// form tells by the type of the object what is to be read of it. It is an error if the object has no type, or if it is of
// a kind that is looked into and of a version that this package does not know: what decisions rest on would look empty.
func (o *Object) form() (form, error) {
	version, err := schema.ParseGroupVersion(o.APIVersion)
	if err != nil {
		return plainForm, err
	}
	if version.Version == "" || o.Kind == "" {
		return plainForm, errors.New("no apiVersion or no kind")
	}
	f := plainForm
	switch version.Group {
	case "":
		switch o.Kind {
		case "Pod":
			f = podForm
		case "PersistentVolumeClaim":
			f = claimForm
		case "PersistentVolume":
			f = volumeForm
		case "Event":
			f = eventForm
		}
	case "apiextensions.k8s.io":
		if o.Kind == "CustomResourceDefinition" {
			f = definitionForm
		}
	}
	known := version.Version == "v1" || f == definitionForm && version.Version == "v1beta1"
	if f != plainForm && !known {
		return plainForm, fmt.Errorf("apiVersion %q of a %s is not known", o.APIVersion, o.Kind)
	}
	return f, nil
}

// mirrorAnnotation is MirrorPodAnnotationKey in k8s.io/api core/v1.
const mirrorAnnotation = "kubernetes.io/config.mirror"

// ephemeralClaim names the claim that the controller makes for a generic ephemeral volume
// (k8s.io/component-helpers storage/ephemeral VolumeClaimName).
func ephemeralClaim(pod, volume string) string { return pod + "-" + volume }
