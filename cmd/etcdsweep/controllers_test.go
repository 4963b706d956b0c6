package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"etcdsweep/decode"
	"etcdsweep/plan"
	"etcdsweep/plan/controllers"
	"etcdsweep/plan/run"
)

// leader is a source of a lease that its holder renews every 2 s, a little after the full second, until it is stopped; the
// next holder takes over later, if there is one.
type leader struct {
	begun             time.Time
	stops, next, ends float64 // seconds
}

func (l leader) Get(_ context.Context, key string) (*decode.Record, error) {
	if !strings.Contains(key, "/leases/") {
		return nil, nil
	}
	second := time.Since(l.begun).Seconds()
	holder, revision := "master1_a", 100+int64((min(second, l.stops)+1.7)/2)
	if second > l.next {
		holder, revision = "master2_b", 1000+int64((min(second, l.ends)+1.7)/2)
	}
	value := fmt.Sprintf(`{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","spec":{"holderIdentity":%q}}`, holder)
	return &decode.Record{Key: key, Value: []byte(value), ModRevision: revision}, nil
}

const never = 1e9

// conversation is a terminal and a leader for a conversation, in a bubble of synctest.
type conversation struct {
	watch    *controllers.Watch
	lines    *lines
	keyboard *io.PipeWriter
	screen   *screen
	shown    *safeBuffer // on the terminal
	log      *safeBuffer // of the run
	cancel   func()
}

func newStage(t *testing.T, l leader) *conversation {
	in, keyboard := io.Pipe()
	shown, log := new(safeBuffer), new(safeBuffer)
	screen := newScreenOn(shown, true)
	screen.file = slog.New(slog.NewTextHandler(log, nil))
	l.begun = time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	st := &conversation{
		watch:    controllers.Start(ctx, l, "/registry", controllers.DefaultInterval, time.Now),
		lines:    newLines(in),
		keyboard: keyboard,
		screen:   screen,
		shown:    shown,
		log:      log,
	}
	t.Cleanup(func() {
		cancel()
		st.watch.Wait()
		screen.close()
		_ = keyboard.Close() // and with it the read that stays behind
	})
	return st
}

// later does something after a while, while the conversation goes on.
func later(d time.Duration, do func()) { time.AfterFunc(d, do) }

func (st *conversation) enter() { st.types("") }

func (st *conversation) types(line string) { fmt.Fprintln(st.keyboard, line) }

// shows checks the screen: what is on it, and that it fits.
func (st *conversation) shows(t *testing.T, want ...string) {
	t.Helper()
	st.screen.close()
	text := st.shown.String()
	for _, words := range want {
		if !strings.Contains(text, words) {
			t.Errorf("%q is not on the screen:\n%s", words, text)
		}
	}
	for line := range strings.SplitSeq(regexp.MustCompile(`(\x1b\[\d+A)?\r\x1b\[J`).ReplaceAllString(text, "\n"), "\n") {
		if len([]rune(line)) > width {
			t.Errorf("wider than %d columns: %q", width, line)
		}
	}
}

func TestOfferStop(t *testing.T) {
	kubeadm := node("/nowhere").staticPod("a static pod", "/etc/kubernetes/manifests")
	kubeadm.note = ""
	tests := []struct {
		name    string
		leader  leader
		layout  layout
		meddle  func(st *conversation, cancel func())
		stopped bool
		refused bool
		err     error
		shows   []string
		logs    []string
	}{
		{
			name: "the operator stops it", leader: leader{stops: 20, next: never}, layout: kubeadm, stopped: true,
			shows: []string{
				"kube-controller-manager is alive: master1_a leads.", "On EVERY control-plane node, as root:\n\n  mkdir -p /etc/kubernetes/etcdsweep-parked\n",
				"  mv /etc/kubernetes/manifests/kube-controller-manager.yaml \\\n     /etc/kubernetes/etcdsweep-parked/\n",
				"it is alive", "it stands still: 20s of 30s", "\x1b[Jstopped: none has led for 30s, twice the lease duration of 15s;\na standby would have taken over by now\n",
			},
		},
		{
			name: "another one takes over", leader: leader{stops: 20, next: 43, ends: 60}, layout: kubeadm, stopped: true,
			shows: []string{"now master2_b leads: stop it there as well\n", "stopped: "},
		},
		{
			name: "alive", leader: leader{stops: never, next: never}, layout: layout{}, meddle: func(st *conversation, _ func()) { st.types(" alive ") },
			shows: []string{"This node does not show how it is run. On EVERY control-plane node, stop it", "going on with it alive\n"},
			logs:  []string{"master1_a leads", `msg=typed text=alive`, `msg=said text="going on with it alive"`},
		},
		{
			name: "Enter, typed ahead, and other words", leader: leader{stops: 40, next: never}, layout: layout{}, stopped: true,
			meddle: func(st *conversation, _ func()) { st.enter(); st.types("Alive?"); st.types("yes") },
			shows:  []string{"\x1b[JTo go on with it alive, type alive and Enter. Ctrl-C ends.\n", "stopped: "},
			logs:   []string{"msg=typed text=Alive?", "msg=waiting state=\"it stands still: "},
		},
		{
			name: "lost terminal, and then it is stopped", leader: leader{stops: 40, next: never}, layout: k3s(), stopped: true,
			meddle: func(st *conversation, _ func()) { _ = st.keyboard.CloseWithError(io.ErrUnexpectedEOF) },
			shows:  []string{"systemctl restart k3s", "one node after the other", "no answer can be read here: waiting on until it has stopped, for up to 10m0s\n", "stopped: "},
			logs:   []string{"no answer can be read here"},
		},
		{
			name: "lost terminal, and it is never stopped", leader: leader{stops: never, next: never}, layout: k3s(), refused: true,
			meddle: func(st *conversation, _ func()) { _ = st.keyboard.CloseWithError(io.ErrUnexpectedEOF) },
			shows:  []string{"no answer can be read here"},
		},
		{
			name: "lost terminal, then interrupted", leader: leader{stops: never, next: never}, layout: k3s(), err: run.ErrInterrupted,
			meddle: func(st *conversation, cancel func()) {
				_ = st.keyboard.CloseWithError(io.ErrUnexpectedEOF)
				later(time.Minute, cancel)
			},
			shows: []string{"no answer can be read here"},
		},
		{
			name: "interrupted", leader: leader{stops: never, next: never}, layout: node("/nowhere").rke2(), meddle: func(_ *conversation, cancel func()) { cancel() },
			err: run.ErrInterrupted, shows: []string{"Do not restart rke2-server"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := newStage(t, test.leader)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if sight, err := st.watch.Await(ctx, controllers.DefaultStill); err != nil || !sight.Moving {
					t.Fatalf("%+v, %v", sight, err)
				}
				if test.meddle != nil {
					later(7*time.Second, func() { test.meddle(st, cancel) })
				}
				stopped, err := offerStop(ctx, st.watch, test.layout, controllers.DefaultStill, st.screen, st.lines)
				if stopped != test.stopped || is[*plan.RefusedError](err) != test.refused || !test.refused && !errors.Is(err, test.err) {
					t.Errorf("stopped %t, error %v", stopped, err)
				}
				st.shows(t, test.shows...)
				for _, words := range test.logs {
					if log := st.log.String(); !strings.Contains(log, words) {
						t.Errorf("%q is not in the log:\n%s", words, log)
					}
				}
			})
		})
	}
}

func TestOfferStart(t *testing.T) {
	for name, meddle := range map[string]func(*conversation){
		"back": nil, "Enter": (*conversation).enter, "Ctrl-C": func(st *conversation) { st.cancel() }, "lost terminal": func(st *conversation) { _ = st.keyboard.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := newStage(t, leader{next: 40, ends: never})
				begun := time.Now()
				if meddle != nil {
					later(7*time.Second, func() { meddle(st) })
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				st.cancel = cancel
				back, err := offerStart(ctx, st.watch, node("/nowhere").rke2(), st.screen, st.lines)
				if back != (meddle == nil) || err != nil {
					t.Errorf("back %t, error %v", back, err)
				}
				words := "kube-controller-manager is back: master2_b leads\n"
				if meddle != nil {
					words = "not back yet\n"
					if took := time.Since(begun); took > 8*time.Second {
						t.Errorf("took %v", took)
					}
				}
				st.shows(t, words, "  mv -n \\\n     /var/lib/rancher/rke2/agent/etcdsweep-parked/kube-controller-manager.yaml \\\n     /var/lib/rancher/rke2/agent/pod-manifests/\n")
			})
		})
	}
}

// The second conversation takes over the read that the first one has left behind. What was typed in between is not for it.
func TestOffersShareTheKeyboard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, leader{stops: 20, next: never})
		if stopped, err := offerStop(t.Context(), st.watch, layout{}, controllers.DefaultStill, st.screen, st.lines); !stopped || err != nil {
			t.Fatal(stopped, err)
		}
		st.enter() // during the sweep
		synctest.Wait()
		later(0, st.enter) // this one as well: nobody has read it yet
		synctest.Wait()
		later(30*time.Second, st.enter)
		begun := time.Now()
		if back, err := offerStart(t.Context(), st.watch, layout{}, st.screen, st.lines); back || err != nil {
			t.Error(back, err)
		}
		if took := time.Since(begun); took != 30*time.Second {
			t.Errorf("took %v: the Enter of before counted", took)
		}
	})
}

func TestFoldCommand(t *testing.T) {
	long := "/" + strings.Repeat("x", 60)
	for _, test := range []struct{ command, want string }{
		{"systemctl stop kube-controller-manager", "systemctl stop kube-controller-manager"},
		{"mv /a /b", "mv /a /b"},
		{"mv " + long + " /bbbbbbbbbbbbbbbbbb", "mv " + long + " \\\n     /bbbbbbbbbbbbbbbbbb"},
		{"mv -n " + long + "yyyyyyyyyyyy /b", "mv -n \\\n     " + long + "yyyyyyyyyyyy \\\n     /b"},
		{"mv " + long + " '/b c /d eeeeeeeeeeeeeee'", "mv " + long + " '/b c /d eeeeeeeeeeeeeee'"},
	} {
		if got := foldCommand(test.command); got != test.want {
			t.Errorf("%q: got %q, want %q", test.command, got, test.want)
		}
	}
}
