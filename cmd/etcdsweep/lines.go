package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"time"

	"etcdsweep/plan/run"
)

// lines reads lines that an operator types while something else is waited for. It reads only when a line is asked for, one at
// a time. A read that nobody waits for any more stays behind, until a line comes or the process ends, and the next to ask
// takes it over; so there is one lines for all of a process's questions. It is for one goroutine.
//
// A process that is put into the background while such a read is left would be stopped by SIGTTIN: it is to ignore that signal,
// and the read fails instead, as on a terminal that is lost.
type lines struct {
	in      *bufio.Reader
	pending chan line // of the read under way, if there is one
}

// line is one that was typed, or why none will come.
type line struct {
	text string
	err  error
}

func newLines(in io.Reader) *lines { return &lines{in: bufio.NewReader(in)} }

// fresh forgets a line that came when nobody had asked.
func (l *lines) fresh() {
	select {
	case <-l.pending:
		l.pending = nil
	default:
	}
}

// next returns where the next line is told, or that no more will come.
func (l *lines) next() <-chan line {
	if l.pending == nil {
		pending := make(chan line, 1)
		l.pending = pending
		go func() {
			text, err := l.in.ReadString('\n')
			pending <- line{text, err}
		}()
	}
	return l.pending
}

// read waits for a line, or for the end of ctx. What was typed before the end of the input is a line.
func (l *lines) read(ctx context.Context) (string, error) {
	select {
	case line := <-l.next():
		l.pending = nil
		if errors.Is(line.err, io.EOF) {
			line.err = nil
		}
		return line.text, line.err
	case <-ctx.Done():
		return "", run.ErrInterrupted
	}
}

// askAgain is the pause before input that could not be read is tried again: a process in the background gets its terminal back
// when it is in the foreground again.
const askAgain = 5 * time.Second

// meanwhile waits for what wait waits for, and tells answer each line that is typed meanwhile, and each time that none could be
// read. It ends when wait does, or when answer returns true or an error; wait has returned then. What was waited for has
// happened if seen is true. If ctx ends first the error is run.ErrInterrupted.
func meanwhile[T any](ctx context.Context, l *lines, wait func(context.Context) (T, error), answer func(line) (enough bool, err error)) (result T, seen bool, err error) {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	var failed error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		result, failed = wait(waiting)
	}()
	l.fresh()
	typed := l.next()
	var again <-chan time.Time
	for enough := false; !enough && err == nil; {
		select {
		case <-ended:
			if ctx.Err() != nil {
				return result, false, run.ErrInterrupted
			}
			return result, failed == nil, failed
		case <-again:
			typed, again = l.next(), nil
		case line := <-typed:
			l.pending = nil
			enough, err = answer(line)
			switch {
			case enough || err != nil:
			case line.err != nil:
				typed, again = nil, time.After(askAgain)
			default:
				typed = l.next()
			}
		}
	}
	cancel()
	<-ended
	switch {
	case failed == nil: // both at once
		return result, true, nil
	case ctx.Err() != nil:
		return result, false, run.ErrInterrupted
	}
	return result, false, err
}
