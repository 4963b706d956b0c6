package plan

import (
	"context"
	"crypto/sha256"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"etcdsweep/decode"
)

// podSet is the planned pods, for their events.
type podSet struct {
	uids  uidSet
	names map[[16]byte]struct{} // digests
}

func newPodSet() podSet { return podSet{newUIDs(), map[[16]byte]struct{}{}} }

func (s podSet) add(pod *decode.Object) {
	s.uids.add(pod.UID)
	s.names[nameDigest(pod.Namespace, pod.Name)] = struct{}{}
}

// has reports whether an event is about one of the pods. That is told by the UID. The taint manager, which writes most events of a
// runaway that it feeds, leaves that out; then the name counts.
func (s podSet) has(event *decode.Object) bool {
	involved := &event.Involved
	if involved.UID != "" {
		return s.uids.has(involved.UID)
	}
	_, ok := s.names[nameDigest(involved.Namespace, involved.Name)]
	return ok && involved.Kind == "Pod"
}

func nameDigest(namespace, name string) [16]byte {
	sum := sha256.Sum256([]byte(namespace + "/" + name))
	return [16]byte(sum[:16])
}

// scanEvents writes an entry for each event that is about a planned pod.
func (b *builder) scanEvents(ctx context.Context) error {
	events, _ := decode.Lookup(schema.GroupKind{Kind: "Event"})
	var prefixes []string
	for _, namespace := range b.header.Selection.Namespaces {
		prefixes = append(prefixes, events.NamespacePrefix(b.opts.Prefix, namespace))
	}
	return b.each(ctx, prefixes, func(record *decode.Record) (bool, error) {
		event, class, err := b.read(events, record)
		if err != nil {
			return false, err
		}
		if class != "" {
			b.sum.unreadable.add(class, "", record.Key)
			return false, nil
		}
		if !b.pods.has(&event) {
			return false, nil
		}
		if guard, why := b.guards.Objection(&event); guard != "" {
			b.sum.kept.add(guard, why, record.Key)
			return false, nil
		}
		entry := newEntry(StageObjects, record, &event, "about a planned pod")
		return false, b.write(&entry)
	})
}
