package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"etcdsweep/plan/controllers"
)

// offerStop is the conversation before a run, on a terminal: kube-controller-manager is alive, and best stopped. It returns
// true once no record of it has moved for as long as the lease duration needs; false when the operator goes on with it alive by Enter, or when the terminal
// is lost, since nobody can stop anything from there. The error is run.ErrInterrupted when ctx ends, else the watch's.
func offerStop(ctx context.Context, w *controllers.Watch, l layout, lease time.Duration, s streams, input *lines) (stopped bool, err error) {
	leader := w.Sight().Holder
	fmt.Fprintf(s.err, "\n%s is alive: %s leads.\n", controllerManager, cmp.Or(leader, "one"))
	fmt.Fprint(s.err, `It is best stopped until the sweep is over. Then nothing makes new pods, no
garbage collector deletes more than the plan says, no entry drifts, and undo can
put everything back as it was. Running pods are not touched by that.

`)
	printLayout(s.err, l, "stop", l.stop)
	fmt.Fprint(s.err, "\nWaiting until it has stopped. Enter goes on with it alive, Ctrl-C ends.\n")

	status := statusLine{s.err}
	sight, end, err := unlessEnter(ctx, input, func(ctx context.Context) (controllers.Sight, error) {
		return w.AwaitStill(ctx, lease, func(sight controllers.Sight) {
			if holder := sight.Holder; holder != "" && holder != leader {
				if leader != "" {
					status.clear()
					fmt.Fprintf(s.err, "now %s leads: stop it there as well\n", holder)
				}
				leader = holder
			}
			status.set(stopStatus(sight, lease))
		})
	})
	status.clear()
	switch {
	case err != nil:
		return false, err
	case end == endSeen:
		fmt.Fprintf(s.err, "stopped: none has led for %s, twice the lease duration of %s;\na standby would have taken over by now\n",
			rounded(sight.Needs(lease)), rounded(lease))
		return true, nil
	case end == endInput:
		fmt.Fprintln(s.err, "the terminal is lost: going on with it alive")
	default:
		fmt.Fprintln(s.err, "going on with it alive")
	}
	return false, nil
}

// stopStatus is what the waiting operator sees.
func stopStatus(sight controllers.Sight, lease time.Duration) string {
	switch {
	case sight.Err != nil:
		return "etcd does not answer: " + sight.Err.Error()
	case sight.Still < 5*time.Second: // a living leader moves every two
		return "it is alive"
	}
	return fmt.Sprintf("it stands still: %s of %s", rounded(sight.Still.Truncate(time.Second)), rounded(sight.Needs(lease)))
}

// offerStart is the conversation after a run through which kube-controller-manager stood still, on a terminal. It returns true
// once one leads again; false when the operator does not wait, by Enter, or when the terminal is lost. Errors are those
// of offerStop.
func offerStart(ctx context.Context, w *controllers.Watch, l layout, s streams, input *lines) (back bool, err error) {
	fmt.Fprintf(s.err, "\n%s is stopped, and the cluster needs it. Start it again.\n", controllerManager)
	printLayout(s.err, l, "start", l.start)
	fmt.Fprint(s.err, "\nWaiting until one leads, which can take a minute. Enter ends the wait.\n")

	status := statusLine{s.err}
	sight, end, err := unlessEnter(ctx, input, func(ctx context.Context) (controllers.Sight, error) {
		return w.AwaitMove(ctx, func(sight controllers.Sight) {
			status.set("it stands still, for " + rounded(sight.Still.Truncate(time.Second)))
		})
	})
	status.clear()
	switch {
	case err != nil:
		return false, err
	case end == endSeen:
		fmt.Fprintf(s.err, "%s is back: %s leads\n", controllerManager, cmp.Or(sight.Holder, "one"))
		return true, nil
	case end == endInput:
		fmt.Fprintf(s.err, "the terminal is lost, and %s not back yet\n", controllerManager)
	default:
		fmt.Fprintf(s.err, "not waiting: %s is not back yet\n", controllerManager)
	}
	return false, nil
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

// statusLine is a line of a terminal that is written over.
type statusLine struct{ w io.Writer }

func (l statusLine) set(words string) {
	runes := []rune(strings.Join(strings.Fields(words), " "))
	fmt.Fprintf(l.w, "\r\x1b[K%s", string(runes[:min(len(runes), width-1)]))
}

func (l statusLine) clear() { fmt.Fprint(l.w, "\r\x1b[K") }
