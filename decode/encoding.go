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

// isPod reports whether the type of the object is Pod. It is an error if the object has no type, or if it is a Pod of a
// version that this package does not know: what guards rest on would look empty.
func (o *Object) isPod() (bool, error) {
	version, err := schema.ParseGroupVersion(o.APIVersion)
	if err != nil {
		return false, err
	}
	if version.Version == "" || o.Kind == "" {
		return false, errors.New("no apiVersion or no kind")
	}
	if version.Group != "" || o.Kind != "Pod" {
		return false, nil
	}
	if version.Version != "v1" {
		return false, fmt.Errorf("apiVersion %q of a Pod is not known", o.APIVersion)
	}
	return true, nil
}

// mirrorAnnotation is MirrorPodAnnotationKey in k8s.io/api core/v1.
const mirrorAnnotation = "kubernetes.io/config.mirror"

// ephemeralClaim names the claim that the controller makes for a generic ephemeral volume
// (k8s.io/component-helpers storage/ephemeral VolumeClaimName).
func ephemeralClaim(pod, volume string) string { return pod + "-" + volume }
