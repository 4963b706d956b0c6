package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"etcdsweep/plan/run"
)

const (
	logEvery   = 5 * time.Second // between two log lines of one step
	rateWindow = 5 * time.Second // that the rate is taken over
)

// screen shows the steps of a command as they go: on a terminal a line that moves, elsewhere log lines. It is safe for
// concurrent use.
type screen struct {
	mu   sync.Mutex
	err  io.Writer
	log  *slog.Logger // nil on a terminal
	file *slog.Logger // of a run; nil for other commands
	step string
	pace *pace
	bars *mpb.Progress // of the step that is under way, on a terminal
	bar  *mpb.Bar

	logged time.Time
}

func newScreen(w io.Writer) *screen {
	s := &screen{err: w}
	if file, ok := w.(*os.File); !ok || !term.IsTerminal(int(file.Fd())) {
		s.log = slog.New(slog.NewTextHandler(w, nil))
	}
	return s
}

// begin opens a step that counts in a unit; total is 0 if it is not known.
func (s *screen) begin(step string, total int64, unit func(int64) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	s.step, s.pace, s.logged = step, newPace(time.Now(), total, unit), time.Now()
	s.draw()
}

// draw starts the line that moves, on a terminal.
func (s *screen) draw() {
	if s.log != nil || s.pace == nil {
		return
	}
	s.bars = mpb.New(mpb.WithOutput(s.err), mpb.WithWidth(24), mpb.WithRefreshRate(200*time.Millisecond))
	pace := s.pace // drawn by mpb's goroutines, which must not wait for the screen
	filler := mpb.BarFillerBuilder(mpb.SpinnerStyle())
	total, done := pace.progress()
	if total > 0 {
		filler = mpb.BarStyle()
	}
	s.bar = s.bars.New(total, filler,
		mpb.PrependDecorators(decor.Name(fmt.Sprintf("%-10s", s.step))),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return " " + pace.words(time.Now()) })),
		mpb.BarRemoveOnComplete())
	s.bar.SetCurrent(done)
}

// advance says how far the step has come.
func (s *screen) advance(done int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.to(done)
}

func (s *screen) to(done int64) {
	s.pace.at(time.Now(), done)
	if s.bar != nil {
		s.bar.SetCurrent(done)
	}
	s.logNow(s.pace.attrs)
}

// logNow writes a log line, if the last one is long enough ago.
func (s *screen) logNow(attrs func(time.Time) []any) {
	if now := time.Now(); now.Sub(s.logged) >= logEvery {
		s.logged = now
		for _, log := range s.logs() {
			log.Info(s.step, attrs(now)...)
		}
	}
}

// logs returns where log lines go: to the run's log, and where there is no terminal to the screen.
func (s *screen) logs() (all []*slog.Logger) {
	for _, log := range []*slog.Logger{s.log, s.file} {
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
	s.pace.say(words)
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
	s.clear()
	for _, log := range s.logs() {
		log.Info(s.step, "result", words)
	}
	if s.log != nil {
		return
	}
	fmt.Fprintf(s.err, "%-10s %s\n", s.step, words)
}

// warn prints a warning, and lets the line that moves go on below it.
func (s *screen) warn(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, log := range s.logs() {
		log.Warn(text)
	}
	if s.log != nil {
		return
	}
	moving := s.bars != nil
	s.clear()
	warn(s.err, text)
	if moving {
		s.draw()
	}
}

// close takes the line that moves away.
func (s *screen) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
}

func (s *screen) clear() {
	if s.bars == nil {
		return
	}
	s.bar.Abort(true)
	s.bars.Wait()
	s.bars, s.bar = nil, nil
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
	case run.StepEnded:
		s.end(e.Words)
	case run.Advanced:
		s.advance(e.Done)
	case run.Judged:
		s.mu.Lock()
		defer s.mu.Unlock()
		_, done := s.pace.progress()
		s.to(done + 1)
	case run.Settling:
		s.settling(e)
	case run.Warning:
		s.warn(e.Text)
	}
}

func (s *screen) settling(e run.Settling) {
	words := fmt.Sprintf("no new pod for %s of %s", e.Quiet.Round(100*time.Millisecond), e.Need)
	if e.Waiting {
		words += fmt.Sprintf("; %d born since, %.1f/s, by %s", e.Births, e.PerSec, strings.Join(e.Owners, ", "))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pace.say(words)
	s.logNow(func(time.Time) []any { return []any{"state", words} })
}

// pace tells how fast a step goes, from what was done over the last seconds. It is safe for concurrent use.
type pace struct {
	mu          sync.Mutex
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
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = done
	if now.Sub(p.marks[len(p.marks)-1].at) >= markEvery {
		p.marks = append(p.marks, mark{now, done})
	}
	for len(p.marks) > 1 && now.Sub(p.marks[1].at) > rateWindow {
		p.marks = p.marks[1:]
	}
}

func (p *pace) progress() (total, done int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.total, p.done
}

func (p *pace) say(note string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note = note
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

func (p *pace) words(now time.Time) string {
	p.mu.Lock()
	defer p.mu.Unlock()
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
	p.mu.Lock()
	defer p.mu.Unlock()
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
