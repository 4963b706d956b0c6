package plan

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"etcdsweep/decode"
)

const (
	maxTallies  = 1000 // names counted apart in one table; what comes later is counted as others
	maxExamples = 3
	maxBirths   = 1024 // newest births that the median interval is taken from
)

// Others is the name of the tally that takes what exceeds the size of a table.
const Others = "(others)"

// tallies counts entries by name, in bounded memory.
type tallies map[string]*Tally

// add counts an entry under a name.
func (t tallies) add(name string, bytes int) {
	t.of(name, func() Tally { return Tally{Name: name} }).count(bytes)
}

// of returns the tally with a key; what is new gets one from make, for as long as there is room.
func (t tallies) of(key string, make func() Tally) *Tally {
	if tally := t[key]; tally != nil {
		return tally
	}
	tally := make()
	if len(t) >= maxTallies {
		if key = Others; t[key] != nil {
			return t[key]
		}
		tally = Tally{Name: Others}
	}
	t[key] = &tally
	return &tally
}

func (t *Tally) count(bytes int) {
	t.Entries++
	t.Bytes += int64(bytes)
}

// sorted returns the tallies, the largest first.
func (t tallies) sorted() []Tally {
	var all []Tally
	for _, tally := range t {
		all = append(all, *tally)
	}
	slices.SortFunc(all, func(a, b Tally) int {
		return cmp.Or(cmp.Compare(b.Entries, a.Entries), cmp.Compare(a.Name, b.Name), cmp.Compare(a.UID, b.UID))
	})
	return all
}

// keptOut counts what is no entry, by reason.
type keptOut map[string]*KeptOut

func (k keptOut) add(reason, why, key string) {
	out := k[reason]
	if out == nil {
		out = &KeptOut{Reason: reason, Why: why}
		k[reason] = out
	}
	out.Count++
	if len(out.Examples) < maxExamples {
		out.Examples = append(out.Examples, key)
	}
}

func (k keptOut) sorted() []KeptOut {
	var all []KeptOut
	for _, reason := range slices.Sorted(maps.Keys(k)) {
		all = append(all, *k[reason])
	}
	return all
}

// births keeps the newest creation times, to tell how fast the producers are.
type births struct {
	newest []int64 // Unix seconds, a heap with the oldest of them on top once it is full
}

func (b *births) add(created time.Time) {
	at := created.Unix()
	if len(b.newest) < maxBirths {
		b.newest = append(b.newest, at)
		if len(b.newest) == maxBirths {
			slices.Sort(b.newest) // a sorted slice is a heap
		}
		return
	}
	if at <= b.newest[0] {
		return
	}
	b.newest[0] = at
	for i := 0; ; {
		child := 2*i + 1
		if child >= len(b.newest) {
			return
		}
		if right := child + 1; right < len(b.newest) && b.newest[right] < b.newest[child] {
			child = right
		}
		if b.newest[i] <= b.newest[child] {
			return
		}
		b.newest[i], b.newest[child] = b.newest[child], b.newest[i]
		i = child
	}
}

// medianInterval returns the median time between two births, 0 if there were fewer than two. Times in Kubernetes have
// a resolution of one second.
func (b *births) medianInterval() time.Duration {
	if len(b.newest) < 2 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(b.newest))
	intervals := make([]int64, len(sorted)-1)
	for i := range intervals {
		intervals[i] = sorted[i+1] - sorted[i]
	}
	slices.Sort(intervals)
	return time.Duration(intervals[len(intervals)/2]) * time.Second
}

// summarizer gathers a plan's summary while its entries are written.
type summarizer struct {
	summary                       Summary
	bytes, entries                int64
	stages, owners, nodes, phases tallies
	resources                     tallies // nil unless a namespace is planned whole
	kept, unreadable              keptOut
	births                        births
}

func newSummarizer() *summarizer {
	return &summarizer{
		stages: tallies{}, owners: tallies{}, nodes: tallies{}, phases: tallies{},
		kept: keptOut{}, unreadable: keptOut{},
	}
}

func (s *summarizer) entry(e *Entry) {
	s.entries++
	s.bytes += int64(e.Bytes)
	s.stages.add(e.Stage, e.Bytes)
	if s.resources != nil {
		s.resources.add(schema.GroupKind{Group: e.Group, Kind: e.Kind}.String(), e.Bytes)
	}
}

// dependent counts what people ask of the dependents: who makes them, where, in which state, since when.
func (s *summarizer) dependent(o *decode.Object, bytes int) {
	if ref := o.Controller(); ref != nil {
		s.owners.of(ref.UID, func() Tally {
			return Tally{Name: objectName(ref.Kind, o.Namespace, ref.Name), UID: ref.UID}
		}).count(bytes)
	} else {
		s.owners.add("(no controller)", bytes)
	}
	if o.GroupKind() == decode.Pods().GroupKind {
		s.nodes.add(cmp.Or(o.NodeName, "(no node)"), bytes)
		s.phases.add(cmp.Or(o.Phase, "(no phase)"), bytes)
	}
	if o.Terminating() {
		s.summary.Terminating++
	}
	if o.Created.IsZero() {
		return
	}
	s.births.add(o.Created)
	if s.summary.Oldest.IsZero() || o.Created.Before(s.summary.Oldest) {
		s.summary.Oldest = o.Created
	}
	if o.Created.After(s.summary.Newest) {
		s.summary.Newest = o.Created
	}
}

func (s *summarizer) finish() Summary {
	for _, stage := range Stages() {
		if tally := s.stages[stage]; tally != nil {
			s.summary.Stages = append(s.summary.Stages, *tally)
		}
	}
	s.summary.Owners = s.owners.sorted()
	s.summary.Nodes = s.nodes.sorted()
	s.summary.Phases = s.phases.sorted()
	s.summary.Resources = s.resources.sorted()
	s.summary.KeptOut = s.kept.sorted()
	s.summary.Unreadable = s.unreadable.sorted()
	s.summary.BirthInterval = s.births.medianInterval().Seconds()
	return s.summary
}
