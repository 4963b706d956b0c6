package main

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"etcdsweep/plan/control"
	"etcdsweep/plan/pace"
)

// terminal is one that wraps its lines anew when its width changes, as most do. It knows the sequences that a painter writes.
type terminal struct {
	mu            sync.Mutex
	columns, high int
	lines         [][]rune
	line, at      int // of the cursor: a line, and a place in it
}

func newTerminal(columns, high int) *terminal {
	return &terminal{columns: columns, high: high, lines: [][]rune{nil}}
}

func (m *terminal) resize(columns, high int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.columns, m.high = columns, high
}

func (m *terminal) size() (columns, rows int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.columns, m.high
}

func (m *terminal) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var text []string
	for _, line := range m.lines {
		text = append(text, string(line))
	}
	return strings.Join(text, "\n")
}

func (m *terminal) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for text := string(p); text != ""; {
		if rest, ok := strings.CutPrefix(text, "\x1b["); ok {
			end := strings.IndexFunc(rest, func(r rune) bool { return r >= '@' })
			m.control(rest[end], rest[:end])
			text = rest[end+1:]
			continue
		}
		r := []rune(text)[0]
		text = text[len(string(r)):]
		m.put(r)
	}
	return len(p), nil
}

func (m *terminal) control(what byte, n string) {
	switch what {
	case 'A':
		times, _ := strconv.Atoi(n)
		for range times { // up
			if m.at = m.rowStart(); m.at >= m.columns {
				m.at -= m.columns
			} else {
				m.line--
				m.at = len(m.lines[m.line])
				m.at = m.rowStart()
			}
		}
	case 'J': // erase what is below
		m.lines = m.lines[:m.line+1]
		m.lines[m.line] = m.lines[m.line][:m.at]
	}
}

func (m *terminal) put(r rune) {
	switch r {
	case '\r':
		m.at = m.rowStart()
	case '\n':
		if m.line++; m.line == len(m.lines) {
			m.lines = append(m.lines, nil)
		}
		m.at = 0
	default:
		m.lines[m.line] = append(m.lines[m.line][:m.at], r)
		m.at++
	}
}

// rowStart is where the row begins that the cursor is in: a line that is too wide takes several. Behind the last column of a row
// it is in that row still.
func (m *terminal) rowStart() int {
	start := m.at / m.columns * m.columns
	if start == m.at && start > 0 && m.at == len(m.lines[m.line]) {
		start -= m.columns
	}
	return start
}

// The lines that move leave nothing behind, however the terminal is resized, and what was said stays.
func TestPainterOnATerminalThatReflows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		screen := newTerminal(80, 24)
		s := newScreenOn(screen, true)
		s.paint.size, s.look = screen.size, look{}
		status := control.Status{Step: "pods", Done: 4512, Total: 10063, PerSecond: 312, ETASeconds: 18, Pace: &pace.Status{
			State: pace.Holding, Allowed: 125, Ceiling: 500, P95: 4_200_000, Baseline: 5_600_000, Reason: "p95 14 ms > 9 ms",
		}}
		for i := range 60 {
			status.Minute.Rate = append(status.Minute.Rate, float64(i))
			status.Minute.P95 = append(status.Minute.P95, 5_000_000)
		}
		var over atomic.Bool
		s.paint.rows = func(columns int) []row {
			if over.Load() {
				return nil
			}
			return draw(&status, columns, s.look, status.Pace.Since)
		}
		said := "preflight   same cluster\n"
		s.paint.put(said)
		paint := func() string {
			for range 2 {
				<-time.After(paintEvery)
			}
			synctest.Wait()
			return screen.String()
		}
		for i, size := range [][2]int{{80, 24}, {40, 24}, {23, 24}, {60, 3}, {80, 24}, {39, 2}, {200, 50}, {7, 1}, {80, 24}} {
			screen.resize(size[0], size[1])
			columns, rows := min(size[0], width), max(size[1]-1, 1)
			var lines []string
			for _, r := range draw(&status, columns, s.look, status.Pace.Since) {
				lines = append(lines, r.text)
			}
			if want := said + strings.Join(lines[:min(rows, len(lines))], "\n"); paint() != want {
				t.Fatalf("size %d, %v:\n%s\nwant\n%s", i, size, screen, want)
			}
			line := strings.Repeat("said ", 20) + "\n" // wider than the screen
			s.paint.put(line)
			said += line
		}
		over.Store(true)
		if got := paint(); got != said {
			t.Errorf("at the end:\n%s\nwant\n%s", got, said)
		}
		s.close()
		if got := screen.String(); got != said {
			t.Errorf("after the end:\n%s\nwant\n%s", got, said)
		}
	})
}
