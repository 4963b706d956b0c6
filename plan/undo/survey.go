package undo

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"

	"etcdsweep/decode"
	"etcdsweep/durable"
	"etcdsweep/plan/archive"
)

// survey is what is known before anything is put back.
type survey struct {
	repeats map[string]int64 // of keys that stand in the archive twice: the number of the last record
	owners  map[string]*node // archived objects that others refer to as an owner, by UID
	torn    bool             // the archive ends within a frame: nothing in it was deleted

	// Of what is selected:

	total      int64
	ranks      []rank               // those that there are, in order
	found      map[string]bool      // keys that were asked for
	namespaces map[string]namespace // that objects go into
	owned      map[string]bool      // UIDs of archived owners that it refers to
	starting   map[string]int64     // pods that start again where their node lives, by node
	unreadable int64
}

// namespace is what is archived of a Namespace that is put back itself; zero if it is not.
type namespace struct {
	uid         string
	terminating bool
}

// node is an archived object that owns others.
type node struct {
	key      string
	uid      string
	owners   []decode.OwnerReference
	selected bool

	generation int
	known      bool
	visiting   bool
}

// rank is when a record is put back: the lower the earlier.
type rank struct{ class, generation int }

// The classes of records.
const (
	classNamespace = iota
	classCluster   // in no namespace
	classNamespaced
)

func (r rank) compare(other rank) int {
	return cmp.Or(cmp.Compare(r.class, other.class), cmp.Compare(r.generation, other.generation))
}

// item is an archived record that the run has deleted.
type item struct {
	decode.Record
	object *decode.Object // nil if it cannot be read
	rank   rank           // of what is selected
}

// look reads the archive to find out what it holds.
func (u *undoer) look(ctx context.Context) error {
	s := &u.survey
	*s = survey{
		repeats: map[string]int64{}, owners: map[string]*node{},
		found: map[string]bool{}, namespaces: map[string]namespace{}, owned: map[string]bool{}, starting: map[string]int64{},
	}
	if err := u.findRepeats(ctx); err != nil {
		return err
	}
	for it, err := range u.items(ctx) {
		if err != nil {
			return err
		}
		if it.object == nil {
			continue
		}
		if _, owner := s.owners[it.object.UID]; owner {
			s.owners[it.object.UID] = &node{
				key: it.Key, uid: it.object.UID, owners: it.object.Owners, selected: u.Only.selects(it.Key, it.object),
			}
		}
	}
	for it, err := range u.items(ctx) {
		if err != nil {
			return err
		}
		if u.Only.selects(it.Key, it.object) {
			u.count(&it)
		}
	}
	slices.SortFunc(s.ranks, rank.compare)
	return nil
}

// findRepeats reads the archive for the first time.
func (u *undoer) findRepeats(ctx context.Context) error {
	s := &u.survey
	seen := newSeen()
	number := int64(0)
	for record, err := range archive.ReadFile(u.Dir.Archive()) {
		if errors.Is(err, durable.ErrTorn) {
			s.torn = true
			return nil
		}
		if err = cmp.Or(err, ctx.Err()); err != nil {
			return err
		}
		if u.deleted.counts(&record) && seen.add(record.Key) {
			s.repeats[record.Key] = number
		}
		number++
		if err := u.Cluster.Open(ctx, &record); err != nil {
			return err
		}
		object, err := record.Decode()
		if err != nil {
			continue
		}
		for i := range object.Owners {
			s.owners[object.Owners[i].UID] = nil // not archived, as far as is known
		}
	}
	return nil
}

// items yields the records that count, in the order of the archive. An error is the last pair.
func (u *undoer) items(ctx context.Context) iter.Seq2[item, error] {
	return func(yield func(item, error) bool) {
		number := int64(-1)
		for record, err := range archive.ReadFile(u.Dir.Archive()) {
			if errors.Is(err, durable.ErrTorn) {
				return
			}
			if err = cmp.Or(err, ctx.Err()); err != nil {
				yield(item{}, err)
				return
			}
			number++
			if last, ok := u.survey.repeats[record.Key]; ok && last != number || !u.deleted.counts(&record) {
				continue
			}
			if err := u.Cluster.Open(ctx, &record); err != nil {
				yield(item{}, err)
				return
			}
			it := item{Record: record}
			if object, err := record.Decode(); err == nil {
				it.object = &object
			}
			if !yield(it, nil) {
				return
			}
		}
	}
}

// selected yields what is to be put back, in the order in which it is: owners before what they own.
func (u *undoer) selected(ctx context.Context) iter.Seq2[item, error] {
	return func(yield func(item, error) bool) {
		for _, rank := range u.survey.ranks {
			for it, err := range u.items(ctx) {
				if err == nil && (!u.Only.selects(it.Key, it.object) || u.survey.rank(it.object) != rank) {
					continue
				}
				it.rank = rank
				if !yield(it, err) || err != nil {
					return
				}
			}
		}
	}
}

// count takes note of a selected record.
func (u *undoer) count(it *item) {
	s := &u.survey
	s.total++
	if rank := s.rank(it.object); !slices.Contains(s.ranks, rank) {
		s.ranks = append(s.ranks, rank)
	}
	if u.Only.keys[it.Key] {
		s.found[it.Key] = true
	}
	o := it.object
	if o == nil {
		s.unreadable++
		return
	}
	switch s.rank(o).class {
	case classNamespace:
		s.namespaces[o.Name] = namespace{o.UID, o.Terminating()}
	case classNamespaced:
		if _, known := s.namespaces[o.Namespace]; !known {
			s.namespaces[o.Namespace] = namespace{}
		}
	}
	for i := range o.Owners {
		if s.owners[o.Owners[i].UID] != nil {
			s.owned[o.Owners[i].UID] = true
		}
	}
	if o.Kind == "Pod" && o.NodeName != "" && !o.Terminating() && (o.Phase == "Pending" || o.Phase == "Running") {
		s.starting[o.NodeName]++
	}
}

// rank tells when an object is put back. What cannot be read comes with what has no archived owner.
func (s *survey) rank(o *decode.Object) rank {
	switch {
	case o == nil:
		return rank{class: classNamespaced}
	case o.Kind == "Namespace" && o.GroupKind().Group == "":
		return rank{classNamespace, s.generation(o.Owners)}
	case o.Namespace == "":
		return rank{classCluster, s.generation(o.Owners)}
	default:
		return rank{classNamespaced, s.generation(o.Owners)}
	}
}

// generation is 0 without archived owners, else one more than that of the highest of them. Objects that own each other in a
// ring, which no controller makes, come in the order in which they are met.
func (s *survey) generation(owners []decode.OwnerReference) int {
	generation := 0
	for i := range owners {
		if n := s.owners[owners[i].UID]; n != nil && !n.visiting {
			generation = max(generation, 1+s.generationOf(n))
		}
	}
	return generation
}

func (s *survey) generationOf(n *node) int {
	if !n.known {
		n.visiting = true
		n.generation = s.generation(n.owners)
		n.visiting, n.known = false, true
	}
	return n.generation
}
