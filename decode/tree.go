package decode

import (
	"cmp"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor/direct"
	kjson "sigs.k8s.io/json"
)

// treeObject is what all kinds have in common, in the forms that name their fields.
type treeObject struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name              string                  `json:"name"`
		Namespace         string                  `json:"namespace"`
		UID               string                  `json:"uid"`
		CreationTimestamp metav1.Time             `json:"creationTimestamp"`
		DeletionTimestamp metav1.Time             `json:"deletionTimestamp"`
		Labels            map[string]string       `json:"labels"`
		Annotations       map[string]string       `json:"annotations"`
		OwnerReferences   []metav1.OwnerReference `json:"ownerReferences"`
		Finalizers        []string                `json:"finalizers"`
	} `json:"metadata"`
}

// treePod is what only Pods have. The spec of another kind may use the same names for something else.
type treePod struct {
	Spec struct {
		NodeName string `json:"nodeName"`
		Volumes  []struct {
			Name                  string `json:"name"`
			PersistentVolumeClaim *struct {
				ClaimName string `json:"claimName"`
			} `json:"persistentVolumeClaim"`
			Ephemeral *struct{} `json:"ephemeral"`
		} `json:"volumes"`
	} `json:"spec"`
	Status struct {
		Phase  string `json:"phase"`
		Reason string `json:"reason"`
	} `json:"status"`
}

// treeClaim is what only PersistentVolumeClaims have.
type treeClaim struct {
	Spec struct {
		VolumeName string `json:"volumeName"`
	} `json:"spec"`
}

// treeVolume is what only PersistentVolumes have.
type treeVolume struct {
	Spec struct {
		ReclaimPolicy string `json:"persistentVolumeReclaimPolicy"`
	} `json:"spec"`
}

// treeEvent is what only Events have.
type treeEvent struct {
	InvolvedObject struct {
		Kind      string `json:"kind"`
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
		UID       string `json:"uid"`
	} `json:"involvedObject"`
	Reason string `json:"reason"`
}

// treeDefinition is what only CustomResourceDefinitions have.
type treeDefinition struct {
	Spec struct {
		Group string `json:"group"`
		Names struct {
			Plural string `json:"plural"`
			Kind   string `json:"kind"`
		} `json:"names"`
		Scope string `json:"scope"`
	} `json:"spec"`
}

// decodeJSON uses the decoder of apimachinery's JSON serializer: names are case-sensitive, unknown ones are skipped, of
// repeated ones the last counts.
func decodeJSON(text []byte) (Object, error) {
	return decodeTree(fromJSON(text))
}

func fromJSON(text []byte) func(into any) error {
	return func(into any) error { return kjson.UnmarshalCaseSensitivePreserveInts(text, into) }
}

// decodeCBOR builds the whole tree first: apimachinery's public decoder refuses structs that do not name every field, and
// JSON could not carry the invalid UTF-8 that it accepts.
func decodeCBOR(value []byte) (Object, error) {
	unmarshal, err := fromCBOR(value)
	if err != nil {
		return Object{}, err
	}
	return decodeTree(unmarshal)
}

func fromCBOR(value []byte) (func(into any) error, error) {
	var tree map[string]any
	if err := direct.Unmarshal(value, &tree); err != nil {
		return nil, err
	}
	return func(into any) error { return runtime.DefaultUnstructuredConverter.FromUnstructured(tree, into) }, nil
}

func decodeTree(unmarshal func(into any) error) (Object, error) {
	var o Object
	var object treeObject
	if err := unmarshal(&object); err != nil {
		return o, err
	}
	o.setObject(&object)
	form, err := o.form()
	if err != nil {
		return o, err
	}
	switch form {
	case podForm:
		var pod treePod
		err = unmarshal(&pod)
		o.setPod(&pod)
	case claimForm:
		var claim treeClaim
		err = unmarshal(&claim)
		o.VolumeName = claim.Spec.VolumeName
	case volumeForm:
		var volume treeVolume
		err = unmarshal(&volume)
		o.ReclaimPolicy = volume.Spec.ReclaimPolicy
	case eventForm:
		var event treeEvent
		err = unmarshal(&event)
		o.Involved, o.Reason = Involved(event.InvolvedObject), event.Reason
	case definitionForm:
		var definition treeDefinition
		err = unmarshal(&definition)
		spec := &definition.Spec
		o.Definition = &Definition{Group: spec.Group, Plural: spec.Names.Plural, Kind: spec.Names.Kind, Scope: spec.Scope}
	}
	return o, err
}

func (o *Object) setObject(object *treeObject) {
	metadata := &object.Metadata
	o.APIVersion = object.APIVersion
	o.Kind = object.Kind
	o.Name = metadata.Name
	o.Namespace = metadata.Namespace
	o.UID = metadata.UID
	o.Created = metadata.CreationTimestamp.UTC()
	o.Deleted = metadata.DeletionTimestamp.UTC()
	o.Finalizers = metadata.Finalizers
	for key, value := range metadata.Labels {
		o.Labels = append(o.Labels, Label{key, value})
	}
	slices.SortFunc(o.Labels, func(a, b Label) int { return cmp.Compare(a.Key, b.Key) })
	for _, owner := range metadata.OwnerReferences {
		o.Owners = append(o.Owners, OwnerReference{
			APIVersion: owner.APIVersion,
			Kind:       owner.Kind,
			Name:       owner.Name,
			UID:        string(owner.UID),
			Controller: owner.Controller != nil && *owner.Controller,
		})
	}
	_, o.Mirror = metadata.Annotations[mirrorAnnotation]
}

func (o *Object) setPod(pod *treePod) {
	o.NodeName = pod.Spec.NodeName
	o.Phase, o.Reason = pod.Status.Phase, pod.Status.Reason
	for _, volume := range pod.Spec.Volumes {
		if volume.PersistentVolumeClaim != nil {
			o.Claims = append(o.Claims, volume.PersistentVolumeClaim.ClaimName)
		}
		if volume.Ephemeral != nil {
			o.Claims = append(o.Claims, ephemeralClaim(o.Name, volume.Name))
		}
	}
}
