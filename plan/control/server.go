package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"etcdsweep/plan"
)

const (
	maxClients = 16                     // at a time; others are told to come again
	maxSaid    = 200                    // lines that are kept for those who watch
	maxLine    = 4 << 10                // bytes of each, and of anything else in words
	watchEvery = 250 * time.Millisecond // how often those who watch are told
)

// Driver is what words are told to; *pace.Pacer is one. A word is given by somebody: their user, and the process that told it.
// An error refuses it.
type Driver interface {
	Pause(by string)
	Resume(by string)
	SetRate(by string, perSecond float64) error
	Abort(by string)
}

// Server answers those who look at a run and steer it. It is safe for concurrent use.
type Server struct {
	path     string
	listener *net.UnixListener
	status   func() Status
	driver   Driver

	clients chan struct{} // one for each
	ctx     context.Context
	cancel  context.CancelFunc
	done    sync.WaitGroup

	mu    sync.Mutex
	said  []string
	first int // number of the first line in said, counted from the first that was ever said
	ended *Ended
}

// Serve listens on a socket at path, which is the caller's alone to make. status is called whenever somebody asks. The caller
// closes the server; the end of ctx does not end it: a run that was interrupted goes on for a while.
func Serve(ctx context.Context, path string, status func() Status, driver Driver) (*Server, error) {
	listener, err := listen(path)
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	s := &Server{path: path, listener: listener, status: status, driver: driver, clients: make(chan struct{}, maxClients)}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.done.Go(s.accept)
	return s, nil
}

// Say tells those who watch, now or later, what the run has printed on its screen.
func (s *Server) Say(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range strings.Lines(text) {
		s.said = append(s.said, cut(strings.TrimSuffix(line, "\n"))+"\n")
	}
	if n := len(s.said) - maxSaid; n > 0 {
		s.said, s.first = append([]string(nil), s.said[n:]...), s.first+n
	}
}

// cut bounds what is said in words, so that each message is one that a client reads.
func cut(words string) string {
	if len(words) > maxLine {
		return strings.ToValidUTF8(words[:maxLine], "")
	}
	return words
}

// Close tells those who watch how the run has ended, and removes the socket. It waits for those who read, for some seconds.
func (s *Server) Close(ended Ended) error {
	ended.Error = cut(ended.Error)
	s.mu.Lock()
	s.ended = &ended
	s.mu.Unlock()
	s.cancel()
	err := errors.Join(s.listener.Close(), os.Remove(s.path))
	s.done.Wait()
	return err
}

// accept is the goroutine that takes calls.
func (s *Server) accept() {
	for {
		conn, err := s.listener.AcceptUnix()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // too many open files, as a rule
			select {
			case <-s.ctx.Done():
				return
			case <-time.After(watchEvery):
			}
			continue
		}
		select {
		case s.clients <- struct{}{}:
			s.done.Go(func() {
				defer func() { <-s.clients }()
				s.serve(conn)
			})
		default:
			refuse(conn, fmt.Errorf("%d others ask already", maxClients))
		}
	}
}

// refuse answers with an error, and hangs up.
func refuse(conn net.Conn, err error) {
	answer := Answer{Format: Format, Error: err.Error()}
	if refused, ok := errors.AsType[*plan.RefusedError](err); ok {
		answer.Error, answer.Advice = refused.Reason, refused.Advice
	}
	answer.Error, answer.Advice = cut(answer.Error), cut(answer.Advice)
	_ = send(conn, answer)
	_ = conn.Close()
}

// serve answers one client.
func (s *Server) serve(conn *net.UnixConn) {
	defer conn.Close()
	stop := context.AfterFunc(s.ctx, func() { _ = conn.CloseRead() }) // who has not said by then what they want is not waited for
	defer stop()
	line, err := receive(conn, newLines(conn, MaxRequest))
	if errors.Is(err, io.EOF) {
		return
	}
	var request Request
	if err == nil {
		request, err = ParseRequest(line)
	}
	if err == nil {
		err = s.obey(conn, request)
	}
	switch {
	case err != nil:
		refuse(conn, err)
	case request.Word == WordWatch:
		s.watched(conn)
	default:
		_ = send(conn, Answer{Format: Format, Status: s.now()})
	}
}

// now returns how the run stands.
func (s *Server) now() *Status {
	status := s.status()
	status.Waiting = cut(status.Waiting)
	if status.Pace != nil {
		p := *status.Pace
		p.Reason = cut(p.Reason)
		status.Pace = &p
	}
	return &status
}

// obey tells the driver what is wanted, and by whom.
func (s *Server) obey(conn *net.UnixConn, request Request) error {
	if request.Word == WordStatus || request.Word == WordWatch {
		return nil
	}
	name, pid, err := peer(conn)
	if err != nil {
		return err
	}
	if request.For != "" {
		name += " (sudo by " + request.For + ")"
	}
	by := fmt.Sprintf("%s, process %d", name, pid)
	switch request.Word {
	case WordPause:
		s.driver.Pause(by)
	case WordResume:
		s.driver.Resume(by)
	case WordRate:
		return s.driver.SetRate(by, request.Rate)
	case WordAbort:
		s.driver.Abort(by)
	}
	return nil
}

// watched tells a client all that is said and how the run stands, until the run ends or the client does not listen any more.
func (s *Server) watched(conn net.Conn) {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for next := 0; ; {
		var answers []Answer
		var ended *Ended
		answers, next, ended = s.news(next)
		if ended == nil {
			answers = append(answers, Answer{Status: s.now()})
		} else {
			answers = append(answers, Answer{Ended: ended})
		}
		for _, answer := range answers {
			answer.Format = Format
			if send(conn, answer) != nil {
				return
			}
		}
		if ended != nil {
			return
		}
		select {
		case <-ticker.C:
		case <-s.ctx.Done():
		}
	}
}

// news returns what was said since the line of the number next, the number to ask with the next time, and how the run has ended,
// if it has.
func (s *Server) news(next int) (said []Answer, now int, ended *Ended) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if out := s.first - next; out > 0 {
		said = append(said, Answer{Said: fmt.Sprintf("(%d lines are left out here)\n", out)})
	}
	for _, line := range s.said[max(next-s.first, 0):] {
		said = append(said, Answer{Said: line})
	}
	return said, s.first + len(s.said), s.ended
}
