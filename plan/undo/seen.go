package undo

import "hash/maphash"

// The size of a seen, and how many bits each key takes in it: a key of a million is taken for another once in ten thousand.
const (
	seenBits   = 4 << 20 * 8
	seenHashes = 4
)

// seen is a set of keys in a memory that does not depend on their number (a Bloom filter). It never forgets a key, but may take
// a new one for one that it has.
type seen struct {
	seeds [2]maphash.Seed
	bits  []uint64
}

func newSeen() *seen {
	return &seen{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, bits: make([]uint64, seenBits/64)}
}

// add adds a key, and reports whether it was there before.
func (s *seen) add(key string) bool {
	hash, step := maphash.String(s.seeds[0], key), maphash.String(s.seeds[1], key)|1
	before := true
	for range seenHashes {
		word, bit := hash%seenBits/64, uint64(1)<<(hash%64)
		before = before && s.bits[word]&bit != 0
		s.bits[word] |= bit
		hash += step
	}
	return before
}
