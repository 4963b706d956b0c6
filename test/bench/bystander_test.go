package main

import (
	"context"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"etcdsweep/test/lab"
)

// What a watch does not see before its first event and behind its last is a gap as well.
func TestGaps(t *testing.T) {
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(second float64) time.Time { return began.Add(time.Duration(second * float64(time.Second))) }
	for _, test := range []struct {
		events []time.Time
		want   time.Duration
	}{
		{nil, 10 * time.Second},
		{[]time.Time{at(1), at(4), at(9.5)}, 5500 * time.Millisecond},
		{[]time.Time{at(7), at(8), at(9)}, 7 * time.Second},
		{[]time.Time{at(1), at(2), at(4)}, 6 * time.Second},
	} {
		b := &bystander{events: test.events}
		if f := b.felt(began, at(10)); f.gap != test.want {
			t.Errorf("%v: %s, want %s", test.events, f.gap, test.want)
		}
	}
}

// A watch that ends before its time is an error.
func TestWatchThatEnds(t *testing.T) {
	cluster, err := lab.Start(t.Context(), lab.Config{Dir: t.TempDir(), NoFsync: true, PlainText: true})
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	etcd, err := clientv3.New(clientv3.Config{Endpoints: cluster.Endpoints()})
	if err != nil {
		t.Fatal(err)
	}
	defer etcd.Close()
	for _, own := range []bool{true, false} {
		living, end := context.WithCancel(t.Context())
		defer end()
		b := &bystander{etcd: etcd}
		events, err := b.open(living)
		if err != nil {
			t.Fatal(err)
		}
		if own {
			end()
		} else if err := etcd.Watcher.Close(); err != nil {
			t.Fatal(err)
		}
		b.watch(living, events)
		if own != (len(b.errs) == 0) {
			t.Errorf("by its own end %t: %v", own, b.errs)
		}
	}
}

// One of two figures is enough for some goals, and others want both.
func TestGoals(t *testing.T) {
	for _, test := range []struct {
		goal        goal
		ours, ratio float64
		want        bool
	}{
		{goal{atMost: 2, below: 50, either: true}, 49, 9, true},
		{goal{atMost: 2, below: 50, either: true}, 70, 1.5, true},
		{goal{atMost: 2, below: 50, either: true}, 70, 2.5, false},
		{goal{atMost: 2, below: 50}, 49, 9, false},
		{goal{atMost: 2, below: 50}, 49, 2, true},
		{goal{below: 90}, 89, 9, true},
		{goal{below: 90}, 90, 9, false},
		{goal{atLeast: 0.9}, 1, 0.8, false},
	} {
		if got := test.goal.met(test.ours, test.ratio); got != test.want {
			t.Errorf("%s: %g, by %g: %t", test.goal.words(), test.ours, test.ratio, got)
		}
	}
}
