package plan

import (
	"context"
	"errors"
	"iter"
	"testing"
	"time"

	"etcdsweep/decode"
)

func TestCompareNodes(t *testing.T) {
	type records = map[string]int64
	for _, test := range []struct {
		name          string
		first, second nodeRecords
		want          map[string]NodeState
	}{
		{"a lease moves, another does not",
			nodeRecords{records{"a": 1, "b": 2}, records{"a": 3, "b": 4}}, nodeRecords{records{"a": 5, "b": 2}, records{"a": 3, "b": 4}},
			map[string]NodeState{"a": NodeLive, "b": NodeDead}},
		{"no lease moves",
			nodeRecords{records{"a": 1, "b": 2}, records{"a": 3, "b": 4}}, nodeRecords{records{"a": 1, "b": 2}, records{"a": 3, "b": 4}},
			map[string]NodeState{"a": NodeUnknown, "b": NodeUnknown}},
		{"a Node that has a lease is written by others: it is no sign of life",
			nodeRecords{records{"a": 1, "b": 2}, records{"b": 4}}, nodeRecords{records{"a": 5, "b": 2}, records{"b": 6}},
			map[string]NodeState{"a": NodeLive, "b": NodeDead}},
		{"only such a Node moves",
			nodeRecords{records{"b": 2}, records{"b": 4}}, nodeRecords{records{"b": 2}, records{"b": 6}},
			map[string]NodeState{"b": NodeUnknown}},
		{"no leases at all, as on Kubernetes 1.16",
			nodeRecords{nil, records{"a": 1, "b": 2}}, nodeRecords{nil, records{"a": 5, "b": 2}},
			map[string]NodeState{"a": NodeLive, "b": NodeDead}},
		{"one without a lease, beside one that has it",
			nodeRecords{records{"a": 1}, records{"a": 3, "b": 4}}, nodeRecords{records{"a": 5}, records{"a": 3, "b": 4}},
			map[string]NodeState{"a": NodeLive, "b": NodeDead}},
		{"neither record", nodeRecords{records{"a": 1}, nil}, nodeRecords{records{"a": 5}, nil},
			map[string]NodeState{"a": NodeLive, "b": NodeUnknown}},
		{"a lease is new", nodeRecords{records{"b": 2}, nil}, nodeRecords{records{"a": 5, "b": 2}, nil},
			map[string]NodeState{"a": NodeLive, "b": NodeDead}},
		{"a lease has gone, its Node stays", nodeRecords{records{"a": 1, "b": 2}, records{"b": 3}}, nodeRecords{records{"a": 5}, records{"b": 3}},
			map[string]NodeState{"a": NodeLive, "b": NodeUnknown}},
		{"a lease and its Node have gone", nodeRecords{records{"a": 1, "b": 2}, records{"b": 3}}, nodeRecords{records{"a": 5}, nil},
			map[string]NodeState{"a": NodeLive, "b": NodeUnknown}},
		{"a lease goes back, which no kubelet does", nodeRecords{records{"a": 9, "b": 2}, nil}, nodeRecords{records{"a": 5, "b": 2}, nil},
			map[string]NodeState{"a": NodeLive, "b": NodeDead}},
	} {
		nodes := compareNodes(test.first, test.second)
		for name, want := range test.want {
			if got := nodes.State(name); got != want {
				t.Errorf("%s: node %s is %d, want %d", test.name, name, got, want)
			}
		}
	}
	if (Nodes{}).State("a") != NodeUnknown {
		t.Error("a node of the zero value is known")
	}
}

// still is a source that holds nothing, and fails when it is told to.
type still struct{ err error }

func (s *still) ScanKeys(context.Context, string) iter.Seq2[decode.Record, error] {
	return func(yield func(decode.Record, error) bool) {
		if s.err != nil {
			yield(decode.Record{}, s.err)
		}
	}
}

func TestNodeWatchEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	source := &still{}
	watch, err := WatchNodes(ctx, source, "/registry")
	if err != nil || watch.Left(time.Hour) > time.Hour || watch.Left(time.Hour) < time.Minute || watch.Left(0) != 0 {
		t.Fatalf("%v; %s left", err, watch.Left(time.Hour))
	}
	if _, err := watch.Finish(ctx, time.Nanosecond); err != nil {
		t.Error(err)
	}
	source.err = errors.New("no quorum")
	if _, err := watch.Finish(ctx, time.Nanosecond); !errors.Is(err, source.err) {
		t.Errorf("%v, want the source's error", err)
	}
	cancel()
	if _, err := watch.Finish(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want the end of the context", err)
	}
}
