package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

const (
	paintRoom  = 1024                   // texts that wait for a screen that blocks
	paintEvery = 200 * time.Millisecond // how often the lines that move, and the size of the screen, are looked at
	paintEnd   = 2 * time.Second        // how long close waits for a screen that blocks
)

// painter writes to a screen that may block, as a terminal does after Ctrl-S or behind a link that hangs. A goroutine of its
// own writes, and nobody waits for it: what finds no room in its queue is left out, and counted. It is safe for concurrent use.
type painter struct {
	w      io.Writer
	rows   func(columns int) []row // the lines that move, for a screen of so many columns; nil where there is no terminal
	colour bool
	size   func() (columns, rows int) // of the screen; nil for that of w

	mu    sync.Mutex
	queue chan string   // nil while there is no goroutine
	ended chan struct{} // closed when the goroutine that was started last ends
	left  int           // texts that were left out
	lost  bool          // the screen blocked when the painter was closed
}

// Write puts a text into the queue.
func (p *painter) Write(text []byte) (int, error) {
	p.put(string(text))
	return len(text), nil
}

// put puts a text into the queue; "" draws the lines that move at once.
func (p *painter) put(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lost {
		return
	}
	if p.queue == nil {
		before := p.ended
		p.queue, p.ended = make(chan string, paintRoom), make(chan struct{})
		go p.paint(p.queue, before, p.ended)
	}
	if p.left > 0 && text != "" {
		text = fmt.Sprintf("(%d lines are left out here)\n", p.left) + text
	}
	select {
	case p.queue <- text:
		if text != "" {
			p.left = 0
		}
	default:
		if text != "" {
			p.left++
		}
	}
}

// close writes what waits, and ends the goroutine. One whose screen blocks is left behind with it, and the painter writes
// nothing more. Otherwise it may be used again, and closed again.
func (p *painter) close() {
	p.mu.Lock()
	queue, ended := p.queue, p.ended
	p.queue = nil
	p.mu.Unlock()
	if queue == nil {
		return
	}
	close(queue)
	select {
	case <-ended:
	case <-time.After(paintEnd):
		p.mu.Lock()
		defer p.mu.Unlock()
		p.lost = true
	}
}

// paint is the goroutine. It begins when the one before has ended, if there was one, and ends when the queue is closed and empty.
func (p *painter) paint(queue <-chan string, before <-chan struct{}, ended chan<- struct{}) {
	defer close(ended)
	if before != nil {
		<-before
	}
	ticker := time.NewTicker(paintEvery)
	defer ticker.Stop()
	var shown []row
	draw := func(text string, rows []row, columns int) {
		if text == "" && slices.Equal(rows, shown) {
			return
		}
		if len(shown)+len(rows) > 0 {
			text = erase(shown, columns) + text + p.join(rows)
		}
		shown = rows
		_, _ = io.WriteString(p.w, text) // a screen that is gone stops nothing
	}
	for {
		select {
		case text, more := <-queue:
			rows, columns := p.moving()
			if !more {
				draw("", nil, columns)
				return
			}
			draw(text, rows, columns)
		case <-ticker.C:
			rows, columns := p.moving()
			draw("", rows, columns)
		}
	}
}

// erase takes rows away again that end where the cursor is. The screen may be narrower than it was when they were drawn: a
// terminal has wrapped them then.
func erase(rows []row, columns int) string {
	up := -1
	for _, r := range rows {
		up += max(1, (len([]rune(r.text))+columns-1)/columns)
	}
	if up > 0 {
		return fmt.Sprintf("\x1b[%dA\r\x1b[J", up)
	}
	return "\r\x1b[J"
}

func (p *painter) join(rows []row) string {
	var lines []string
	for _, r := range rows {
		if r.alert && p.colour {
			r.text = "\x1b[33m" + r.text + "\x1b[0m"
		}
		lines = append(lines, r.text)
	}
	return strings.Join(lines, "\n")
}

// moving returns the lines that move, as many as the screen has room for below what was said, and the columns of the screen.
func (p *painter) moving() (rows []row, columns int) {
	columns, high := p.measure()
	if p.rows == nil {
		return nil, columns
	}
	rows = p.rows(min(columns, width))
	return rows[:min(len(rows), max(high-1, 1))], columns
}

func (p *painter) measure() (columns, rows int) {
	if p.size != nil {
		return p.size()
	}
	if file, ok := p.w.(*os.File); ok {
		if columns, rows, err := term.GetSize(int(file.Fd())); err == nil && columns > 0 && rows > 0 {
			return columns, rows
		}
	}
	return width, 24
}
