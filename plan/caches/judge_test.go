package caches

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestJudge(t *testing.T) {
	type objects = map[string]int64
	etcd := stored{before: 100, after: 110, objects: objects{"ns/a": 40, "ns/b": 90}}
	tests := []struct {
		name   string
		cached cached
		want   difference
		behind bool
	}{
		{"equal", cached{120, objects{"ns/a": 40, "ns/b": 90}}, difference{}, false},
		{"equal, and nothing has happened here for long", cached{90, objects{"ns/a": 40, "ns/b": 90}}, difference{}, true},
		{"a ghost", cached{110, objects{"ns/a": 40, "ns/b": 90, "ns/c": 50}}, difference{ghosts: []string{"ns/c"}}, false},
		{"perhaps deleted between two revisions that the cache has not seen", cached{109, objects{"ns/a": 40, "ns/b": 90, "ns/c": 50}}, difference{ghosts: []string{"ns/c"}}, true},
		{"made while etcd was read", cached{110, objects{"ns/a": 40, "ns/b": 90, "ns/c": 101}}, difference{}, false},
		{"made since", cached{130, objects{"ns/a": 40, "ns/b": 90, "ns/c": 125}}, difference{}, false},
		{"changed since", cached{130, objects{"ns/a": 125, "ns/b": 90}}, difference{}, false},
		{"made at the last revision before etcd was read", cached{110, objects{"ns/a": 40, "ns/b": 90, "ns/c": 100}}, difference{ghosts: []string{"ns/c"}}, false},
		{"outdated", cached{110, objects{"ns/a": 39, "ns/b": 90}}, difference{outdated: []string{"ns/a"}}, false},
		{"missing, or deleted since", cached{110, objects{"ns/b": 90}}, difference{missing: []string{"ns/a"}}, false},
		{"deleted and made again since", cached{130, objects{"ns/a": 128, "ns/b": 90}}, difference{}, false},
		{"all of it at once, in order", cached{110, objects{"ns/z": 1, "ns/c": 2, "ns/b": 3}}, difference{
			ghosts: []string{"ns/c", "ns/z"}, outdated: []string{"ns/b"}, missing: []string{"ns/a"},
		}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, certain := judge(&etcd, &test.cached)
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(difference{})); diff != "" {
				t.Error(diff)
			}
			if certain == test.behind {
				t.Errorf("certain: %t", certain)
			}
		})
	}
}
