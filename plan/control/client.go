package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"os"
	"syscall"
	"time"
)

// ErrNoRun says that nobody listens: no run is under way in the directory.
var ErrNoRun = errors.New("no run is under way")

// patience is how long one line is waited for, by client and server alike.
const patience = 5 * time.Second

// The run may be killed, or go on: it has left a client that did not read, or waits for its disk. Which it is the lock on its
// cluster tells. A word that was given may count.
var (
	ErrBrokenOff = errors.New("the connection to the run broke")
	ErrSilent    = errors.New("the run has not answered in time")
)

// Ask sends a word to the run that listens at path, and returns how the run stands after it. A refusal is a
// *plan.RefusedError.
func Ask(ctx context.Context, path string, request Request) (Status, error) {
	for answer, err := range ask(ctx, path, request) {
		if err != nil {
			return Status{}, err
		}
		if answer.Status != nil {
			return *answer.Status, nil
		}
	}
	return Status{}, ErrBrokenOff
}

// Watch yields what the run that listens at path says of itself, until it has ended: the last answer has Ended then. An error is
// the last pair.
func Watch(ctx context.Context, path string) iter.Seq2[Answer, error] {
	return ask(ctx, path, Request{Word: WordWatch})
}

func ask(ctx context.Context, path string, request Request) iter.Seq2[Answer, error] {
	return func(yield func(Answer, error) bool) {
		conn, err := dial(ctx, path)
		if err != nil {
			yield(Answer{}, err)
			return
		}
		defer conn.Close() // what was to be said is said, or was not heard
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		defer stop()
		request.Format = Format
		answers := newLines(conn, MaxAnswer)
		if err = send(conn, request); errors.Is(err, syscall.EPIPE) { // it was refused unheard: the answer says why
			err = nil
		}
		for err == nil {
			var answer Answer
			if answer, err = next(conn, answers); err == nil && (!yield(answer, nil) || answer.Ended != nil) {
				return
			}
		}
		switch {
		case ctx.Err() != nil:
			err = ctx.Err()
		case errors.Is(err, os.ErrDeadlineExceeded): // of reading as well as of writing
			err = ErrSilent
		case errors.Is(err, io.EOF):
			if request.Word != WordWatch {
				return
			}
			err = ErrBrokenOff
		}
		yield(Answer{}, err)
	}
}

func next(conn net.Conn, answers *bufio.Scanner) (Answer, error) {
	line, err := receive(conn, answers)
	if err != nil {
		return Answer{}, err
	}
	return parseAnswer(line)
}

// newLines reads lines of up to so many bytes.
func newLines(r io.Reader, most int) *bufio.Scanner {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, min(most, 4<<10)), most)
	return lines
}

// receive waits for a line. The error is io.EOF if there is none any more.
func receive(conn net.Conn, lines *bufio.Scanner) ([]byte, error) {
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if lines.Scan() {
		return lines.Bytes(), nil
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("message: %w", err)
	}
	return nil, io.EOF
}

// send sends a message.
func send(conn net.Conn, message any) error {
	line, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("message: %w", err)
	}
	if err := conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err = conn.Write(append(line, '\n'))
	return err
}
