package main

import (
	"bufio"
	"context"
	"errors"
	"io"

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

// ending is why a wait ended.
type ending int

const (
	endSeen  ending = iota // what was waited for has happened
	endEnter               // the operator has pressed Enter
	endInput               // nobody can press Enter any more: the terminal is lost
)

// unlessEnter waits for what wait waits for, or for Enter, or for the end of the input, whichever is first; wait has returned
// then. If ctx ends first the error is run.ErrInterrupted.
func unlessEnter[T any](ctx context.Context, l *lines, wait func(context.Context) (T, error)) (result T, end ending, err error) {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	seen := make(chan struct{})
	l.fresh()
	typed := l.next()
	go func() {
		defer close(seen)
		result, err = wait(waiting)
	}()
	select {
	case <-seen:
	case line := <-typed:
		l.pending = nil
		cancel()
		<-seen
		if err == nil {
			return result, endSeen, nil // both at once
		}
		end, err = endEnter, nil
		if line.err != nil {
			end = endInput
		}
	}
	if ctx.Err() != nil {
		return result, end, run.ErrInterrupted
	}
	return result, end, err
}
