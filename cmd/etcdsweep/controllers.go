package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"etcdsweep/plan"
	"etcdsweep/plan/controllers"
	"etcdsweep/plan/run"
)

// lostFor is how long a run waits for kube-controller-manager to be stopped while nobody can answer: whoever was asked may be
// at it, over another connection.
const lostFor = 10 * time.Minute

// offerStop is the conversation before a run, on a terminal: kube-controller-manager is alive, and best stopped. It returns
// true once no record of it has moved for as long as the lease duration needs; false when the operator goes on with it alive,
// by a word that nobody types by accident. A terminal that is lost is no answer: nothing is written yet, so it goes on waiting,
// and after lostFor the error is a *plan.RefusedError. It is run.ErrInterrupted when ctx ends, else the watch's.
func offerStop(ctx context.Context, w *controllers.Watch, l layout, lease time.Duration, s *screen, input *lines) (stopped bool, err error) {
	const question = "To go on with it alive, type alive and Enter. Ctrl-C ends.\n"
	leader := w.Sight().Holder
	var text strings.Builder
	fmt.Fprintf(&text, "\n%s is alive: %s leads.\n", controllerManager, cmp.Or(leader, "one"))
	text.WriteString(`It is best stopped until the sweep is over. Then nothing makes new pods, no
garbage collector deletes more than the plan says, no entry drifts, and undo can
put everything back as it was. Running pods are not touched by that.

`)
	printLayout(&text, l, "stop", l.stop)
	s.say(text.String() + "\nWaiting until it has stopped.\n" + question)

	var asked, lost time.Time // of the read under way, and of the first one in a row that failed
	asked = time.Now()
	answer := func(typed line) (alive bool, err error) {
		now := time.Now()
		lasted := now.Sub(asked)
		asked = now
		switch word := strings.TrimSpace(typed.text); {
		case typed.err != nil && (lost.IsZero() || lasted > 2*askAgain): // it could be read in between
			lost = now
			s.say(fmt.Sprintf("no answer can be read here: waiting on until it has stopped, for up to %s\n", lostFor))
		case typed.err != nil && now.Sub(lost) >= lostFor:
			return false, &plan.RefusedError{
				Reason: fmt.Sprintf("%s is alive, and for %s no answer could be read from the terminal", controllerManager, lostFor),
				Advice: "stop it and give the same command again; with --confirm and </dev/null nothing is asked, and the run goes on with it alive",
			}
		case typed.err != nil:
		default:
			s.heard(word)
			if alive = word == "alive"; !alive {
				s.say(question)
			}
		}
		return alive, nil
	}
	sight, stopped, err := meanwhile(ctx, input, func(ctx context.Context) (controllers.Sight, error) {
		return w.AwaitStill(ctx, lease, func(sight controllers.Sight) {
			if holder := sight.Holder; holder != "" && holder != leader {
				if leader != "" {
					s.say(fmt.Sprintf("now %s leads: stop it there as well\n", holder))
				}
				leader = holder
			}
			s.wait(stopStatus(sight, lease))
		})
	}, answer)
	s.wait("")
	switch {
	case err != nil:
		return false, err
	case stopped:
		s.say(fmt.Sprintf("stopped: none has led for %s, twice the lease duration of %s;\na standby would have taken over by now\n", sight.Needs(lease), lease))
	default:
		s.say("going on with it alive\n")
	}
	return stopped, nil
}

// stopStatus is what the waiting operator sees.
func stopStatus(sight controllers.Sight, lease time.Duration) string {
	switch {
	case sight.Err != nil:
		return "etcd does not answer: " + sight.Err.Error()
	case sight.Still < lease/3: // a living leader writes seven times in a lease duration
		return "it is alive"
	}
	return fmt.Sprintf("it stands still: %s of %s", rounded(sight.Still.Truncate(time.Second)), sight.Needs(lease))
}

// offerStart is the conversation after a run through which kube-controller-manager stood still, on a terminal. It returns true
// once one leads again; false when the operator does not wait, by Enter or Ctrl-C, or when the terminal is lost. The error
// is the watch's.
func offerStart(ctx context.Context, w *controllers.Watch, l layout, s *screen, input *lines) (back bool, err error) {
	var text strings.Builder
	fmt.Fprintf(&text, "\n%s is stopped, and the cluster needs it. Start it again.\n", controllerManager)
	printLayout(&text, l, "start", l.start)
	s.say(text.String() + "\nWaiting until one leads, which can take a minute. Enter ends the wait.\n")

	const ahead = time.Second // a line that comes sooner was typed during the run
	why, asked := "not waiting", time.Now()
	sight, back, err := meanwhile(ctx, input, func(ctx context.Context) (controllers.Sight, error) {
		return w.AwaitMove(ctx, func(sight controllers.Sight) {
			s.wait("it stands still, for " + rounded(sight.Still.Truncate(time.Second)))
		})
	}, func(typed line) (bool, error) {
		if typed.err != nil {
			why = "no answer can be read here"
		}
		return typed.err != nil || time.Since(asked) >= ahead, nil
	})
	s.wait("")
	switch {
	case back:
		s.say(fmt.Sprintf("%s is back: %s leads\n", controllerManager, cmp.Or(sight.Holder, "one")))
	case err != nil && !errors.Is(err, run.ErrInterrupted):
		return false, err
	default:
		s.say(fmt.Sprintf("%s: %s is not back yet\n", why, controllerManager))
	}
	return back, nil
}

// printLayout prints how to stop or start kube-controller-manager.
func printLayout(w io.Writer, l layout, verb string, commands []string) {
	if l.name == "" {
		fmt.Fprintf(w, `This node does not show how it is run. On EVERY control-plane node, %s it the
way that it is run there: a manifest among the kubelet's static pods, a systemd
unit, a container, or a part of another server.
`, verb)
		return
	}
	fmt.Fprintf(w, "It is %s here. On EVERY control-plane node, as root:\n\n", l.name)
	for _, command := range commands {
		fmt.Fprintf(w, "  %s\n", foldCommand(command))
	}
	if l.note != "" {
		fmt.Fprintf(w, "\n%s\n", l.note)
	}
}

// foldCommand breaks a command that is too long for the screen before its paths, where a shell takes it for one all the same.
// One whose paths are quoted stays as it is.
func foldCommand(command string) string {
	const room = width - len("  ") - len(` \`)
	parts := strings.Split(command, " /")
	if len(command)+2 <= width || slices.ContainsFunc(parts[1:], func(path string) bool { return strings.Contains(path, "'") }) {
		return command
	}
	folded, line := parts[0], len(parts[0])
	for _, path := range parts[1:] {
		if line+len(" /")+len(path) <= room {
			folded, line = folded+" /"+path, line+len(" /")+len(path)
			continue
		}
		folded, line = folded+" \\\n     /"+path, len("   /")+len(path)
	}
	return folded
}
