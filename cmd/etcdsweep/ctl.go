package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"etcdsweep/durable"
	"etcdsweep/plan"
	"etcdsweep/plan/control"
	"etcdsweep/plan/pace"
	"etcdsweep/plan/run"
)

type ctlOptions struct{ output string }

func newCtlCommand(s streams) *cobra.Command {
	var o ctlOptions
	cmd := &cobra.Command{
		Use:   "ctl RUN-DIR status|watch|pause|resume|rate N|abort",
		Short: "Look at a run that is under way, and slow, pause or end it",
		Long: `Talk to the apply or undo that works in RUN-DIR, from another terminal of this machine.

  status   how far it is, how fast it goes and may go, and why
  watch    the screen of the run, for whoever lost theirs, until it ends; then this
           command ends with the run's exit status. Ctrl-C ends the watching only
  pause    begin nothing more until resume; what is in flight finishes, but a snapshot
           is given up after 30 s, and begun anew: while it lasts etcd's file grows
  resume   go on, also after a pause that a lost member has caused
  rate N   no more than N writes a second from now on, whatever --rate was; no more
           than 100 if a member was down when the run began
  abort    end the run: what is in flight finishes, and the run exits with 4

Who gave a word, and when, is in the run's journal and report. However a run ended, the
command that began it goes on with it.`,
		Example: `  etcdsweep ctl /var/lib/etcdsweep/runs/3f9a1c2e5b7d8f60 status
  etcdsweep ctl /var/lib/etcdsweep/runs/3f9a1c2e5b7d8f60 rate 50
  etcdsweep ctl /var/lib/etcdsweep/runs/3f9a1c2e5b7d8f60 status -o json | jq .pace.reason`,
		Args: func(cmd *cobra.Command, args []string) error {
			_, err := parseWord(cmd.CommandPath(), args)
			return err
		},
		ValidArgsFunction: completeCtl,
		RunE: func(cmd *cobra.Command, args []string) error {
			request, err := parseWord(cmd.CommandPath(), args)
			if err != nil {
				return err
			}
			return o.run(cmd.Context(), args[0], request, s)
		},
	}
	addOutputFlag(cmd, &o.output)
	return cmd
}

// ctlWords are the words of ctl. Only rate takes an argument.
func ctlWords() []control.Word {
	return []control.Word{control.WordStatus, control.WordWatch, control.WordPause, control.WordResume, control.WordRate, control.WordAbort}
}

func completeCtl(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var words []string
	switch len(args) {
	case 0:
		return nil, cobra.ShellCompDirectiveFilterDirs
	case 1:
		for _, word := range ctlWords() {
			words = append(words, string(word))
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

// parseWord reads what is wanted of the run.
func parseWord(command string, args []string) (control.Request, error) {
	if len(args) == 0 {
		return control.Request{}, usagef("%s wants a RUN-DIR, and a word; etcdsweep runs lists the directories", command)
	}
	if len(args) == 1 {
		return control.Request{}, usagef("%s wants a word behind RUN-DIR: status, watch, pause, resume, rate N or abort", command)
	}
	word, rest := control.Word(args[1]), args[2:]
	if !slices.Contains(ctlWords(), word) {
		return control.Request{}, usagef("%q is none of status, watch, pause, resume, rate and abort", word)
	}
	request := control.Request{Word: word, For: os.Getenv("SUDO_USER")}
	if word == control.WordRate {
		if len(rest) == 0 {
			return control.Request{}, usagef("rate wants a number: the most writes a second from now on")
		}
		n, err := strconv.ParseFloat(rest[0], 64)
		if err != nil || !(n > 0) || math.IsInf(n, 0) {
			return control.Request{}, usagef("rate %s: want a number above 0; pause lets nothing go", rest[0])
		}
		request.Rate, rest = n, rest[1:]
	}
	if len(rest) > 0 {
		return control.Request{}, usagef("%s does not take %q", word, rest[0])
	}
	return request, nil
}

func (o *ctlOptions) run(ctx context.Context, path string, request control.Request, s streams) error {
	if err := checkOutput(o.output); err != nil {
		return err
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	dir := &run.Dir{Path: path, FS: durable.OS()}
	if request.Word == control.WordWatch {
		if o.output == outputJSON {
			return usagef("watch draws a screen; status has -o json")
		}
		return watch(ctx, dir, s)
	}
	status, err := control.Ask(ctx, dir.Control(), request)
	if err != nil {
		return explainControl(ctx, dir, request.Word, err)
	}
	if o.output == outputJSON {
		return printJSON(s.out, status)
	}
	printWord(s.out, request, &status, dir)
	printStatus(s.out, &status)
	return nil
}

// printWord says what comes of a word, by how the run stands after it.
func printWord(w io.Writer, request control.Request, status *control.Status, dir *run.Dir) {
	p := status.Pace
	stands := p != nil && p.State == pace.Paused
	if p != nil && p.State == pace.Ended && request.Word != control.WordStatus && request.Word != control.WordAbort {
		fmt.Fprintln(w, "The run is ending already.")
		return
	}
	switch request.Word {
	case control.WordPause:
		fmt.Fprintf(w, "Paused: what is in flight finishes, and nothing more is begun. To go on:\n  etcdsweep ctl %s resume\n", shellQuote(dir.Path))
	case control.WordResume:
		if stands {
			fmt.Fprintf(w, "Resumed, but it stands still for another reason: %s\n", p.Reason)
			return
		}
		fmt.Fprintln(w, "Resumed.")
	case control.WordRate:
		most, why := request.Rate, ""
		if p != nil && p.Ceiling < most {
			why = fmt.Sprintf(", not %s: a member was down when the run began", perSecond(most))
			most = p.Ceiling
		}
		fmt.Fprintf(w, "At most %s from now on%s.\n", perSecond(most), why)
	case control.WordAbort:
		fmt.Fprintln(w, "Aborted: what is in flight finishes. The command that began the run goes on with it.")
	}
}

// printStatus prints what the run's screen shows.
func printStatus(w io.Writer, status *control.Status) {
	columns, look := width, lookOf(os.Getenv)
	look.colour = false
	if file, ok := w.(*os.File); ok {
		if c, _, err := term.GetSize(int(file.Fd())); err == nil && c > 0 {
			columns = min(columns, c)
		}
	}
	fmt.Fprintf(w, "%s of plan %s, process %d\n", status.Command, status.Plan, status.PID)
	for _, r := range draw(status, columns, look, time.Now()) {
		fmt.Fprintln(w, strings.TrimRight(r.text, " "))
	}
}

// watch shows the screen of a run until it ends.
func watch(ctx context.Context, dir *run.Dir, s streams) error {
	screen := newScreen(s.err)
	defer screen.close()
	for answer, err := range control.Watch(ctx, dir.Control()) {
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("%w: the run goes on", run.ErrInterrupted)
		case err != nil:
			return explainControl(ctx, dir, control.WordWatch, err)
		case answer.Status != nil:
			screen.show(answer.Status)
		case answer.Ended != nil:
			screen.close()
			return printEnded(s.out, dir, answer.Ended)
		default:
			screen.say(answer.Said)
		}
	}
	return nil
}

// watchedError is how a run has ended that was watched.
type watchedError struct{ ended control.Ended }

func (e *watchedError) Error() string { return "the run has ended: " + e.ended.Error }

func printEnded(w io.Writer, dir *run.Dir, ended *control.Ended) error {
	fmt.Fprintf(w, "\nThe run has ended: %s\nlog       %s\n", ended.State, dir.Log())
	if ended.Status != 0 {
		return &watchedError{*ended}
	}
	return nil
}

// cutOffError is that a run goes on, and was not heard any more.
type cutOffError struct {
	err    error
	advice string
}

func (e *cutOffError) Error() string { return fmt.Sprintf("%v; it goes on", e.err) }
func (e *cutOffError) Unwrap() error { return e.err }
func (e *cutOffError) Hint() string  { return e.advice }

// explainCutOff says whether a run goes on that was not heard any more, and what to do.
func explainCutOff(dir *run.Dir, word control.Word, err error) error {
	_, p, opened := run.FindDir(dir.FS, dir.Path)
	if opened != nil || !run.UnderWay(dir, p) {
		return &plan.RefusedError{
			Reason: fmt.Sprintf("%v: its process has ended", err),
			Advice: "etcdsweep runs tells how far it came; if it is not done, the command that began it goes on with it",
		}
	}
	again := "etcdsweep ctl " + shellQuote(dir.Path) + " "
	switch word {
	case control.WordWatch:
		return &cutOffError{err, "to watch it again: " + again + string(control.WordWatch)}
	case control.WordStatus:
		return &cutOffError{err, "ask again: it may wait for its disk"}
	}
	return &cutOffError{err, "it may have heard all the same; to see that: " + again + string(control.WordStatus)}
}

// explainControl says why nobody answers for a run that a word was for, and what to do.
func explainControl(ctx context.Context, dir *run.Dir, word control.Word, err error) error {
	switch {
	case errors.Is(err, control.ErrBrokenOff), errors.Is(err, control.ErrSilent):
		return explainCutOff(dir, word, err)
	case errors.Is(err, fs.ErrPermission):
		return &plan.RefusedError{Reason: err.Error(), Advice: "only the user who began the run, and root, can talk to it"}
	case !errors.Is(err, control.ErrNoRun):
		return interrupted(ctx, fmt.Errorf("run in %s: %w", dir.Path, err))
	}
	if _, _, err := run.FindDir(durable.OS(), dir.Path); err != nil {
		return err
	}
	refused := &plan.RefusedError{Reason: "no run is under way in " + dir.Path, Advice: "etcdsweep runs lists the runs of this machine, and how far each came"}
	all, err := run.List(durable.OS(), dir.StateDir())
	if err != nil {
		return refused // that is more than nothing
	}
	for i := range all {
		if all[i].Directory != dir.Path {
			continue
		}
		refused.Reason += ": it is " + shortState(&all[i])
		switch {
		case all[i].State == run.StateRunning || all[i].Undo == run.StateRunning:
			refused.Reason += ", and listens to nobody"
		case !all[i].Finished():
			refused.Advice = "the command that began it goes on with it"
		}
	}
	return refused
}
