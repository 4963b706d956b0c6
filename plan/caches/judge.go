package caches

import (
	"maps"
	"slices"
)

// stored is what etcd holds of a place: the revision of each object's last change, by its name. It was read after etcd's revision
// had been before, and before it was after.
type stored struct {
	before, after int64
	objects       map[string]int64
}

// cached is what a watch cache holds of a place, and the revision that it has come to.
type cached struct {
	revision int64
	objects  map[string]int64
}

// difference is what a watch cache shows otherwise than etcd, each by name, in order.
type difference struct {
	ghosts   []string // shown, and not in etcd
	outdated []string // shown as they were before their last change
	missing  []string // in etcd, and not shown
}

func (d difference) empty() bool { return len(d.ghosts)+len(d.outdated)+len(d.missing) == 0 }

// judge compares. The difference is certain, but for what is missing, if the cache has come to s.after; otherwise it may be that it
// only has not come so far yet. What is missing may have been deleted since etcd was read.
func judge(s *stored, c *cached) (d difference, certain bool) {
	for _, name := range slices.Sorted(maps.Keys(c.objects)) {
		shown := c.objects[name]
		switch revision, found := s.objects[name]; {
		case shown == revision && found:
		case shown > s.before: // made or changed while etcd was read, or since
		case found:
			d.outdated = append(d.outdated, name)
		default:
			d.ghosts = append(d.ghosts, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.objects)) {
		if _, shown := c.objects[name]; !shown {
			d.missing = append(d.missing, name)
		}
	}
	return d, c.revision >= s.after
}
