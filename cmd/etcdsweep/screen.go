package main

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"

	"etcdsweep/plan/control"
	"etcdsweep/plan/pace"
	"etcdsweep/plan/run"
)

const logEvery = 5 * time.Second // between two log lines of one step

// screen shows the steps of a command as they go: on a terminal lines that move, elsewhere log lines. What it says of a run
// is in the run's log when a call returns; the terminal is drawn behind that, and no call waits for it. It is safe for
// concurrent use.
type screen struct {
	paint *painter
	look  look
	log   *slog.Logger  // on the screen; nil on a terminal
	file  *slog.Logger  // of a run; nil for other commands
	lease time.Duration // of kube-controller-manager: how long it is watched at first

	mu       sync.Mutex
	step     string
	progress *progress    // of the step that is under way; nil if there is none
	note     string       // what the step waits for; "" if it goes on
	state    string       // what a conversation waits for; "" outside of one
	tell     func(string) // hears the lines that stay on the screen; nil if nobody does
	logged   time.Time

	remote *control.Status // of a run in another process; nil for one in this
	paced  *pace.Status    // nil before there is one
	minute control.Minute
	second time.Time // the end of its last second
}

func newScreen(w io.Writer) *screen { return newScreenOn(w, movable(w)) }

func newScreenOn(w io.Writer, terminal bool) *screen {
	s := &screen{paint: &painter{w: w}, look: lookOf(os.Getenv)}
	if terminal {
		s.paint.rows, s.paint.colour = s.rows, s.look.colour
	} else {
		s.log = slog.New(slog.NewTextHandler(s.paint, nil))
	}
	return s
}

// rows are the lines that move.
func (s *screen) rows(columns int) []row {
	status := s.status(nil)
	return draw(&status, columns, s.look, time.Now())
}

// status returns what the lines that move are drawn from, with a pace that is newer than the one that was told last; nil for that.
func (s *screen) status(paced *pace.Status) control.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now(time.Now(), cmp.Or(paced, s.paced))
}

func (s *screen) now(now time.Time, paced *pace.Status) control.Status {
	if s.remote != nil {
		return *s.remote
	}
	status := control.Status{Pace: paced, Minute: s.minute.Clone()}
	if s.progress != nil {
		status.Step, status.Waiting = s.step, s.note
		s.progress.fill(&status, now)
	}
	if paced != nil && paced.State == pace.Paused { // nobody knows for how long
		status.ETASeconds = 0
	}
	if s.state != "" { // whoever is asked needs no more
		status.Step, status.Waiting = "", s.state
	}
	return status
}

// begin opens a step that counts in a unit; total is 0 if it is not known.
func (s *screen) begin(step string, total int64, unit control.Unit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.step, s.progress, s.note, s.logged = step, newProgress(now, total, unit), "", now
	s.redraw()
}

// redraw draws the lines that move at once, on a terminal.
func (s *screen) redraw() {
	if s.log == nil {
		s.paint.put("")
	}
}

// advance says how far the step has come.
func (s *screen) advance(done int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.to(done)
}

func (s *screen) to(done int64) {
	if s.progress != nil {
		s.progress.at(time.Now(), done)
		s.logNow()
	}
}

// logNow writes a log line of how the step stands, if the last one is long enough ago.
func (s *screen) logNow() {
	now := time.Now()
	if now.Sub(s.logged) < logEvery {
		return
	}
	status := s.now(now, s.paced)
	what := status.Step
	if what == "" {
		what = "waiting"
	}
	s.logged = now
	for _, log := range s.logs() {
		log.Info(what, attrs(&status)...)
	}
}

// attrs are what a log line says of how a run stands.
func attrs(s *control.Status) (attrs []any) {
	if s.Waiting != "" {
		attrs = append(attrs, "state", s.Waiting)
	} else if s.Step != "" {
		attrs = append(attrs, "done", s.Done)
		if s.Total > 0 {
			attrs = append(attrs, "total", s.Total, "percent", 100*min(s.Done, s.Total)/s.Total)
		}
		attrs = append(attrs, "per_second", int64(s.PerSecond))
		if eta := s.ETA().Round(time.Second); eta > 0 {
			attrs = append(attrs, "eta", eta)
		}
	}
	p := s.Pace
	if p == nil {
		return attrs
	}
	attrs = append(attrs, "pace", string(p.State))
	if !p.Unpaced && p.State != pace.Measuring {
		attrs = append(attrs, "allowed", math.Round(p.Allowed*10)/10)
	}
	if p.P95 > 0 {
		attrs = append(attrs, "p95", p.P95.String(), "baseline", p.Baseline.String())
	}
	if p.Reason != "" {
		attrs = append(attrs, "reason", p.Reason)
	}
	return attrs
}

// logs returns where log lines go: to the run's log, and where there is no terminal to the screen.
func (s *screen) logs() (all []*slog.Logger) {
	for _, log := range []*slog.Logger{s.file, s.log} {
		if log != nil {
			all = append(all, log)
		}
	}
	return all
}

// await says what the step waits for, until it is told "".
func (s *screen) await(words string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.progress == nil {
		return
	}
	s.note = words
	s.redraw()
	if words == "" {
		return
	}
	for _, log := range s.logs() {
		log.Info(s.step, "state", words)
	}
}

// end closes the step, and says what came of it.
func (s *screen) end(words string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.progress = nil
	for _, log := range s.logs() {
		log.Info(s.step, "result", words)
	}
	s.print(fmt.Sprintf("%-*s%s\n", indent, s.step, fold(words, indent)))
}

// warn prints a warning, and lets the lines that move go on below it.
func (s *screen) warn(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, log := range s.logs() {
		log.Warn(text)
	}
	s.print(warning(text))
}

// show takes how a run in another process stands.
func (s *screen) show(status *control.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remote = status
	s.logNow()
}

// hear lets somebody hear the lines that stay on the screen.
func (s *screen) hear(tell func(string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tell = tell
}

// say prints what a conversation says, or a run in another process: lines, whole.
func (s *screen) say(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if said := strings.TrimSpace(text); said != "" {
		for _, log := range s.logs() {
			log.Info("said", "text", said)
		}
	}
	s.print(text)
}

// print puts lines on a terminal, and shows them to those who look on.
func (s *screen) print(text string) {
	if s.log == nil {
		s.paint.put(text)
	}
	if s.tell != nil {
		s.tell(text)
	}
}

// heard notes what was answered in a conversation: the terminal shows it by itself.
func (s *screen) heard(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, log := range s.logs() {
		log.Info("typed", "text", text)
	}
}

// wait shows in the lines that move what a conversation waits for, until it is told "".
func (s *screen) wait(words string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = strings.Join(strings.Fields(words), " ")
	if s.state == "" {
		return
	}
	s.redraw()
	s.logNow()
}

// close takes the lines that move away, and writes what was not written yet, within a bound. What is said afterwards is
// written all the same, and wants another close.
func (s *screen) close() {
	s.mu.Lock()
	s.progress, s.remote, s.state = nil, nil, ""
	s.mu.Unlock()
	s.paint.close()
}

// observe draws the events of a run.
func (s *screen) observe(event run.Event) {
	switch e := event.(type) {
	case run.StepBegan:
		unit := control.Keys
		if e.Step == run.StepSnapshot {
			unit = control.Bytes
		}
		s.begin(string(e.Step), e.Total, unit)
		if e.Step == run.StepControllers && s.lease > 0 {
			s.await(fmt.Sprintf("watching its lease, up to %s", s.lease))
		}
	case run.StepEnded:
		s.end(e.Words)
	case run.Advanced:
		s.advance(e.Done)
	case run.Judged:
		s.judged()
	case run.Settling:
		s.settling(e)
	case run.Paced:
		s.keepPace(e.Status)
	case run.Warning:
		s.warn(e.Text)
	}
}

// keepPace takes what the pace of a run is now.
func (s *screen) keepPace(now pace.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paced = &now
	s.addSeconds(time.Now(), &now)
	if s.progress != nil {
		s.logNow()
	}
}

// addSeconds adds to the minute what has passed of it, by whole seconds: what is told comes a little early or late.
func (s *screen) addSeconds(at time.Time, now *pace.Status) {
	first := at.Add(-time.Second)
	if !s.second.IsZero() {
		first = at.Add(-control.Seconds * time.Second)
	}
	if s.second.Before(first) {
		s.second = first
	}
	for ; at.Sub(s.second) >= time.Second; s.second = s.second.Add(time.Second) {
		s.minute.Add(now)
	}
}

func (s *screen) judged() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.progress != nil {
		s.to(s.progress.done + 1)
	}
}

func (s *screen) settling(e run.Settling) {
	words := fmt.Sprintf("no new pod for %s of %s", e.Quiet.Round(100*time.Millisecond), e.Need)
	if e.Waiting {
		words += fmt.Sprintf("; %d born since, %.1f/s, by %s", e.Births, e.PerSec, strings.Join(e.Owners, ", "))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.progress != nil {
		s.note = words
		s.logNow()
	}
}

// fold breaks words into lines that fit on a screen; all but the first are indented.
func fold(words string, indent int) string {
	var lines []string
	for line := range strings.Lines(text.WrapSoft(words, width-1-indent)) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return strings.Join(lines, "\n"+strings.Repeat(" ", indent))
}

func warning(text string) string { return "warning: " + text + "\n" }

func warn(w io.Writer, text string) { _, _ = io.WriteString(w, warning(text)) }
