package main

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"etcdsweep/durable"
	"etcdsweep/plan"
	"etcdsweep/plan/control"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/pace"
	"etcdsweep/plan/run"
)

// underWay makes the directory of a run that this process seems to carry out: it holds the lock.
func underWay(t *testing.T) (*run.Dir, *run.Lock) {
	t.Helper()
	var text bytes.Buffer
	w, err := plan.NewWriter(&text, plan.Header{Prefix: "/registry", Revision: 100})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Finish(plan.Trailer{}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "p.plan")
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := plan.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	state := t.TempDir()
	lock, err := run.LockCluster(state, p.Header.Cluster.SystemUID, journal.Opened{Command: "apply", Plan: p.ID}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	dir, err := run.MakeDir(durable.OS(), state, p)
	if err == nil {
		_, err = dir.KeepPlan(p)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir, lock
}

func ctl(t *testing.T, dir *run.Dir, word control.Word) error {
	t.Helper()
	return (&ctlOptions{output: outputText}).run(t.Context(), dir.Path, control.Request{Word: word}, streams{out: t.Output(), err: t.Output()})
}

// A connection that breaks is not taken for the end of a run that goes on.
func TestConnectionsThatBreak(t *testing.T) {
	dir, lock := underWay(t)
	listener, err := net.Listen("unix", dir.Control())
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var hanging sync.WaitGroup
	defer hanging.Wait()
	for _, test := range []struct {
		word control.Word
		hint string
		dead bool
	}{
		{control.WordWatch, "to watch it again: etcdsweep ctl " + dir.Path + " watch", false},
		{control.WordPause, "it may have heard all the same; to see that: etcdsweep ctl " + dir.Path + " status", false},
		{control.WordWatch, "", true},
	} {
		hanging.Go(func() { // up, as a run does on who does not read
			conn, err := listener.Accept()
			if err == nil {
				_, err = bufio.NewReader(conn).ReadString('\n')
			}
			if err == nil {
				err = conn.Close()
			}
			if err != nil {
				t.Error(err)
			}
		})
		if test.dead {
			if err := lock.Close(); err != nil {
				t.Fatal(err)
			}
		}
		err := ctl(t, dir, test.word)
		if test.dead {
			if !is[*plan.RefusedError](err) || !strings.Contains(err.Error(), "its process has ended") {
				t.Errorf("of a dead run: %v", err)
			}
			continue
		}
		cut, ok := errors.AsType[*cutOffError](err)
		if !ok || !strings.HasSuffix(cut.Error(), "broke; it goes on") || cut.Hint() != test.hint || exitStatus(err) != 1 {
			t.Errorf("%s: %v, with %+v", test.word, err, cut)
		}
	}
}

// deaf hears every word.
type deaf struct{}

func (deaf) Pause(string)                  {}
func (deaf) Resume(string)                 {}
func (deaf) SetRate(string, float64) error { return nil }
func (deaf) Abort(string)                  {}

// A run that waits for its disk has heard the word all the same.
func TestARunThatIsSlowToAnswer(t *testing.T) {
	dir, lock := underWay(t)
	defer lock.Close()
	disk := make(chan struct{})
	server, err := control.Serve(t.Context(), dir.Control(), func() control.Status {
		<-disk
		return control.Status{}
	}, deaf{})
	if err != nil {
		t.Fatal(err)
	}
	err = ctl(t, dir, control.WordPause)
	close(disk)
	cut, ok := errors.AsType[*cutOffError](err)
	if !ok || cut.Error() != "the run has not answered in time; it goes on" || !strings.HasSuffix(cut.Hint(), " status") {
		t.Errorf("%v, with %+v", err, cut)
	}
	if err := server.Close(control.Ended{}); err != nil {
		t.Error(err)
	}
}

// What is answered to a word is what has come of it.
func TestPrintWord(t *testing.T) {
	paused := pace.Status{State: pace.Paused, Ceiling: 250, Reason: "member m3 unreachable"}
	for _, test := range []struct {
		request control.Request
		pace    *pace.Status
		want    string
	}{
		{control.Request{Word: control.WordResume}, &pace.Status{State: pace.Running, Ceiling: 500}, "Resumed.\n"},
		{control.Request{Word: control.WordResume}, nil, "Resumed.\n"},
		{control.Request{Word: control.WordResume}, &paused, "Resumed, but it stands still for another reason: member m3 unreachable\n"},
		{control.Request{Word: control.WordResume}, &pace.Status{State: pace.Ended}, "The run is ending already.\n"},
		{control.Request{Word: control.WordRate, Rate: 0.04}, &pace.Status{State: pace.Running, Ceiling: 0.04}, "At most 0.04/s from now on.\n"},
		{control.Request{Word: control.WordRate, Rate: 250}, &paused, "At most 250/s from now on.\n"},
		{
			control.Request{Word: control.WordRate, Rate: 500}, &pace.Status{State: pace.Running, Ceiling: 100},
			"At most 100/s from now on, not 500/s: a member was down when the run began.\n",
		},
	} {
		var out strings.Builder
		printWord(&out, test.request, &control.Status{Pace: test.pace}, nil)
		if out.String() != test.want {
			t.Errorf("%+v, %+v: %q, want %q", test.request, test.pace, out.String(), test.want)
		}
	}
}
