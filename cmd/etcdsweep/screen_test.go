package main

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"etcdsweep/plan/journal"
	"etcdsweep/plan/run"
)

// The line that moves is drawn by goroutines of its own. However events and drawing meet, nothing waits for ever, and
// nothing is left behind.
func TestScreenOnATerminal(t *testing.T) {
	defer goleak.VerifyNone(t)
	var out safeBuffer
	s := &screen{err: &out} // without a log: as on a terminal
	defer s.close()
	s.observe(run.StepBegan{Step: run.StepPods, Total: 500})
	var workers sync.WaitGroup
	var mu sync.Mutex // the engine calls its observer one call at a time
	for range 4 {
		workers.Go(func() {
			for i := range 125 {
				mu.Lock()
				s.observe(run.Judged{Step: run.StepPods, Outcome: journal.Deleted})
				if i%25 == 0 {
					s.observe(run.Warning{Text: "look here"})
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	s.observe(run.StepEnded{Step: run.StepPods, Words: "500 deleted"})
	s.observe(run.StepBegan{Step: run.StepSettle})
	s.observe(run.Settling{Quiet: time.Second, Need: 5 * time.Second})
	s.observe(run.StepEnded{Step: run.StepSettle, Words: "quiet"})
	text := out.String()
	for _, want := range []string{"warning: look here\n", "pods       500 deleted\n", "settle     quiet\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not on the screen: %q", want, text)
		}
	}
}

// Without a terminal there are log lines, one for each step's end at least, and no control characters.
func TestScreenWithoutATerminal(t *testing.T) {
	var out bytes.Buffer
	s := newScreen(&out)
	s.observe(run.StepBegan{Step: run.StepRoots, Total: 1})
	s.observe(run.Judged{Step: run.StepRoots, Outcome: journal.Deleted})
	s.observe(run.Warning{Text: "look here"})
	s.observe(run.StepEnded{Step: run.StepRoots, Words: "1 deleted"})
	s.close()
	text := out.String()
	if !strings.Contains(text, `level=WARN msg="look here"`) || !strings.Contains(text, `level=INFO msg=roots result="1 deleted"`) || strings.ContainsAny(text, "\r\x1b") {
		t.Errorf("log: %q", text)
	}
}

func TestPace(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	p := newPace(start, 1000, count)
	for tick := 1; tick <= 80; tick++ { // 10 a tick, 40 a second, for 20 s; then nothing
		p.at(start.Add(time.Duration(tick)*250*time.Millisecond), int64(tick*10))
	}
	now := start.Add(20 * time.Second)
	if got, want := p.words(now), "800/1,000  40/s  ETA 5s"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := p.words(now.Add(5*time.Second)), "800/1,000  20/s  ETA 10s"; got != want {
		t.Errorf("after a stall: %q, want %q", got, want)
	}
	p.say("waiting")
	if got := p.words(now); got != "waiting" {
		t.Errorf("%q, want the note", got)
	}
}

// safeBuffer is written by the goroutines that draw.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
