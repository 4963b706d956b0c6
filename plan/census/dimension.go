package census

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"etcdsweep/decode"
)

// Dimension is what objects are grouped by: one of Dimensions, or label=KEY.
type Dimension string

// What objects can be grouped by, beside labels.
const (
	ByOwner     Dimension = "owner"
	ByNamespace Dimension = "namespace"
	ByNode      Dimension = "node"
	ByPhase     Dimension = "phase"
	ByReason    Dimension = "reason"
	ByResource  Dimension = "resource"
)

const byLabel = "label="

// Dimensions returns the names of all dimensions but labels.
func Dimensions() []Dimension {
	return []Dimension{ByOwner, ByNamespace, ByNode, ByPhase, ByReason, ByResource}
}

// ParseDimension reads the name of a dimension.
func ParseDimension(text string) (Dimension, error) {
	d := Dimension(text)
	if key, ok := d.label(); ok && key != "" || slices.Contains(Dimensions(), d) {
		return d, nil
	}
	return "", fmt.Errorf("%q is none of owner, namespace, node, phase, reason, resource and label=KEY", text)
}

func (d Dimension) label() (key string, ok bool) { return strings.CutPrefix(string(d), byLabel) }

const phaseRunning = "Running"

// id tells groups apart: a UID in its 16 bytes where it has the form of one, else a text.
type id struct {
	uid  [16]byte
	text string
}

// uidOf returns the id of a UID; never the zero id.
func uidOf(uid string) id {
	var is id
	if uid == "" {
		return id{text: "none"}
	}
	if len(uid) != 36 {
		return id{text: uid}
	}
	digits := 0
	for i := range len(uid) {
		c := uid[i]
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return id{text: uid}
			}
			continue
		}
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		default:
			return id{text: uid}
		}
		is.uid[digits/2] |= c << (4 * (1 - digits%2))
		digits++
	}
	return is
}

// value returns what an object is grouped by, in all dimensions but owners.
func (d Dimension) value(resource *decode.Resource, o *decode.Object) string {
	switch d {
	case ByNamespace:
		return o.Namespace
	case ByNode:
		return o.NodeName
	case ByPhase:
		return o.Phase
	case ByReason:
		return o.Reason
	case ByResource:
		return resource.Path
	default:
		key, _ := d.label()
		return o.Labels.Get(key)
	}
}

// compareGroups puts the largest first.
func compareGroups(a, b *Group) int {
	return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(b.Bytes, a.Bytes), strings.Compare(a.Name, b.Name), strings.Compare(a.uid(), b.uid()))
}
