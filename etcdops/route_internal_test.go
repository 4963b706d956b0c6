package etcdops

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"etcdsweep/test/lab"
	"etcdsweep/test/lab/labtest"
)

// sees makes what a member at an endpoint says: its term, and whom it takes for the leader.
func sees(endpoint string, id, term, leader uint64) MemberVitals {
	return MemberVitals{Member: Member{ID: id, Endpoint: endpoint, RaftTerm: term, Leader: id == leader}, LeaderID: leader}
}

func TestChoice(t *testing.T) {
	silent := MemberVitals{Member: Member{ID: 1, Err: errors.New("silent")}}
	learner := sees("a", 1, 5, 2)
	learner.Learner = true
	for _, test := range []struct {
		name       string
		vitals     []MemberVitals
		configured string
		inUse      string
		want       string
		cause      string // why it is left; empty if what is under way there may go on
	}{
		{"the first choice is the leader", []MemberVitals{sees("a", 1, 5, 2), sees("b", 2, 5, 2)}, "a b", "", "b", "does not answer"},
		{"another leader", []MemberVitals{sees("a", 1, 5, 2), sees("b", 2, 5, 2)}, "a b", "a", "b", ""},
		{"the leader stays", []MemberVitals{sees("a", 1, 5, 2), sees("b", 2, 5, 2)}, "a b", "b", "b", ""},
		{"only a follower is configured", []MemberVitals{sees("a", 1, 5, 2), sees("b", 2, 5, 2)}, "a", "a", "a", ""},
		{"it hangs", []MemberVitals{silent, sees("b", 2, 5, 1), sees("c", 3, 5, 1)}, "a b c", "a", "b", "does not answer"},
		{"it hangs, and was the only one configured", []MemberVitals{silent, sees("b", 2, 5, 1), sees("c", 3, 6, 3)}, "a", "a", "c", "does not answer"},
		{"it is back", []MemberVitals{sees("a", 1, 6, 3), sees("c", 3, 6, 3)}, "a", "c", "a", ""},
		{"it lost the leader", []MemberVitals{sees("a", 1, 5, 0), sees("b", 2, 6, 2)}, "a b", "a", "b", "is cut off from the leader"},
		{"it was cut off, and does not know yet", []MemberVitals{sees("a", 1, 5, 1), sees("b", 2, 6, 2)}, "a b", "a", "b", ""},
		{"an election", []MemberVitals{sees("a", 1, 5, 0), sees("b", 2, 5, 0)}, "a b", "a", "a", ""},
		{"nobody", []MemberVitals{silent}, "a b", "b", "b", ""},
		{"a learner", []MemberVitals{learner, sees("b", 2, 5, 2)}, "a b", "a", "b", "is cut off"},
		{"no leader among them", []MemberVitals{sees("a", 1, 5, 3), sees("b", 2, 5, 3)}, "a b", "b", "b", ""},
	} {
		got, cause := choice(test.vitals, strings.Fields(test.configured), test.inUse)
		switch {
		case got != test.want || (cause == nil) != (test.cause == ""):
			t.Errorf("%s: %s, %v; want %s, %q", test.name, got, cause, test.want, test.cause)
		case cause != nil && (!strings.Contains(cause.Error(), test.cause) || errorCode(cause) != codes.Unavailable):
			t.Errorf("%s: cause %v, want %s", test.name, cause, test.cause)
		}
	}
}

func TestReadOrder(t *testing.T) {
	vitals := []MemberVitals{sees("leader", 1, 5, 1), sees("follower", 2, 5, 1), sees("other", 3, 5, 1), sees("cut off", 4, 5, 0)}
	got := readOrder([]string{"unknown", "cut off", "leader", "follower"}, vitals)
	if want := []string{"follower", "leader", "other", "unknown", "cut off"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := readOrder([]string{"only"}, nil); !slices.Equal(got, []string{"only"}) {
		t.Errorf("of one endpoint that was not looked at: %q", got)
	}
}

// three starts three members as processes, and connects. Nothing but the client's own care for its route ends a request.
func three(t *testing.T) (*lab.Cluster, *Client) {
	t.Helper()
	cluster, err := lab.Start(t.Context(), lab.Config{Dir: t.TempDir(), Members: 3, Binary: labtest.Process(t), PlainText: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Close(); err != nil {
			t.Error(err)
		}
	})
	client, _, err := Connect(t.Context(), Config{Endpoints: cluster.Endpoints(), CommandTimeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return cluster, client
}

// leader returns the leader's number, and makes sure that requests go there and large reads elsewhere.
func leader(t *testing.T, cluster *lab.Cluster, client *Client) int {
	t.Helper()
	if _, err := client.Get(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	status, err := client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	endpoint := client.route.now().endpoint
	if leader := status.Leader(); leader == nil || leader.Endpoint != endpoint {
		t.Fatalf("requests go to %s, the leader is %v", endpoint, leader)
	}
	if order := client.order(t.Context()); order[2] != endpoint {
		t.Errorf("large reads try %q, the leader is %s", order, endpoint)
	}
	return slices.Index(cluster.Endpoints(), endpoint)
}

// A request to a leader that hangs ends long before its time, and those after it go to who answers.
func TestLeavesALeaderThatHangs(t *testing.T) {
	labtest.NoLeaks(t)
	cluster, client := three(t)
	i := leader(t, cluster, client)
	if err := cluster.PauseMember(i); err != nil {
		t.Fatal(err)
	}
	for again := true; again; { // a write is not made again by itself
		_, _, err := client.DeleteIf(t.Context(), "k", 1, 1)
		if again = err != nil; again && !NoAnswer(err) {
			t.Fatal(err)
		}
	}
	if endpoint := client.route.now().endpoint; endpoint == cluster.Endpoints()[i] {
		t.Errorf("requests go to %s, which hangs", endpoint)
	}
	if _, err := client.Get(t.Context(), "k"); err != nil {
		t.Error(err)
	}
	if err := cluster.ResumeMember(i); err != nil {
		t.Fatal(err)
	}
}

// A look ends requests that hang before they are suspected themselves.
func TestALookLeavesAMemberThatHangs(t *testing.T) {
	cluster, client := three(t)
	i := leader(t, cluster, client)
	before := client.route.now()
	if err := cluster.PauseMember(i); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Vitals(t.Context()); err != nil {
		t.Fatal(err)
	}
	if now := client.route.now(); now.endpoint == before.endpoint || before.here.Err() == nil || before.stay.Err() == nil {
		t.Errorf("requests go to %s still, or hang there: %v, %v", now.endpoint, context.Cause(before.here), context.Cause(before.stay))
	}
	if err := cluster.ResumeMember(i); err != nil {
		t.Fatal(err)
	}
}

// Reads are made again at another member when theirs is killed, and go back to a leader that was elected meanwhile.
func TestLeavesALeaderThatIsKilled(t *testing.T) {
	labtest.NoLeaks(t)
	cluster, client := three(t)
	i := leader(t, cluster, client)
	if err := cluster.KillMember(i); err != nil {
		t.Fatal(err)
	}
	for range 3 { // the election ends some of them
		if _, err := client.GetAll(t.Context(), []string{"a", "b"}); err == nil {
			break
		} else if !NoAnswer(err) {
			t.Fatal(err)
		}
	}
	for tick := time.NewTicker(20 * time.Millisecond); ; <-tick.C {
		vitals, err := client.Vitals(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		endpoint := client.route.now().endpoint
		if slices.ContainsFunc(vitals, func(m MemberVitals) bool { return m.Leader && m.Endpoint == endpoint }) {
			break
		}
	}
}
