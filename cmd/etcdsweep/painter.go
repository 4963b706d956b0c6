package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

const (
	paintRoom  = 1024                   // texts that wait for a screen that blocks
	paintEvery = 200 * time.Millisecond // how often the line that moves is looked at
	paintEnd   = 2 * time.Second        // how long close waits for a screen that blocks
)

// painter writes to a screen that may block, as a terminal does after Ctrl-S or behind a link that hangs. A goroutine of its
// own writes, and nobody waits for it: what finds no room in its queue is left out, and counted. It is safe for concurrent use.
type painter struct {
	w    io.Writer
	line func() string // the line that moves, "" for none; nil where there is no terminal

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

// put puts a text into the queue; "" draws the line that moves at once.
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
	const clear = "\r\x1b[K"
	shown := ""
	draw := func(text, line string) {
		if text == "" && line == shown {
			return
		}
		if shown != "" || line != "" {
			text = clear + text + line
		}
		shown = line
		_, _ = io.WriteString(p.w, text) // a screen that is gone stops nothing
	}
	for {
		select {
		case text, more := <-queue:
			if !more {
				draw("", "")
				return
			}
			draw(text, p.moving())
		case <-ticker.C:
			draw("", p.moving())
		}
	}
}

// moving returns the line that moves, cut to the width of the screen.
func (p *painter) moving() string {
	if p.line == nil {
		return ""
	}
	columns := width
	if file, ok := p.w.(*os.File); ok {
		if w, _, err := term.GetSize(int(file.Fd())); err == nil && w > 0 {
			columns = min(columns, w)
		}
	}
	runes := []rune(p.line())
	return string(runes[:min(len(runes), columns-1)])
}
