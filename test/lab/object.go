package lab

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// protobufMagic begins every value that an apiserver stores as protobuf.
const protobufMagic = "k8s\x00"

// message is what all generated Kubernetes types can do.
type message interface {
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

// unmarshal decodes a stored protobuf value of the given kind into object.
func unmarshal(value []byte, kind string, object message) error {
	body, ok := bytes.CutPrefix(value, []byte(protobufMagic))
	if !ok {
		return fmt.Errorf("%s: not stored as protobuf", kind)
	}
	var unknown runtime.Unknown
	if err := unknown.Unmarshal(body); err != nil {
		return fmt.Errorf("%s: %w", kind, err)
	}
	if unknown.Kind != kind {
		return fmt.Errorf("%s: is a %q", kind, unknown.Kind)
	}
	return object.Unmarshal(unknown.Raw)
}

// marshal encodes object byte for byte as an apiserver stores it.
func marshal(apiVersion, kind string, object message) ([]byte, error) {
	raw, err := object.Marshal()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	unknown := runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: apiVersion, Kind: kind}, Raw: raw}
	value := make([]byte, len(protobufMagic)+unknown.Size())
	copy(value, protobufMagic)
	if _, err := unknown.MarshalTo(value[len(protobufMagic):]); err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	return value, nil
}

// podsPrefix begins the keys of all pods.
const podsPrefix = "/registry/pods/"

func podKey(namespace, name string) string { return podsPrefix + namespace + "/" + name }

func jobKey(namespace, name string) string { return "/registry/jobs/" + namespace + "/" + name }

// podOwner returns the controlling owner of what is stored at key, if that is a pod in protobuf; nil for all else.
func podOwner(key string, value []byte) *metav1.OwnerReference {
	if !strings.HasPrefix(key, podsPrefix) {
		return nil
	}
	var pod corev1.Pod
	if err := unmarshal(value, "Pod", &pod); err != nil {
		return nil
	}
	return metav1.GetControllerOf(&pod)
}

// Kubernetes' generated names: apimachinery pkg/util/rand.
const (
	suffixAlphabet = "bcdfghjklmnpqrstvwxz2456789"
	suffixLen      = 5
	suffixes       = 27 * 27 * 27 * 27 * 27 // of that length
	suffixStep     = 9_176_003              // coprime to suffixes, so its multiples take every value once
)

// suffix returns the n-th suffix of a generated name. The first 14 million are different, whatever the seed.
func suffix(seed, n uint64) string {
	rest := (seed%suffixes + n%suffixes*suffixStep) % suffixes
	var s [suffixLen]byte
	for i := range s {
		s[i] = suffixAlphabet[rest%uint64(len(suffixAlphabet))]
		rest /= uint64(len(suffixAlphabet))
	}
	return string(s[:])
}

// uid returns the n-th random UID of a seed.
func uid(seed, n uint64) types.UID {
	random := rand.NewPCG(seed, n)
	a, b := random.Uint64(), random.Uint64()
	return types.UID(fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", a>>32, a>>16&0xffff, a&0xfff, b>>48&0x3fff|0x8000, b&0xffffffffffff))
}

// model is a real Job and one of its real pods, as stored, from which others are made.
type model struct{ job, pod []byte }

// identity is what sets one copy of a model apart from another.
type identity struct {
	namespace, name string
	uid             types.UID
	node            string // that its pods are pinned to
}

// copy returns a Job with its own identity, and a pod of it.
func (m model) copy(id identity) (*batchv1.Job, *corev1.Pod, error) {
	var original batchv1.Job
	if err := unmarshal(m.job, "Job", &original); err != nil {
		return nil, nil, err
	}
	// All UIDs have the same length, so the Job's can be replaced wherever it stands: labels, selectors, references, managed fields.
	adopt := func(value []byte) []byte { return bytes.ReplaceAll(value, []byte(original.UID), []byte(id.uid)) }
	var (
		job batchv1.Job
		pod corev1.Pod
	)
	if err := unmarshal(adopt(m.job), "Job", &job); err != nil {
		return nil, nil, err
	}
	if err := unmarshal(adopt(m.pod), "Pod", &pod); err != nil {
		return nil, nil, err
	}
	for _, labels := range []map[string]string{job.Labels, job.Spec.Template.Labels, pod.Labels} {
		labels[batchv1.JobNameLabel] = id.name
		labels["job-name"] = id.name
	}
	job.Namespace, job.Name = id.namespace, id.name
	delete(job.Annotations, corev1.LastAppliedConfigAnnotation) // it names the original
	job.Spec.Template.Spec.NodeName = id.node
	pod.Namespace, pod.Name, pod.GenerateName = id.namespace, "", id.name+"-"
	pod.OwnerReferences[0].Name = id.name
	pod.Spec.NodeName = id.node
	return &job, &pod, nil
}

// born returns a copy of the pod as a controller makes it: with a name, a UID and a time of its own.
// The copy shares with the original all that no two pods of a Job differ in.
func born(pod *corev1.Pod, suffix string, uid types.UID, at time.Time) *corev1.Pod {
	p := *pod
	now := metav1.NewTime(at.Truncate(time.Second))
	p.Name, p.UID, p.CreationTimestamp = p.GenerateName+suffix, uid, now
	p.DeletionTimestamp, p.DeletionGracePeriodSeconds = nil, nil
	p.ManagedFields = slices.Clone(p.ManagedFields)
	for i := range p.ManagedFields {
		p.ManagedFields[i].Time = &now
	}
	return &p
}

// terminate makes the pod one whose deletion was asked for as soon as it was made, on a node that will never confirm it.
func terminate(pod *corev1.Pod) {
	grace := int64(corev1.DefaultTerminationGracePeriodSeconds)
	end := metav1.NewTime(pod.CreationTimestamp.Add(time.Duration(grace) * time.Second))
	pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = &end, &grace
}
