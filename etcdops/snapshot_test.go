package etcdops

import (
	"errors"
	"testing"
)

func TestSnapshotSourceIsTheLeastLoadedFollower(t *testing.T) {
	down := errors.New("down")
	for name, c := range map[string]struct {
		members []Member
		want    string // name, or the error
	}{
		"a follower rather than the leader": {[]Member{
			{Name: "a", Leader: true, Revision: 9},
			{Name: "b", Revision: 9, RaftIndex: 100, RaftAppliedIndex: 1, DBSize: 1000},
		}, "b"},
		"the smallest backlog": {[]Member{
			{Name: "a", Revision: 9, RaftIndex: 100, RaftAppliedIndex: 90, DBSize: 1},
			{Name: "b", Revision: 9, RaftIndex: 100, RaftAppliedIndex: 91, DBSize: 2},
			{Name: "c", Leader: true, Revision: 9},
		}, "b"},
		"of equals the smallest file": {[]Member{
			{Name: "a", Revision: 9, RaftIndex: 5, RaftAppliedIndex: 5, DBSize: 2},
			{Name: "b", Revision: 9, RaftIndex: 5, RaftAppliedIndex: 6, DBSize: 1},
		}, "b"},
		"the leader if the followers lag": {[]Member{
			{Name: "a", Revision: 6},
			{Name: "b", Leader: true, Revision: 7},
		}, "b"},
		"the leader if no follower answers": {[]Member{
			{Name: "a", Err: down},
			{Name: "b", Leader: true, Revision: 7},
			{Name: "c", Learner: true, Revision: 9},
		}, "b"},
		"none": {[]Member{
			{Name: "a", Err: down},
			{Name: "b", Leader: true, Revision: 6},
			{ID: 0xbeef, Learner: true, Revision: 9},
		}, "no member will do: a: down; b: at revision 6, want 7; beef: a learner"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := snapshotSource(c.members, 7)
			if name := got.Name; err == nil && name != c.want || err != nil && err.Error() != c.want {
				t.Fatalf("got %q, %v, want %q", name, err, c.want)
			}
		})
	}
}
