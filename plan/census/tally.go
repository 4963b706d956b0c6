package census

import (
	"slices"
	"strings"
	"time"

	"etcdsweep/decode"
)

// Tally is what is known of a number of objects together.
type Tally struct {
	Count       int64     `json:"count"`
	Bytes       int64     `json:"bytes"` // of keys and values, as they are stored
	Oldest      time.Time `json:"oldest,omitzero"`
	Newest      time.Time `json:"newest,omitzero"`
	Terminating int64     `json:"terminating"`
	Running     int64     `json:"running,omitempty"` // pods in phase Running that are not terminating
	// Node is the node that all of the pods are on; "" if they are on several, or on none.
	Node string `json:"node,omitempty"`
	// Births are the numbers that were made in each minute of the hour before the newest object of the whole census.
	Births []int64 `json:"births_per_minute,omitempty"`

	born      births
	manyNodes bool
}

// add counts an object of so many bytes.
func (t *Tally) add(o *decode.Object, bytes int64) {
	t.meetNode(o.NodeName)
	t.Count++
	t.Bytes += bytes
	if o.Terminating() {
		t.Terminating++
	} else if o.Phase == phaseRunning {
		t.Running++
	}
	if o.Created.IsZero() {
		return
	}
	t.span(o.Created, o.Created)
	t.born.add(o.Created)
}

// merge counts what another tally has counted.
func (t *Tally) merge(other *Tally) {
	if other.manyNodes {
		t.Node, t.manyNodes = "", true
	} else {
		t.meetNode(other.Node)
	}
	t.Count += other.Count
	t.Bytes += other.Bytes
	t.Terminating += other.Terminating
	t.Running += other.Running
	if !other.Newest.IsZero() {
		t.span(other.Oldest, other.Newest)
	}
	t.born.merge(&other.born)
}

func (t *Tally) meetNode(node string) {
	switch {
	case t.manyNodes || t.Count > 0 && t.Node == node:
	case t.Count == 0:
		t.Node = strings.Clone(node)
	default:
		t.Node, t.manyNodes = "", true
	}
}

func (t *Tally) span(oldest, newest time.Time) {
	if t.Oldest.IsZero() || oldest.Before(t.Oldest) {
		t.Oldest = oldest
	}
	if newest.After(t.Newest) {
		t.Newest = newest
	}
}

// LastHour returns how many were made in the last hour of the census.
func (t *Tally) LastHour() (n int64) {
	for _, minute := range t.Births {
		n += minute
	}
	return n
}

// BusiestMinute returns the most that were made in a minute of it.
func (t *Tally) BusiestMinute() int64 {
	if len(t.Births) == 0 {
		return 0
	}
	return slices.Max(t.Births)
}
