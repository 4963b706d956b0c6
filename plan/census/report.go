package census

import (
	"cmp"
	"slices"
	"strings"
)

const mostClasses = 100 // of unreadable values; the names of keys are part of them

// Report is what a census has found.
type Report struct {
	By Dimension `json:"by"`
	// Total is of all objects, in groups or not, unreadable ones included.
	Total      Tally        `json:"total"`
	Groups     []*Group     `json:"groups"` // the largest first
	Folded     Folded       `json:"folded,omitzero"`
	Unreadable []Unreadable `json:"unreadable,omitempty"` // the largest class first
}

// Group is what has one owner, or one value of another dimension.
type Group struct {
	// Name is the value, "" for objects without one; of an owner the kind and name.
	Name string `json:"name"`
	// Namespace is that of objects without an owner, by owner.
	Namespace string `json:"namespace,omitempty"`
	// Owner is the highest owner whose record stands, by owner; nil for objects without one.
	Owner *Owner  `json:"owner,omitempty"`
	Share float64 `json:"share"` // of all objects that were counted, in percent
	Tally
}

func (g *Group) uid() string {
	if g.Owner == nil {
		return g.Namespace
	}
	return g.Owner.UID
}

// Folded is what was counted together because there were too many groups.
type Folded struct {
	Groups int64 `json:"groups"` // at least: one that came again is counted again
	Tally
}

// Unreadable is a class of values that cannot be read.
type Unreadable struct {
	Class   string `json:"class"`
	Count   int64  `json:"count"`
	Bytes   int64  `json:"bytes"`
	Example string `json:"example"`        // a key
	Hint    string `json:"hint,omitempty"` // what would make it readable
}

// report is what was counted so far.
func (c *counter) report() *Report {
	r := &Report{By: c.opts.By, Total: c.total, Folded: c.folded}
	for _, g := range c.groups {
		group := *g
		r.Groups = append(r.Groups, &group)
	}
	slices.SortFunc(r.Groups, compareGroups)
	until := r.Total.born.last
	for _, g := range r.Groups {
		g.Share = r.share(g.Count)
		g.Births = g.born.until(until)
	}
	r.Total.Births = r.Total.born.until(until)
	for _, u := range c.unreadable {
		r.Unreadable = append(r.Unreadable, *u)
	}
	slices.SortFunc(r.Unreadable, func(a, b Unreadable) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Class, b.Class))
	})
	return r
}

func (r *Report) share(count int64) float64 {
	if r.Total.Count == 0 {
		return 0
	}
	return 100 * float64(count) / float64(r.Total.Count)
}
