package journal

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// History is what a journal tells of a run. Its memory depends on the size of a page, not on the number of keys. The zero
// value is that of an empty journal.
type History struct {
	Attempts []Attempt
	Proof    *Proof // nil until a snapshot was proved

	// Doubt has, for each stage, the keys that may have been written to and of which no outcome is known.
	Doubt map[string]map[string]bool
	// Last is, for each stage, the greatest key of any page. Keys of a planned stage behind it were not touched.
	Last map[string]string
	// Verdicts has those of the stages that are told key by key: see [History.Keep].
	Verdicts map[string]map[string]Verdict

	FirstRevision, LastRevision int64 // of a write; 0 if none was answered

	Archived int64 // keys whose bytes are in the archive
	Newer    int64 // of these, those that the snapshot holds in an older version
	Missing  int64 // of these, those that were made after the snapshot

	Leases      map[int64]Lease
	Controllers []Controllers
	Told        []Told
	Paused      time.Duration // in all; what two pauses have in common counts once
	Pauses      []Pause       // that have ended

	still   []span // in which the run stood still: the latest last, none touches another
	keep    map[string]bool
	tallies map[string]*Tally // of the other stages
}

// Attempt is one execution.
type Attempt struct {
	Opened
	Began time.Time
	Ended time.Time // of its last frame
	// Closed is nil for an attempt that was killed, or that is under way.
	Closed *Closed
}

// Keep makes the history remember the verdict of each key of a stage. It is for stages of few keys.
func (h *History) Keep(stages ...string) {
	h.keep = map[string]bool{}
	for _, stage := range stages {
		h.keep[stage] = true
	}
}

// Add takes the next frame.
func (h *History) Add(f *Frame) {
	if n := len(h.Attempts); n > 0 {
		h.Attempts[n-1].Ended = f.At
	}
	switch {
	case f.Opened != nil:
		for _, tally := range h.tallies {
			tally.forget(Unresolved) // they are tried again
		}
		h.Attempts = append(h.Attempts, Attempt{Opened: *f.Opened, Began: f.At, Ended: f.At})
	case f.Proved != nil:
		h.Proof = f.Proved
	case f.Page != nil:
		h.intend(f.Page)
	case f.Judged != nil:
		for i := range f.Judged.Keys {
			h.judge(f.Judged.Stage, &f.Judged.Keys[i])
		}
	case f.Resumed != nil:
		h.stoodStill(span{f.At.Add(-time.Duration(f.Resumed.Seconds * float64(time.Second))), f.At})
		h.Pauses = append(h.Pauses, *f.Resumed)
	case f.Told != nil:
		told := *f.Told
		told.At = f.At
		h.Told = append(h.Told, told)
	case f.Controllers != nil:
		h.Controllers = append(h.Controllers, *f.Controllers)
	case f.Lease != nil:
		if h.Leases == nil {
			h.Leases = map[int64]Lease{}
		}
		h.Leases[f.Lease.Old] = *f.Lease
	case f.Closed != nil && len(h.Attempts) > 0:
		h.Attempts[len(h.Attempts)-1].Closed = f.Closed
	}
}

// span is a stretch of time.
type span struct{ from, to time.Time }

func (s span) length() time.Duration { return s.to.Sub(s.from) }

// stoodStill counts the time of a pause that has ended. The run may have stood still for another reason at the same time.
func (h *History) stoodStill(s span) {
	for n := len(h.still); n > 0 && !h.still[n-1].to.Before(s.from); n-- {
		last := h.still[n-1]
		h.still, h.Paused = h.still[:n-1], h.Paused-last.length()
		if last.from.Before(s.from) {
			s.from = last.from
		}
		if last.to.After(s.to) {
			s.to = last.to
		}
	}
	h.still, h.Paused = append(h.still, s), h.Paused+s.length()
}

func (h *History) intend(page *Page) {
	if h.Doubt == nil {
		h.Doubt, h.Last = map[string]map[string]bool{}, map[string]string{}
	}
	doubt := h.Doubt[page.Stage]
	if doubt == nil {
		doubt = map[string]bool{}
		h.Doubt[page.Stage] = doubt
	}
	for _, key := range page.Keys {
		doubt[key] = true
		h.Last[page.Stage] = max(h.Last[page.Stage], key)
	}
}

func (h *History) judge(stage string, v *Verdict) {
	if v.Outcome != Unresolved { // that stays in doubt
		delete(h.Doubt[stage], v.Key)
	}
	archived := v.ModRevision > 0 && v.Outcome != Unresolved
	if h.keep[stage] {
		archived = archived && h.Verdicts[stage][v.Key].ModRevision == 0 // a root that stayed is judged again
		if h.Verdicts == nil {
			h.Verdicts = map[string]map[string]Verdict{}
		}
		if h.Verdicts[stage] == nil {
			h.Verdicts[stage] = map[string]Verdict{}
		}
		h.Verdicts[stage][v.Key] = *v
	} else {
		if h.tallies == nil {
			h.tallies = map[string]*Tally{}
		}
		if h.tallies[stage] == nil {
			h.tallies[stage] = &Tally{}
		}
		h.tallies[stage].Add(v)
	}
	if v.Revision > 0 {
		h.FirstRevision = min(cmp.Or(h.FirstRevision, v.Revision), v.Revision)
		h.LastRevision = max(h.LastRevision, v.Revision)
	}
	if archived {
		h.Archived++
		switch {
		case h.Proof == nil || v.ModRevision <= h.Proof.Revision:
		case v.CreateRevision > h.Proof.Revision:
			h.Missing++
		default:
			h.Newer++
		}
	}
}

// Tally counts the outcomes of a stage.
func (h *History) Tally(stage string) Tally {
	if !h.keep[stage] {
		if tally := h.tallies[stage]; tally != nil {
			return *tally
		}
		return Tally{}
	}
	var tally Tally
	for _, key := range slices.Sorted(maps.Keys(h.Verdicts[stage])) {
		v := h.Verdicts[stage][key]
		tally.Add(&v)
	}
	return tally
}

// Began reports whether any attempt has come to the point where keys may have been written to.
func (h *History) Began() bool { return len(h.Last) > 0 }

// State returns the state of the last attempt: killed, if it has not closed its journal.
func (h *History) State() State {
	if n := len(h.Attempts); n > 0 && h.Attempts[n-1].Closed != nil {
		return h.Attempts[n-1].Closed.State
	}
	return StateKilled
}
