package faults_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"etcdsweep/plan/control"
	"etcdsweep/plan/run"
)

// allVariable makes the test strike with all faults, not only with those that differ most.
const allVariable = "ETCDSWEEP_FAULTS"

// fault is something that goes wrong.
type fault struct {
	name  string
	quick bool // one of those that differ most
	args  []string
	alone bool // the tool is told of the leader only
	at    moment

	// before strikes before the apply begins. strike strikes at the moment, and returns what mends it, which is called once the run
	// stands still; or once it has ended, if it has an exit status.
	before func(w *world)
	strike func(w *world) (mend func())

	reason string // expression for what the report says of why it stood still, or why it ended; of what was said, if it did neither
	exit   int    // of the attempt that was struck; after another status than 0 another attempt follows
}

// moment is when a fault strikes.
type moment int

const (
	amongPods      moment = iota // when a third of the pods is gone
	inSnapshot                   // while it is streamed
	amongNewcomers               // when a third of them is gone
	inUndo                       // when a third of the pods is back
)

func faults() []fault {
	return []fault{
		{
			name: "leader killed and back", quick: true, reason: "unreachable|leader|election",
			strike: func(w *world) func() {
				killed := w.kill(w.leader())
				return func() { w.restart(killed...) }
			},
		},
		{
			name: "leader killed, and away", args: []string{"--member-wait", "3s"}, reason: "unreachable|leader",
			strike: func(w *world) func() {
				w.kill(w.leader())
				return func() {}
			},
		},
		{
			name: "follower killed and back", reason: "unreachable",
			strike: func(w *world) func() {
				killed := w.kill(w.followers()[0])
				return func() { w.restart(killed...) }
			},
		},
		{
			name: "leader stands still", quick: true, reason: "unreachable|leader|no answer",
			strike: func(w *world) func() { return w.pause(w.leader()) },
		},
		{
			name: "follower stands still", reason: "unreachable|no answer",
			strike: func(w *world) func() { return w.pause(w.followers()[0]) },
		},
		{
			name: "leader cut off", reason: "leader",
			strike: func(w *world) func() { return w.cut(w.leader()) },
		},
		{
			name: "only endpoint cut off, and stays so", quick: true, alone: true, args: []string{"--member-wait", "3s"}, reason: "leader",
			strike: func(w *world) func() {
				w.cut(w.leader())
				return func() {}
			},
		},
		{
			name: "follower cut off", reason: "leader",
			strike: func(w *world) func() { return w.cut(w.followers()[0]) },
		},
		{
			name: "two of three killed and back", reason: "quorum|unreachable",
			strike: func(w *world) func() {
				killed := w.kill(w.followers()...)
				return func() { w.restart(killed...) }
			},
		},
		{
			name: "majority gone for too long", quick: true, args: []string{"--critical-after", "2s"}, exit: 4, reason: "quorum",
			strike: func(w *world) func() {
				killed := w.kill(w.followers()...)
				return func() { w.restart(killed...) }
			},
		},
		{
			name: "leader killed and back in the snapshot", quick: true, at: inSnapshot, args: []string{"--snapshot-rate", "2MiB"}, reason: "unreachable|leader|election",
			strike: func(w *world) func() {
				killed := w.kill(w.leader())
				return func() { w.restart(killed...) }
			},
		},
		{
			name: "all killed and back in the snapshot", at: inSnapshot, args: []string{"--snapshot-rate", "2MiB"}, reason: "quorum|unreachable",
			strike: func(w *world) func() {
				killed := w.kill(0, 1, 2)
				return func() { w.restart(killed...) }
			},
		},
		{
			name: "two of three killed and back among the newcomers", quick: true, at: amongNewcomers, reason: "quorum|unreachable",
			strike: func(w *world) func() {
				killed := w.kill(w.followers()...)
				return func() { w.restart(killed...) }
			},
		},
		{
			name: "all killed and back in an undo", quick: true, at: inUndo, reason: "quorum|unreachable",
			strike: func(w *world) func() {
				killed := w.kill(0, 1, 2)
				return func() { w.restart(killed...) }
			},
		},
		{
			name: "majority gone for too long in an undo", at: inUndo, args: []string{"--critical-after", "2s"}, exit: 4, reason: "quorum",
			strike: func(w *world) func() {
				killed := w.kill(w.followers()...)
				return func() { w.restart(killed...) }
			},
		},
		{
			name: "corrupt", quick: true, exit: 4, reason: "CORRUPT",
			strike: func(w *world) func() {
				member := w.corrupt(etcdserverpb.AlarmRequest_ACTIVATE, 0)
				return func() { w.corrupt(etcdserverpb.AlarmRequest_DEACTIVATE, member) }
			},
		},
		{
			name: "slow disk",
			strike: func(w *world) func() {
				must(w.t, w.lab.SlowDisk(w.leader(), 100*time.Millisecond))
				w.slowsDown("^p95 of writes |^member .*: .*sync")
				return nil
			},
		},
		{
			name: "member down from the start", quick: true, args: []string{"--allow", "degraded"}, reason: "limited to 100/s: member .* was down from the start",
			before: func(w *world) { w.kill(w.followers()[0]) },
			strike: func(w *world) func() {
				w.deletesAtMost(100)
				return nil
			},
		},
	}
}

// Whatever happens to the members in the middle of an apply or an undo, nothing is lost, and nothing goes that was not planned.
func TestFaults(t *testing.T) {
	ground := prepare(t)
	for _, f := range faults() {
		if !f.quick && os.Getenv(allVariable) == "" {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			f.test(ground.start(t))
		})
	}
}

func (f *fault) test(w *world) {
	t := w.t
	before, revision := w.state()
	p := w.plan()
	if f.at == amongNewcomers {
		w.addNewcomers(p)
		before, revision = w.state()
	}
	if f.before != nil {
		f.before(w)
	}
	args := f.args
	if f.alone {
		args = append(args, "--endpoints", w.lab.Endpoints()[w.leader()])
	}
	begin := w.apply
	began := revision
	if f.at == inUndo {
		w.apply(p).end(0)
		begin, began = w.undo, revision+p.Trailer.Entries
	}
	a := begin(p, args...)
	var mend func()
	if f.strike != nil {
		switch f.at {
		case inSnapshot:
			w.sees(func(s *control.Status) bool { return s.Step == string(run.StepSnapshot) && s.Done > 0 })
		case amongNewcomers:
			a.wrote(began, w.ground.pods+len(w.newcomers)/3)
		default:
			a.wrote(began, w.ground.pods/3)
		}
		mend = f.strike(w)
	}
	resumed := ""
	if mend != nil && f.exit == 0 {
		a.says("paused: ")
		mend()
		resumed = fmt.Sprintf("; the next write %.1f s after it was mended", a.next().Seconds())
	}
	told := a.end(f.exit)
	f.told(t, told, a)
	if f.exit != 0 {
		mend()
		told = begin(p).end(0)
	}
	t.Logf("%s: stood still for %.1f s (%s)%s", f.name, told.paused().Seconds(), reasons(told), resumed)
	if f.at == inUndo {
		w.allBack(p, before, began)
	} else {
		w.nothingLost(p, before, revision)
	}
}

// told checks that the report says why the run stood still or ended, and that it did if it had to.
func (f *fault) told(t *testing.T, told *outcome, a *attempt) {
	t.Helper()
	why := regexp.MustCompile(f.reason)
	switch {
	case f.exit != 0:
		if !why.MatchString(told.Error) {
			t.Errorf("ended for %q, want %s", told.Error, why)
		}
	case f.strike != nil && len(told.Pauses) > 0:
		if !why.MatchString(reasons(told)) {
			t.Errorf("stood still for %q, want %s", reasons(told), why)
		}
	default:
		if !why.MatchString(a.said.String()) {
			t.Errorf("does not say %s:\n%s", why, &a.said)
		}
	}
}

func reasons(told *outcome) string {
	var all []string
	for _, pause := range told.Pauses {
		all = append(all, pause.Reason)
	}
	return strings.Join(all, "; ")
}

// pause makes a member stand still until it is mended.
func (w *world) pause(i int) (mend func()) {
	w.t.Helper()
	must(w.t, w.lab.PauseMember(i))
	return func() { must(w.t, w.lab.ResumeMember(i)) }
}

// cut cuts a member off from the others until it is mended.
func (w *world) cut(i int) (mend func()) {
	w.lab.CutMember(i)
	return func() { w.lab.JoinMember(i) }
}

// corrupt raises the alarm CORRUPT of some member, or disarms that of this one.
func (w *world) corrupt(action etcdserverpb.AlarmRequest_AlarmAction, member uint64) uint64 {
	w.t.Helper()
	if member == 0 {
		list, err := w.etcd.MemberList(w.t.Context(), clientv3.WithSerializable())
		must(w.t, err)
		member = list.Members[0].ID
	}
	_, err := etcdserverpb.NewMaintenanceClient(w.etcd.ActiveConnection()).Alarm(w.t.Context(), &etcdserverpb.AlarmRequest{
		Action: action, Alarm: etcdserverpb.AlarmType_CORRUPT, MemberID: member,
	})
	must(w.t, err)
	return member
}
