package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"etcdsweep/plan/control"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/pace"
	"etcdsweep/plan/run"
)

// The line that moves is drawn by a goroutine of its own. However events and drawing meet, nothing waits for ever, and
// nothing is left behind.
func TestScreenOnATerminal(t *testing.T) {
	defer goleak.VerifyNone(t)
	var out safeBuffer
	s := newScreenOn(&out, true)
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
	s.observe(run.StepEnded{Step: run.StepVerify, Words: strings.Repeat("words ", 12) + "more words"})
	s.close()
	s.warn("and afterwards")
	s.close()
	text := out.String()
	for _, want := range []string{"warning: and afterwards\n", "warning: look here\n", "pods        500 deleted\n", "settle      quiet\n",
		"settle      words words words words words words words words words words words\n            words more words\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not on the screen: %q", want, text)
		}
	}
}

// A screen that blocks stalls nothing: neither what is said, nor the log, nor the end, whether it is a terminal or a pipe.
func TestScreenThatBlocks(t *testing.T) {
	for name, terminal := range map[string]bool{"terminal": true, "pipe": false} {
		t.Run(name, func(t *testing.T) {
			defer goleak.VerifyNone(t)
			nobody, full, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			var log safeBuffer
			s := newScreenOn(full, terminal)
			defer func() {
				_ = nobody.Close() // and with it the write that blocks
				<-s.paint.ended
				_ = full.Close()
			}()
			s.file = slog.New(slog.NewTextHandler(&log, nil))
			const steps = 3 * paintRoom
			begun := time.Now()
			for i := range steps { // much more than the pipe takes
				s.observe(run.StepBegan{Step: run.StepPods, Total: 1})
				s.observe(run.Judged{Step: run.StepPods, Outcome: journal.Deleted})
				s.observe(run.Warning{Text: strings.Repeat("x", 100)})
				s.observe(run.StepEnded{Step: run.StepPods, Words: fmt.Sprintf("step %d is done", i)})
			}
			s.close()
			s.warn("after the end")
			s.close()
			if took := time.Since(begun); took > 2*paintEnd+5*time.Second {
				t.Errorf("took %v", took)
			}
			for _, want := range []string{fmt.Sprintf("step %d is done", steps-1), "after the end"} {
				if !strings.Contains(log.String(), want) {
					t.Errorf("%q is not in the log", want)
				}
			}
		})
	}
}

// A screen that is slow for a while shows how much it has left out.
func TestScreenLeavesOut(t *testing.T) {
	defer goleak.VerifyNone(t)
	reader, slow := io.Pipe()
	s := newScreenOn(slow, true)
	for i := range paintRoom + 100 {
		s.warn(fmt.Sprint(i))
	}
	var read sync.WaitGroup
	var out safeBuffer
	read.Go(func() { _, _ = io.Copy(&out, reader) })
	for !strings.Contains(out.String(), "warning: 900\n") {
		runtime.Gosched()
	}
	s.warn("the last")
	s.close()
	_ = slow.Close()
	read.Wait()
	if text := out.String(); !regexp.MustCompile(`\(\d+ lines are left out here\)\nwarning: the last\n$`).MatchString(text) {
		t.Errorf("ends in %q", text[len(text)-100:])
	}
}

// Before anything is known the screen says what is measured, and for how long.
func TestScreenWatchesTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out safeBuffer
		s := newScreenOn(&out, true)
		s.lease = 15 * time.Second
		s.observe(run.StepBegan{Step: run.StepControllers})
		synctest.Wait()
		if !strings.HasSuffix(out.String(), "\x1b[Jcontrollers watching its lease, up to 15s") {
			t.Errorf("%q", out.String())
		}
		s.close()
	})
}

// The last minute has a value for each of its seconds, however late the pace tells of itself, and whoever looks at it.
func TestMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := session{screen: newScreenOn(io.Discard, false)}
		pacer := pace.New(pace.Defaults(), nil)
		began := time.Now()
		for i := range 41 { // 20 s by ticks of half a second, each a little late
			time.Sleep(time.Until(began.Add(time.Duration(i)*500*time.Millisecond + time.Duration(i%3)*20*time.Millisecond)))
			s.screen.observe(run.Paced{Status: pace.Status{Rate: float64(i)}})
			for range 3 {
				if status := s.status(pacer); status.Pace.Rate != 0 {
					t.Fatalf("shows a pace that was told before: %+v", status.Pace)
				}
			}
		}
		if n := len(s.screen.minute.Rate); n < 20 || n > 21 {
			t.Errorf("%d values for 20 s", n)
		}
		time.Sleep(30 * time.Second) // as a process does that is stopped
		s.screen.observe(run.Paced{})
		if n := len(s.screen.minute.Rate); n < 50 || n > 51 {
			t.Errorf("%d values for 50 s", n)
		}
		time.Sleep(time.Hour)
		s.status(pacer)
		if n := len(s.screen.minute.Rate); n > 51 {
			t.Error("to look at the minute changes it")
		}
		s.screen.observe(run.Paced{})
		if n := len(s.screen.minute.Rate); n != control.Seconds {
			t.Errorf("%d values for a minute", n)
		}
	})
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
