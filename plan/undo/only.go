package undo

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"etcdsweep/decode"
)

// Only limits an undo to some of what was deleted. The zero value does not.
type Only struct {
	keys      map[string]bool
	selectors []labels.Selector
	words     []string // in order, each once
}

// ParseOnly reads what --only was given: keys of etcd, which begin with the prefix and a slash, and label selectors. An object
// that meets one of them is selected. A selector that selects everything is refused, as is an empty word.
func ParseOnly(words []string, prefix string) (Only, error) {
	o := Only{words: slices.Compact(slices.Sorted(slices.Values(words)))}
	for _, word := range o.words {
		if strings.HasPrefix(word, prefix+"/") {
			if o.keys == nil {
				o.keys = map[string]bool{}
			}
			o.keys[word] = true
			continue
		}
		selector, err := labels.Parse(word)
		if err != nil {
			return Only{}, fmt.Errorf("%q is neither a key under %s/ nor a label selector: %w", word, prefix, err)
		}
		if selector.Empty() {
			return Only{}, fmt.Errorf("%q selects everything", word)
		}
		o.selectors = append(o.selectors, selector)
	}
	return o, nil
}

// String writes the selection as flags, the same one always in the same way; "" if it does not limit.
func (o Only) String() string {
	var b strings.Builder
	for _, word := range o.words {
		b.WriteString(" --only " + word)
	}
	return b.String()
}

func (o Only) all() bool { return len(o.words) == 0 }

// selects reports whether an object is selected. One that cannot be read has no labels, and is nil.
func (o Only) selects(key string, object *decode.Object) bool {
	return o.all() || o.keys[key] || object != nil &&
		slices.ContainsFunc(o.selectors, func(s labels.Selector) bool { return s.Matches(object.Labels) })
}

// missing returns the keys that were asked for and are not among those found.
func (o Only) missing(found map[string]bool) []string {
	var missing []string
	for _, key := range slices.Sorted(maps.Keys(o.keys)) {
		if !found[key] {
			missing = append(missing, key)
		}
	}
	return missing
}
