package etcdops

import "testing"

// The limit that a server taught only goes down, and never to nothing.
func TestTxnLimit(t *testing.T) {
	var l txnLimit
	for _, step := range []struct{ refused, want int }{{128, 64}, {128, 64}, {64, 32}, {3, 1}, {1, 1}, {64, 1}} {
		if got := l.refused(step.refused); got != step.want || l.get() != step.want {
			t.Fatalf("after %d: %d and %d, want %d", step.refused, got, l.get(), step.want)
		}
	}
}
