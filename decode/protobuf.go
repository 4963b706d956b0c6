package decode

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
)

// The field numbers in this file are those of the generated.proto files in apimachinery pkg/runtime and pkg/apis/meta/v1
// and in k8s.io/api core/v1; those of a CustomResourceDefinition are the same in apiextensions-apiserver
// pkg/apis/apiextensions/v1 and v1beta1. They never change: what is stored depends on them.

// First allocations for an object: enough for most pods. Those of a larger one grow.
const (
	textSize    = 512
	usualLabels = 6
)

// protobufDecoder fills an Object from messages. What a message says again is merged as the generated decoders do:
// scalars are replaced, lists and maps appended to, messages merged.
type protobufDecoder struct {
	Object
	text strings.Builder
}

// copy returns b as a string. The strings of an object are pieces of one, so that they cost one allocation together.
func (d *protobufDecoder) copy(b []byte) string {
	start := d.text.Len()
	d.text.Write(b)
	return d.text.String()[start:]
}

// decodeProtobuf reads the value of an object without its magic.
func decodeProtobuf(unknown []byte) (Object, error) {
	var d protobufDecoder
	d.text.Grow(textSize)
	err := d.decodeUnknown(unknown)
	return d.Object, err
}

// decodeUnknown reads a runtime.Unknown, which names the type of the object and holds its bytes.
func (d *protobufDecoder) decodeUnknown(message []byte) error {
	raw, err := d.open(message)
	if err != nil {
		return err
	}
	form, err := d.form()
	if err != nil {
		return err
	}
	if err := d.decodeRaw(raw); err != nil {
		return err
	}
	switch form {
	case podForm:
		return d.decodePod(raw)
	case claimForm:
		return inSpec(raw, func(r *reader) {
			if r.field == 3 {
				d.VolumeName = d.copy(r.bytes())
			}
		})
	case volumeForm:
		return inSpec(raw, func(r *reader) {
			if r.field == 5 {
				d.ReclaimPolicy = d.copy(r.bytes())
			}
		})
	case definitionForm:
		d.Definition = new(Definition)
		return inSpec(raw, d.decodeDefinition)
	case eventForm:
		return d.decodeEvent(raw)
	}
	return nil
}

// open reads the type of the object out of a runtime.Unknown, and returns its bytes.
func (d *protobufDecoder) open(message []byte) (raw []byte, err error) {
	r := reader{buf: message}
	for r.next() {
		switch r.field {
		case 1:
			r.message("typeMeta", d.decodeTypeMeta(r.bytes()))
		case 2:
			raw = r.bytes()
		case 3:
			if encoding := string(r.bytes()); encoding != "" {
				r.message("contentEncoding", fmt.Errorf("%q is not known", encoding))
			}
		case 4:
			if contentType := string(r.bytes()); contentType != "" && contentType != runtime.ContentTypeProtobuf {
				r.message("contentType", fmt.Errorf("%q is not known", contentType))
			}
		}
	}
	return raw, r.err
}

// inSpec calls read for each field of the object's spec.
func inSpec(raw []byte, read func(*reader)) error {
	r := reader{buf: raw}
	for r.next() {
		if r.field == 2 {
			spec := reader{buf: r.bytes()}
			for spec.next() {
				read(&spec)
			}
			r.message("spec", spec.err)
		}
	}
	return r.err
}

// decodeDefinition reads the current field of a CustomResourceDefinition's spec.
func (d *protobufDecoder) decodeDefinition(spec *reader) {
	switch spec.field {
	case 1:
		d.Definition.Group = d.copy(spec.bytes())
	case 3:
		names := reader{buf: spec.bytes()}
		for names.next() {
			switch names.field {
			case 1:
				d.Definition.Plural = d.copy(names.bytes())
			case 4:
				d.Definition.Kind = d.copy(names.bytes())
			}
		}
		spec.message("names", names.err)
	case 4:
		d.Definition.Scope = d.copy(spec.bytes())
	}
}

func (d *protobufDecoder) decodeTypeMeta(message []byte) error {
	r := reader{buf: message}
	for r.next() {
		switch r.field {
		case 1:
			d.APIVersion = d.copy(r.bytes())
		case 2:
			d.Kind = d.copy(r.bytes())
		}
	}
	return r.err
}

// decodeRaw reads what all kinds have in common.
func (d *protobufDecoder) decodeRaw(raw []byte) error {
	r := reader{buf: raw}
	for r.next() {
		if r.field == 1 {
			r.message("metadata", d.decodeMetadata(r.bytes()))
		}
	}
	return r.err
}

func (d *protobufDecoder) decodeMetadata(message []byte) error {
	r := reader{buf: message}
	for r.next() {
		switch r.field {
		case 1:
			d.Name = d.copy(r.bytes())
		case 3:
			d.Namespace = d.copy(r.bytes())
		case 5:
			d.UID = d.copy(r.bytes())
		case 8:
			var err error
			d.Created, err = decodeTime(r.bytes())
			r.message("creationTimestamp", err)
		case 9:
			var err error
			d.Deleted, err = decodeTime(r.bytes())
			r.message("deletionTimestamp", err)
		case 11:
			key, value := r.entry()
			if d.Labels == nil {
				d.Labels = make(Labels, 0, usualLabels)
			}
			d.Labels = append(d.Labels, Label{d.copy(key), d.copy(value)})
		case 12:
			key, _ := r.entry()
			d.Mirror = d.Mirror || string(key) == mirrorAnnotation
		case 13:
			owner, err := d.decodeOwner(r.bytes())
			r.message("ownerReferences", err)
			d.Owners = append(d.Owners, owner)
		case 14:
			d.Finalizers = append(d.Finalizers, d.copy(r.bytes()))
		}
	}
	return r.err
}

// decodeTime reads a Timestamp. The zero time is stored as an empty message; nanoseconds are dropped
// (apimachinery pkg/apis/meta/v1/time_proto.go).
func decodeTime(message []byte) (time.Time, error) {
	if len(message) == 0 {
		return time.Time{}, nil
	}
	var seconds int64
	r := reader{buf: message}
	for r.next() {
		if r.field == 1 {
			seconds = int64(r.uint64())
		}
	}
	return time.Unix(seconds, 0).UTC(), r.err
}

func (d *protobufDecoder) decodeOwner(message []byte) (OwnerReference, error) {
	var owner OwnerReference
	r := reader{buf: message}
	for r.next() {
		switch r.field {
		case 1:
			owner.Kind = d.copy(r.bytes())
		case 3:
			owner.Name = d.copy(r.bytes())
		case 4:
			owner.UID = d.copy(r.bytes())
		case 5:
			owner.APIVersion = d.copy(r.bytes())
		case 6:
			owner.Controller = r.uint64() != 0
		}
	}
	return owner, r.err
}

// decodePod reads what only Pods have. The metadata must have been read: claims are named after the pod.
func (d *protobufDecoder) decodePod(raw []byte) error {
	r := reader{buf: raw}
	for r.next() {
		switch r.field {
		case 2:
			r.message("spec", d.decodePodSpec(r.bytes()))
		case 3:
			r.message("status", d.decodePodStatus(r.bytes()))
		}
	}
	return r.err
}

func (d *protobufDecoder) decodePodSpec(message []byte) error {
	r := reader{buf: message}
	for r.next() {
		switch r.field {
		case 1:
			var v volume
			r.message("volumes", v.decode(r.bytes()))
			if v.hasClaim {
				d.Claims = append(d.Claims, d.copy(v.claim))
			}
			if v.ephemeral {
				d.Claims = append(d.Claims, ephemeralClaim(d.Name, string(v.name)))
			}
		case 10:
			d.NodeName = d.copy(r.bytes())
		}
	}
	return r.err
}

func (d *protobufDecoder) decodePodStatus(message []byte) error {
	r := reader{buf: message}
	for r.next() {
		switch r.field {
		case 1:
			d.Phase = d.copy(r.bytes())
		case 4:
			d.Reason = d.copy(r.bytes())
		}
	}
	return r.err
}

// decodeEvent reads what only Events have.
func (d *protobufDecoder) decodeEvent(raw []byte) error {
	r := reader{buf: raw}
	for r.next() {
		switch r.field {
		case 2:
			involved := reader{buf: r.bytes()}
			for involved.next() {
				switch involved.field {
				case 1:
					d.Involved.Kind = d.copy(involved.bytes())
				case 2:
					d.Involved.Namespace = d.copy(involved.bytes())
				case 3:
					d.Involved.Name = d.copy(involved.bytes())
				case 4:
					d.Involved.UID = d.copy(involved.bytes())
				}
			}
			r.message("involvedObject", involved.err)
		case 3:
			d.Reason = d.copy(r.bytes())
		}
	}
	return r.err
}

// volume is the projection of one entry of spec.volumes. The same field may come more than once: the later one is merged
// into the earlier.
type volume struct {
	name      []byte
	claim     []byte
	hasClaim  bool
	ephemeral bool
}

func (v *volume) decode(message []byte) error {
	r := reader{buf: message}
	for r.next() {
		switch r.field {
		case 1:
			v.name = r.bytes()
		case 2:
			r.message("volumeSource", v.decodeSource(r.bytes()))
		}
	}
	return r.err
}

func (v *volume) decodeSource(message []byte) error {
	r := reader{buf: message}
	for r.next() {
		switch r.field {
		case 10:
			v.hasClaim = true
			r.message("persistentVolumeClaim", v.decodeClaim(r.bytes()))
		case 29:
			v.ephemeral = true
		}
	}
	return r.err
}

func (v *volume) decodeClaim(message []byte) error {
	r := reader{buf: message}
	for r.next() {
		if r.field == 1 {
			v.claim = r.bytes()
		}
	}
	return r.err
}
