package decode

import (
	"bytes"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Encoding is the form in which a value is stored. A cluster can hold a mix of them, whatever its apiserver writes now.
type Encoding string

const (
	Protobuf Encoding = "protobuf" // most built-in resources
	JSON     Encoding = "json"     // custom resources, and built-in ones under --storage-media-type=application/json
	CBOR     Encoding = "cbor"     // custom resources, under feature gate CBORServingAndStorage
)

// What a value of each encoding begins with.
const (
	protobufMagic   = "k8s\x00"      // apimachinery pkg/runtime/serializer/protobuf/protobuf.go
	cborMagic       = "\xd9\xd9\xf7" // RFC 8949 section 3.4.6; apimachinery pkg/runtime/serializer/cbor/cbor.go
	encryptedPrefix = "k8s:enc:"     // apiserver pkg/storage/value/encrypt/identity/identity.go
)

// Decode reads the stored value of one key. Errors are of type [*UnreadableError].
//
// An encrypted value is unreadable: decrypt it first.
func Decode(value []byte) (Object, error) {
	if body, ok := bytes.CutPrefix(value, []byte(protobufMagic)); ok {
		o, err := decodeProtobuf(body)
		return checked(o, Protobuf, err)
	}
	if header, ok := bytes.CutPrefix(value, []byte(encryptedPrefix)); ok {
		return Object{}, encrypted(header)
	}
	if bytes.HasPrefix(value, []byte(cborMagic)) {
		o, err := decodeCBOR(value)
		return checked(o, CBOR, err)
	}
	if bytes.HasPrefix(bytes.TrimSpace(value), []byte("{")) {
		o, err := decodeJSON(value)
		return checked(o, JSON, err)
	}
	if len(value) == 0 {
		return Object{}, &UnreadableError{Reason: Empty}
	}
	return Object{}, &UnreadableError{Reason: UnknownEncoding}
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
