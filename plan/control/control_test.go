package control_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"etcdsweep/plan"
	"etcdsweep/plan/control"
	"etcdsweep/plan/pace"
)

// wheel writes down what it is told.
type wheel struct {
	mu    sync.Mutex
	words []string
	err   error
}

func (w *wheel) say(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.words = append(w.words, fmt.Sprintf(format, args...))
}

func (w *wheel) Pause(by string)  { w.say("pause by %s", by) }
func (w *wheel) Resume(by string) { w.say("resume by %s", by) }
func (w *wheel) Abort(by string)  { w.say("abort by %s", by) }
func (w *wheel) SetRate(by string, perSecond float64) error {
	if w.err == nil {
		w.say("rate %g by %s", perSecond, by)
	}
	return w.err
}

func (w *wheel) told() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.words, "\n")
}

func status() control.Status {
	return control.Status{
		Command: "apply", Plan: "0123456789abcdef", PID: 4711, Step: "pods", Unit: control.Keys, Done: 12, Total: 100,
		Pace: &pace.Status{State: pace.Running, Rate: 48, Allowed: 50, Ceiling: 500},
	}
}

// serve starts a server that the test closes.
func serve(t *testing.T, path string, driver control.Driver) *control.Server {
	t.Helper()
	server, err := control.Serve(t.Context(), path, status, driver)
	if err != nil {
		t.Fatal(err)
	}
	return server
}

func closed(t *testing.T, server *control.Server) {
	t.Helper()
	if err := server.Close(control.Ended{State: "done"}); err != nil {
		t.Error(err)
	}
}

// Each word reaches the driver, with the user and the process that gave it, and is answered with how the run stands.
func TestWords(t *testing.T) {
	defer goleak.VerifyNone(t)
	path := filepath.Join(t.TempDir(), "control")
	var driver wheel
	server := serve(t, path, &driver)
	defer closed(t, server)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket has mode %v, %v", info.Mode(), err)
	}
	for _, request := range []control.Request{
		{Word: control.WordStatus},
		{Word: control.WordPause},
		{Word: control.WordResume, For: "alice"},
		{Word: control.WordRate, Rate: 12.5},
		{Word: control.WordAbort},
	} {
		got, err := control.Ask(t.Context(), path, request)
		if err != nil || got.Done != 12 || got.Pace == nil || got.Pace.Allowed != 50 {
			t.Errorf("%s: %+v, %v", request.Word, got, err)
		}
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	pid := os.Getpid()
	want := fmt.Sprintf("pause by %[1]s, process %[2]d\nresume by %[1]s (sudo by alice), process %[2]d\n"+
		"rate 12.5 by %[1]s, process %[2]d\nabort by %[1]s, process %[2]d", me.Username, pid)
	if got := driver.told(); got != want {
		t.Errorf("told\n%s\nwant\n%s", got, want)
	}
}

// What the driver refuses, the client is told with the advice.
func TestRefused(t *testing.T) {
	defer goleak.VerifyNone(t)
	path := filepath.Join(t.TempDir(), "control")
	server := serve(t, path, &wheel{err: &plan.RefusedError{Reason: "not now", Advice: "wait"}})
	defer closed(t, server)
	_, err := control.Ask(t.Context(), path, control.Request{Word: control.WordRate, Rate: 1})
	refused, ok := errors.AsType[*plan.RefusedError](err)
	if !ok || refused.Reason != "not now" || refused.Advice != "wait" {
		t.Errorf("%v", err)
	}
}

// What cannot be understood whole is answered with an error, and changes nothing.
func TestNonsense(t *testing.T) {
	defer goleak.VerifyNone(t)
	path := filepath.Join(t.TempDir(), "control")
	var driver wheel
	server := serve(t, path, &driver)
	defer closed(t, server)
	for _, line := range []string{
		"pause",
		`{"word":"pause"}`,
		`{"format":"etcdsweep.control/v2","word":"pause"}`,
		`{"format":"etcdsweep.control/v1","word":"Pause"}`,
		`{"format":"etcdsweep.control/v1","word":"pause","rate":3}`,
		`{"format":"etcdsweep.control/v1","word":"rate"}`,
		`{"format":"etcdsweep.control/v1","word":"rate","rate":-1}`,
		`{"format":"etcdsweep.control/v1","word":"rate","rate":1e999}`,
		`{"format":"etcdsweep.control/v1","word":"pause","until":"noon"}`,
		`{"format":"etcdsweep.control/v1","word":"pause","for":"a\u001b[2Jb"}`,
		`{"format":"etcdsweep.control/v1","word":"pause"} {"format":"etcdsweep.control/v1","word":"abort"}`,
		`{"format":"etcdsweep.control/v1","word":"pause","for":"` + strings.Repeat("x", control.MaxRequest) + `"}`,
	} {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintln(conn, line); err != nil {
			t.Fatal(err)
		}
		text, err := bufio.NewReader(conn).ReadBytes('\n')
		var answer control.Answer
		if err == nil {
			err = json.Unmarshal(text, &answer)
		}
		if err != nil || answer.Error == "" || answer.Status != nil {
			t.Errorf("%.80s is answered with %.200s, %v", line, text, err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	if told := driver.told(); told != "" {
		t.Errorf("the driver was told %s", told)
	}
}

// Who watches gets all that was said before and after they came, and how the run has ended.
func TestWatch(t *testing.T) {
	defer goleak.VerifyNone(t)
	path := filepath.Join(t.TempDir(), "control")
	server := serve(t, path, &wheel{})
	server.Say("preflight   same cluster\n")
	var said strings.Builder
	var ended *control.Ended
	closing := make(chan error, 1)
	statuses := 0
	for answer, err := range control.Watch(t.Context(), path) {
		if err != nil {
			t.Fatal(err)
		}
		said.WriteString(answer.Said)
		ended = answer.Ended
		if answer.Status != nil {
			if statuses++; statuses == 1 {
				server.Say("roots       1 deleted\n\n")
				go func() { closing <- server.Close(control.Ended{State: "stopped", Status: 4, Error: "no quorum"}) }()
			}
		}
	}
	if err := <-closing; err != nil {
		t.Error(err)
	}
	if want := "preflight   same cluster\nroots       1 deleted\n\n"; said.String() != want {
		t.Errorf("said %q, want %q", said.String(), want)
	}
	if ended == nil || *ended != (control.Ended{State: "stopped", Status: 4, Error: "no quorum"}) {
		t.Errorf("ended %+v", ended)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket stays")
	}
}

// Who comes late misses the oldest lines, and is told so; no line is longer than a message.
func TestWatchLate(t *testing.T) {
	defer goleak.VerifyNone(t)
	path := filepath.Join(t.TempDir(), "control")
	server := serve(t, path, &wheel{})
	defer closed(t, server)
	for i := range 300 {
		server.Say(fmt.Sprintf("%d %s\n", i, strings.Repeat("<", control.MaxAnswer)))
	}
	server.Say("the last\n")
	first, last := "", ""
	for answer, err := range control.Watch(t.Context(), path) {
		if err != nil {
			t.Fatal(err)
		}
		if answer.Status != nil {
			break
		}
		if first == "" {
			first = answer.Said
		}
		last = answer.Said
	}
	if first != "(101 lines are left out here)\n" || last != "the last\n" {
		t.Errorf("from %.80q to %q", first, last)
	}
}

// A client that says nothing, one that does not read, and more of them than are served hold nobody up.
func TestClientsThatHang(t *testing.T) {
	defer goleak.VerifyNone(t)
	path := filepath.Join(t.TempDir(), "control")
	server := serve(t, path, &wheel{})
	var silent []net.Conn
	defer func() {
		for _, conn := range silent {
			_ = conn.Close()
		}
	}()
	refused := false
	for range 100 { // enough for all places, however many are given free meanwhile
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		silent = append(silent, conn)
		_, err = control.Ask(t.Context(), path, control.Request{Word: control.WordStatus})
		if errors.As(err, new(*plan.RefusedError)) {
			refused = true
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if !refused {
		t.Error("any number of clients is served at the same time")
	}
	closed(t, server)
}

// A run that was killed has left its socket: nobody listens on it, and the next run takes its place. What is no socket stays.
func TestStaleSocket(t *testing.T) {
	defer goleak.VerifyNone(t)
	path := filepath.Join(t.TempDir(), "control")
	if _, err := control.Ask(t.Context(), path, control.Request{Word: control.WordStatus}); !errors.Is(err, control.ErrNoRun) {
		t.Errorf("without a socket: %v", err)
	}
	killed, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	killed.SetUnlinkOnClose(false)
	if err := killed.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := control.Ask(t.Context(), path, control.Request{Word: control.WordStatus}); !errors.Is(err, control.ErrNoRun) {
		t.Errorf("with a stale socket: %v", err)
	}
	server := serve(t, path, &wheel{})
	if _, err := control.Ask(t.Context(), path, control.Request{Word: control.WordStatus}); err != nil {
		t.Error(err)
	}
	closed(t, server)

	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := control.Serve(t.Context(), path, status, &wheel{}); err == nil {
		t.Error("a file was taken for a stale socket")
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "mine" {
		t.Errorf("%q, %v", text, err)
	}
}

// A state directory may be deeper than the address of a socket is long.
func TestLongPath(t *testing.T) {
	defer goleak.VerifyNone(t)
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 100), strings.Repeat("e", 100))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "control")
	if _, err := control.Ask(t.Context(), path, control.Request{Word: control.WordStatus}); !errors.Is(err, control.ErrNoRun) {
		t.Errorf("without a socket: %v", err)
	}
	server := serve(t, path, &wheel{})
	if _, err := control.Ask(t.Context(), path, control.Request{Word: control.WordStatus}); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	closed(t, server)
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket stays")
	}
}

// A client whose context ends does not wait on.
func TestWatchEnds(t *testing.T) {
	defer goleak.VerifyNone(t)
	path := filepath.Join(t.TempDir(), "control")
	server := serve(t, path, &wheel{})
	defer closed(t, server)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	for _, err := range control.Watch(ctx, path) {
		cancel()
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("%v", last)
	}
}

// A run that is killed says nothing of its end.
func TestBrokenOff(t *testing.T) {
	defer goleak.VerifyNone(t)
	path := filepath.Join(t.TempDir(), "control")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	killed := make(chan error, 1)
	go func() {
		for range 2 {
			conn, err := listener.Accept()
			if err == nil {
				_, err = bufio.NewReader(conn).ReadString('\n')
			}
			if err == nil {
				err = conn.Close()
			}
			killed <- err
		}
	}()
	for _, err := range control.Watch(t.Context(), path) {
		if !errors.Is(err, control.ErrBrokenOff) {
			t.Errorf("watch: %v", err)
		}
	}
	if _, err := control.Ask(t.Context(), path, control.Request{Word: control.WordPause}); !errors.Is(err, control.ErrBrokenOff) {
		t.Errorf("pause: %v", err)
	}
	for range 2 {
		if err := <-killed; err != nil {
			t.Error(err)
		}
	}
}
