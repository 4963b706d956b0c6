package main

import (
	"bufio"
	"context"
	"io"

	"etcdsweep/plan/apply"
)

// lines reads lines that an operator types while something else is waited for. It reads only when a line is asked for, one at
// a time. A read that nobody waits for any more stays behind, until a line comes or the process ends, and the next to ask
// takes it over; so there is one lines for all of a process's questions. It is for one goroutine.
//
// A process that is put into the background while such a read is left would be stopped by SIGTTIN: it is to ignore that signal,
// and the read fails instead, as on a terminal that is lost.
type lines struct {
	in      *bufio.Reader
	pending chan error // of the read under way, if there is one; nil is a line
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

// next returns where the end of a line is told, or that no more will come.
func (l *lines) next() <-chan error {
	if l.pending == nil {
		pending := make(chan error, 1)
		l.pending = pending
		go func() {
			_, err := l.in.ReadString('\n')
			pending <- err
		}()
	}
	return l.pending
}

// ending is why a wait ended.
type ending int

const (
	endSeen  ending = iota // what was waited for has happened
	endEnter               // the operator has pressed Enter
	endInput               // nobody can press Enter any more: the terminal is lost
)

// unlessEnter waits for what wait waits for, or for Enter, or for the end of the input, whichever is first; wait has returned
// then. If ctx ends first the error is apply.ErrInterrupted.
func unlessEnter[T any](ctx context.Context, l *lines, wait func(context.Context) (T, error)) (result T, end ending, err error) {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	seen := make(chan struct{})
	l.fresh()
	line := l.next()
	go func() {
		defer close(seen)
		result, err = wait(waiting)
	}()
	select {
	case <-seen:
	case lineErr := <-line:
		l.pending = nil
		cancel()
		<-seen
		if err == nil {
			return result, endSeen, nil // both at once
		}
		end, err = endEnter, nil
		if lineErr != nil {
			end = endInput
		}
	}
	if ctx.Err() != nil {
		return result, end, apply.ErrInterrupted
	}
	return result, end, err
}
