package snapshot

import (
	"bytes"
	"cmp"
	"slices"
	"sort"
)

// place is where the last write of a key stands. Its key is memory of the file.
type place struct {
	key       []byte
	main, sub int64 // its revision
	gone      bool  // the write deleted the key
}

// index finds the last write of every key among writes that come in the order of their revisions. Its memory depends on how many
// keys there are, not on how often they were written.
type index struct {
	places []place
	room   int // how many there may be before those that count are sorted out
}

const leastRoom = 64 << 10

func (x *index) add(p place) {
	if len(x.places) >= max(x.room, leastRoom) {
		x.settle()
		x.room = 2 * len(x.places)
	}
	x.places = append(x.places, p)
}

// settle leaves the last write of each key that is there, in the order of the keys.
func (x *index) settle() {
	slices.SortFunc(x.places, func(a, b place) int {
		return cmp.Or(bytes.Compare(a.key, b.key), cmp.Compare(a.main, b.main), cmp.Compare(a.sub, b.sub))
	})
	kept := x.places[:0]
	for i := range x.places {
		last := i+1 == len(x.places) || !bytes.Equal(x.places[i].key, x.places[i+1].key)
		if last && !x.places[i].gone {
			kept = append(kept, x.places[i])
		}
	}
	clear(x.places[len(kept):])
	x.places = kept
}

// under returns the places of the keys under a prefix, once they are settled.
func (x *index) under(prefix string) []place {
	first := sort.Search(len(x.places), func(i int) bool { return string(x.places[i].key) >= prefix })
	rest := x.places[first:]
	return rest[:sort.Search(len(rest), func(i int) bool { return !bytes.HasPrefix(rest[i].key, []byte(prefix)) })]
}
