package main

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"etcdsweep/plan/run"
)

const (
	logEvery   = 5 * time.Second // between two log lines of one step
	rateWindow = 5 * time.Second // that the rate is taken over
)

// screen shows the steps of a command as they go: on a terminal a line that moves, elsewhere log lines. What it says of a run
// is in the run's log when a call returns; the terminal is drawn behind that, and no call waits for it. It is safe for
// concurrent use.
type screen struct {
	paint *painter
	log   *slog.Logger  // on the screen; nil on a terminal
	file  *slog.Logger  // of a run; nil for other commands
	lease time.Duration // of kube-controller-manager: how long it is watched at first

	mu     sync.Mutex
	step   string
	pace   *pace  // of the step that is under way; nil if there is none
	state  string // what a conversation waits for; "" outside of one
	logged time.Time
}

func newScreen(w io.Writer) *screen { return newScreenOn(w, isTerminal(w)) }

func newScreenOn(w io.Writer, terminal bool) *screen {
	s := &screen{paint: &painter{w: w}}
	if terminal {
		s.paint.line = s.line
	} else {
		s.log = slog.New(slog.NewTextHandler(s.paint, nil))
	}
	return s
}

// line is the line that moves.
func (s *screen) line() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state != "":
		return s.state
	case s.pace == nil:
		return ""
	}
	return fmt.Sprintf("%-11s %s", s.step, s.pace.drawn(time.Now()))
}

// begin opens a step that counts in a unit; total is 0 if it is not known.
func (s *screen) begin(step string, total int64, unit func(int64) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.step, s.pace, s.logged = step, newPace(time.Now(), total, unit), time.Now()
	s.redraw()
}

// redraw draws the line that moves at once, on a terminal.
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
	if s.pace != nil {
		s.pace.at(time.Now(), done)
		s.logNow(s.step, s.pace.attrs)
	}
}

// logNow writes a log line, if the last one is long enough ago.
func (s *screen) logNow(what string, attrs func(time.Time) []any) {
	if now := time.Now(); now.Sub(s.logged) >= logEvery {
		s.logged = now
		for _, log := range s.logs() {
			log.Info(what, attrs(now)...)
		}
	}
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

// note says what the step waits for, until it is told "".
func (s *screen) note(words string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pace == nil {
		return
	}
	s.pace.note = words
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
	s.pace = nil
	for _, log := range s.logs() {
		log.Info(s.step, "result", words)
	}
	if s.log == nil {
		s.paint.put(fmt.Sprintf("%-11s %s\n", s.step, words))
	}
}

// warn prints a warning, and lets the line that moves go on below it.
func (s *screen) warn(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, log := range s.logs() {
		log.Warn(text)
	}
	if s.log == nil {
		warn(s.paint, text)
	}
}

// say prints what a conversation says: lines, whole.
func (s *screen) say(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, log := range s.logs() {
		log.Info("said", "text", strings.TrimSpace(text))
	}
	if s.log == nil {
		s.paint.put(text)
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

// wait shows in the line that moves what a conversation waits for, until it is told "".
func (s *screen) wait(words string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = strings.Join(strings.Fields(words), " ")
	if s.state == "" {
		return
	}
	s.redraw()
	s.logNow("waiting", func(time.Time) []any { return []any{"state", s.state} })
}

// close takes the line that moves away, and writes what was not written yet, within a bound. What is said afterwards is
// written all the same, and wants another close.
func (s *screen) close() {
	s.mu.Lock()
	s.pace, s.state = nil, ""
	s.mu.Unlock()
	s.paint.close()
}

// observe draws the events of a run.
func (s *screen) observe(event run.Event) {
	switch e := event.(type) {
	case run.StepBegan:
		unit := count
		if e.Step == run.StepSnapshot {
			unit = size
		}
		s.begin(string(e.Step), e.Total, unit)
		if e.Step == run.StepControllers && s.lease > 0 {
			s.note(fmt.Sprintf("watching its lease, up to %s", s.lease))
		}
	case run.StepEnded:
		s.end(e.Words)
	case run.Advanced:
		s.advance(e.Done)
	case run.Judged:
		s.judged()
	case run.Settling:
		s.settling(e)
	case run.Warning:
		s.warn(e.Text)
	}
}

func (s *screen) judged() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pace != nil {
		s.to(s.pace.done + 1)
	}
}

func (s *screen) settling(e run.Settling) {
	words := fmt.Sprintf("no new pod for %s of %s", e.Quiet.Round(100*time.Millisecond), e.Need)
	if e.Waiting {
		words += fmt.Sprintf("; %d born since, %.1f/s, by %s", e.Births, e.PerSec, strings.Join(e.Owners, ", "))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pace != nil {
		s.pace.note = words
	}
	s.logNow(s.step, func(time.Time) []any { return []any{"state", words} })
}

// pace tells how fast a step goes, from what was done over the last seconds.
type pace struct {
	unit        func(int64) string
	total, done int64
	marks       []mark
	note        string // said instead
}

type mark struct {
	at   time.Time
	done int64
}

func newPace(now time.Time, total int64, unit func(int64) string) *pace {
	return &pace{unit: unit, total: total, marks: []mark{{at: now}}}
}

const markEvery = 250 * time.Millisecond

func (p *pace) at(now time.Time, done int64) {
	p.done = done
	if now.Sub(p.marks[len(p.marks)-1].at) >= markEvery {
		p.marks = append(p.marks, mark{now, done})
	}
	for len(p.marks) > 1 && now.Sub(p.marks[1].at) > rateWindow {
		p.marks = p.marks[1:]
	}
}

// perSecond returns the rate and, where it can be told, the time that is left.
func (p *pace) perSecond(now time.Time) (rate float64, eta time.Duration) {
	first := p.marks[0]
	if elapsed := now.Sub(first.at).Seconds(); elapsed > 0 {
		rate = float64(p.done-first.done) / elapsed
	}
	if p.total > p.done && rate > 0 {
		eta = time.Duration(float64(p.total-p.done) / rate * float64(time.Second)).Round(time.Second)
	}
	return rate, eta
}

// drawn returns a bar, where there is a total, and the words.
func (p *pace) drawn(now time.Time) string {
	const long = 24
	if p.total == 0 || p.note != "" {
		return p.words(now)
	}
	done := int(min(p.done, p.total) * long / p.total)
	return "[" + strings.Repeat("=", done) + strings.Repeat("-", long-done) + "] " + p.words(now)
}

func (p *pace) words(now time.Time) string {
	if p.note != "" {
		return p.note
	}
	if p.total == 0 && p.done == 0 {
		return ""
	}
	rate, eta := p.perSecond(now)
	words := p.unit(p.done)
	if p.total > 0 {
		words += "/" + p.unit(p.total)
	}
	words += "  " + p.unit(int64(rate+0.5)) + "/s"
	if eta > 0 {
		words += "  ETA " + eta.String()
	}
	return words
}

func (p *pace) attrs(now time.Time) []any {
	rate, eta := p.perSecond(now)
	attrs := []any{"done", p.done}
	if p.total > 0 {
		attrs = append(attrs, "total", p.total)
	}
	attrs = append(attrs, "per_second", int64(rate))
	if eta > 0 {
		attrs = append(attrs, "eta", eta)
	}
	return attrs
}

func warn(w io.Writer, text string) { fmt.Fprintf(w, "warning: %s\n", text) }
