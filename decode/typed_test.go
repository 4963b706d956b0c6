package decode_test

import (
	"bytes"
	"errors"
	"slices"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	kjson "sigs.k8s.io/json"

	"etcdsweep/decode"
)

// scheme knows the types of the fixtures that hold pods or own them, and some others.
var scheme = sync.OnceValue(func() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		appsv1.AddToScheme, batchv1.AddToScheme, corev1.AddToScheme, discoveryv1.AddToScheme, rbacv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			panic(err)
		}
	}
	return scheme
})

// typed decodes a value with the decoders of Kubernetes and projects the result. It returns false if they refuse the
// value, or if it has no type or one that is refused by intent: a Pod of another version, another content type.
func typed(value []byte) (decode.Object, bool) {
	switch {
	case bytes.HasPrefix(value, []byte(magic)):
		return typedProtobuf(value[len(magic):])
	case bytes.HasPrefix(value, []byte("\xd9\xd9\xf7")):
		return typedCBOR(value)
	case bytes.HasPrefix(bytes.TrimSpace(value), []byte("{")):
		return typedJSON(value)
	default:
		return typedYAML(value)
	}
}

// typedYAML reads the metadata and a Pod's fields as the YAML serializer of kube-apiserver does.
func typedYAML(value []byte) (decode.Object, bool) {
	if bytes.HasPrefix(value, []byte("k8s:enc:")) {
		return decode.Object{}, false
	}
	serializer := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme(), scheme(), json.SerializerOptions{Yaml: true})
	var tree unstructured.Unstructured
	if _, _, err := serializer.Decode(value, nil, &tree); err != nil {
		return decode.Object{}, false
	}
	text, err := tree.MarshalJSON()
	if err != nil {
		return decode.Object{}, false
	}
	object, ok := typedJSON(text)
	object.Encoding = decode.YAML
	return object, ok
}

func typedProtobuf(body []byte) (decode.Object, bool) {
	var unknown runtime.Unknown
	if err := unknown.Unmarshal(body); err != nil {
		return decode.Object{}, false
	}
	if unknown.ContentEncoding != "" || unknown.ContentType != "" && unknown.ContentType != runtime.ContentTypeProtobuf {
		return decode.Object{}, false
	}
	object, ok := newTyped(unknown.APIVersion, unknown.Kind)
	if !ok {
		return decode.Object{}, false
	}
	if err := object.(interface{ Unmarshal([]byte) error }).Unmarshal(unknown.Raw); err != nil {
		return decode.Object{}, false
	}
	return project(decode.Protobuf, unknown.APIVersion, unknown.Kind, object), true
}

func typedJSON(text []byte) (decode.Object, bool) {
	var meta metav1.TypeMeta
	if err := kjson.UnmarshalCaseSensitivePreserveInts(text, &meta); err != nil {
		return decode.Object{}, false
	}
	object, ok := newTyped(meta.APIVersion, meta.Kind)
	if !ok {
		return decode.Object{}, false
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(text, object); err != nil {
		return decode.Object{}, false
	}
	return project(decode.JSON, meta.APIVersion, meta.Kind, object), true
}

// typedCBOR converts what the serializer makes of custom resources.
func typedCBOR(value []byte) (decode.Object, bool) {
	var tree unstructured.Unstructured
	if _, _, err := cbor.NewSerializer(scheme(), scheme()).Decode(value, nil, &tree); err != nil {
		return decode.Object{}, false
	}
	object, ok := newTyped(tree.GetAPIVersion(), tree.GetKind())
	if !ok {
		return decode.Object{}, false
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(tree.Object, object); err != nil {
		return decode.Object{}, false
	}
	return project(decode.CBOR, tree.GetAPIVersion(), tree.GetKind(), object), true
}

// newTyped returns an empty object of the type, of which only the metadata can be read if the type is not at hand.
func newTyped(apiVersion, kind string) (metav1.Object, bool) {
	version, err := schema.ParseGroupVersion(apiVersion)
	if err != nil || version.Version == "" || kind == "" {
		return nil, false
	}
	looksInto := version.Group == "" && slices.Contains([]string{"Pod", "PersistentVolumeClaim", "PersistentVolume", "Event"}, kind)
	if looksInto && version.Version != "v1" {
		return nil, false
	}
	if version.Group == "apiextensions.k8s.io" && kind == "CustomResourceDefinition" {
		return new(definition), version.Version == "v1" || version.Version == "v1beta1"
	}
	if object, err := scheme().New(version.WithKind(kind)); err == nil {
		if object, ok := object.(metav1.Object); ok {
			return object, true
		}
	}
	return new(metav1.PartialObjectMetadata), true
}

func project(encoding decode.Encoding, apiVersion, kind string, object metav1.Object) decode.Object {
	o := decode.Object{
		Encoding:   encoding,
		APIVersion: apiVersion,
		Kind:       kind,
		Namespace:  object.GetNamespace(),
		Name:       object.GetName(),
		UID:        string(object.GetUID()),
		Created:    object.GetCreationTimestamp().Time,
		Finalizers: object.GetFinalizers(),
	}
	if deleted := object.GetDeletionTimestamp(); deleted != nil {
		o.Deleted = deleted.Time
	}
	for key, value := range object.GetLabels() {
		o.Labels = append(o.Labels, decode.Label{Key: key, Value: value})
	}
	for _, owner := range object.GetOwnerReferences() {
		o.Owners = append(o.Owners, decode.OwnerReference{
			APIVersion: owner.APIVersion,
			Kind:       owner.Kind,
			Name:       owner.Name,
			UID:        string(owner.UID),
			Controller: owner.Controller != nil && *owner.Controller,
		})
	}
	_, o.Mirror = object.GetAnnotations()[corev1.MirrorPodAnnotationKey]
	switch object := object.(type) {
	case *corev1.Pod:
		o.NodeName = object.Spec.NodeName
		o.Phase, o.Reason = string(object.Status.Phase), object.Status.Reason
		for _, volume := range object.Spec.Volumes {
			if volume.PersistentVolumeClaim != nil {
				o.Claims = append(o.Claims, volume.PersistentVolumeClaim.ClaimName)
			}
			if volume.Ephemeral != nil {
				o.Claims = append(o.Claims, object.Name+"-"+volume.Name)
			}
		}
	case *corev1.PersistentVolumeClaim:
		o.VolumeName = object.Spec.VolumeName
	case *corev1.PersistentVolume:
		o.ReclaimPolicy = string(object.Spec.PersistentVolumeReclaimPolicy)
	case *corev1.Event:
		involved := &object.InvolvedObject
		o.Involved = decode.Involved{Kind: involved.Kind, Namespace: involved.Namespace, Name: involved.Name, UID: string(involved.UID)}
		o.Reason = object.Reason
	case *definition:
		o.Definition = &decode.Definition{
			Group: object.Spec.Group, Plural: object.Spec.Names.Plural, Kind: object.Spec.Names.Kind, Scope: object.Spec.Scope,
		}
	}
	return o
}

// definition stands in for the CustomResourceDefinition of apiextensions-apiserver, which would bring all of apiserver
// with it. Its Unmarshal rests on protowire, which accepts less than the generated decoders do, and reads the same.
type definition struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Group string `json:"group"`
		Names struct {
			Plural string `json:"plural"`
			Kind   string `json:"kind"`
		} `json:"names"`
		Scope string `json:"scope"`
	} `json:"spec"`
}

func (d *definition) Unmarshal(message []byte) error {
	return d.fields(message, map[protowire.Number]func([]byte) error{
		1: d.ObjectMeta.Unmarshal,
		2: func(spec []byte) error {
			return d.fields(spec, map[protowire.Number]func([]byte) error{
				1: into(&d.Spec.Group),
				3: func(names []byte) error {
					return d.fields(names, map[protowire.Number]func([]byte) error{1: into(&d.Spec.Names.Plural), 4: into(&d.Spec.Names.Kind)})
				},
				4: into(&d.Spec.Scope),
			})
		},
	})
}

func into(s *string) func([]byte) error {
	return func(b []byte) error {
		*s = string(b)
		return nil
	}
}

func (d *definition) fields(message []byte, known map[protowire.Number]func([]byte) error) error {
	for len(message) > 0 {
		number, wire, n := protowire.ConsumeTag(message)
		if n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
		read := known[number]
		if read == nil {
			if n = protowire.ConsumeFieldValue(number, wire, message); n < 0 {
				return protowire.ParseError(n)
			}
			message = message[n:]
			continue
		}
		if wire != protowire.BytesType {
			return errors.New("wire type")
		}
		value, n := protowire.ConsumeBytes(message)
		if n < 0 {
			return protowire.ParseError(n)
		}
		if err := read(value); err != nil {
			return err
		}
		message = message[n:]
	}
	return nil
}
