package scripts_test

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/testscript"

	"etcdsweep/plan"
)

// command is a command of a script.
type command struct {
	usage string
	run   func(w *world, ts *testscript.TestScript, args []string) error
}

// commands returns the commands that scripts have beside testscript's own. Each fails the script if it cannot do, or
// does not find, what it says.
func commands() map[string]func(*testscript.TestScript, bool, []string) {
	all := map[string]func(*testscript.TestScript, bool, []string){}
	for name, c := range map[string]command{
		// the cluster
		"lab":    {"[-pods N] [-members N] [-from SNAPSHOT] [-plain]: start a cluster and set ETCDCTL_* for it", (*world).startLab},
		"member": {"kill|start N: end or start a member of it, counted from 1", (*world).member},
		"alarm":  {"NOSPACE|CORRUPT: raise an alarm", (*world).alarm},
		"users":  {": make etcd users with the password secret, root, writer, reader and nobody, and turn authentication on", (*world).users},
		"kine":   {"strict|lenient: start something that speaks etcd's API and is none, and set ETCDCTL_* for it", (*world).startKine},
		"mint":   {"NAME FROM TO: make NAME.crt and NAME.key for a client of the cluster, valid from and to these ages", (*world).mint},
		"ca":     {"NAME: make NAME/ca.crt, of an authority that the cluster knows nothing of", (*world).authority},
		"silent": {"VAR: set VAR to the address of a listener that never says a word", (*world).silent},
		"called": {": wait until somebody has called the silent listener", (*world).awaitCall},

		// what others do to its keys
		"del":       {"KEY...: delete keys", (*world).del},
		"touch":     {"KEY...: write keys again, as they are", (*world).touch},
		"replace":   {"KEY...: delete objects, and make them again under their names with other UIDs", (*world).replace},
		"back":      {"KEY...: put keys back that are gone since note", (*world).back},
		"born":      {"N: make N pods of Job batch/runaway", (*world).born},
		"claim":     {"NAME OWNER-KEY POLICY: make a claim that an object owns, bound to a volume pv-NAME with the reclaim policy", (*world).claim},
		"rename-in": {"OLD NEW KEY...|PREFIX/: write keys again with one word in place of another; of a prefix those that have it", (*world).renameIn},
		"beat":      {"NODE...: go on renewing the leases of nodes", (*world).beat},
		"lead":      {"HOLDER FILE: go on renewing kube-controller-manager's lease while FILE is absent", (*world).lead},
		"serve":     {"FILE NAME...: go on renewing the records of apiservers while FILE is absent", (*world).serve},
		"produce":   {"N: go on making N pods of Job batch/runaway a second, whether that Job stands or not", (*world).produce},

		// what became of its keys
		"note":      {": note all keys, and the revision", (*world).note},
		"untouched": {": nothing was written since note", (*world).untouched},
		"only-gone": {"FILE: the keys in FILE are gone since note, and every other key is as it was", (*world).onlyGone},
		"restored":  {"FILE: every key has the bytes that it had at note; those in FILE were written once since, no other was", (*world).restored},
		"note-pods": {": note the pods", (*world).notePods},
		"same-pods": {": the pods are as they were at note-pods", (*world).samePods},
		"count":     {"N PREFIX: there are N keys under the prefix", (*world).count},
		"await":     {"N PREFIX: wait until N keys under the prefix were deleted since note, each in a revision of its own", (*world).await},
		"still":     {": nobody else writes anything: the next 200 revisions, twice, are those of this command", (*world).still},
		"await-put": {"N PREFIX: wait until N keys under the prefix were written since note, each in a revision of its own", (*world).awaitPut},

		// the tool
		"exits":  {"STATUS PROGRAM ARG...: run a program that ends with this status", (*world).exits},
		"signal": {"INT|TERM|HUP: send a signal to the program in the background", (*world).signal},
		"follow": {": the program in the background is the one that status asks about", (*world).follow},
		"status": {"STATUS: the program that was sent a signal or followed, and waited for, ended with this status", (*world).status},
		"fits":   {"FILE...: no line is wider than 80 columns, but for keys, paths and commands", (*world).fits},
		"mode":   {"MODE FILE...: the files have this mode", (*world).mode},
		"planid": {"VAR PLAN: set VAR to the plan's ID", (*world).planID},
		"forge":  {"FROM TO age DURATION|revision +N: copy a plan, valid but made earlier or at a later revision", (*world).forge},
	} {
		all[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			if neg {
				ts.Fatalf("unsupported: ! %s", name)
			}
			if err := c.run(ts.Value(worldKey{}).(*world), ts, args); errors.Is(err, errUsage) {
				ts.Fatalf("usage: %s %s", name, c.usage)
			} else if err != nil {
				ts.Fatalf("%s: %v", name, err)
			}
		}
	}
	return all
}

var errUsage = errors.New("usage")

func number(args []string) (int, error) {
	if len(args) != 1 {
		return 0, errUsage
	}
	return strconv.Atoi(args[0])
}

func (w *world) exits(ts *testscript.TestScript, args []string) error {
	if len(args) < 2 {
		return errUsage
	}
	want, err := number(args[:1])
	if err != nil {
		return err
	}
	return exited(ts.Exec(args[1], args[2:]...), want)
}

func exited(err error, want int) error {
	status := 0
	if failed := new(exec.ExitError); errors.As(err, &failed) {
		status = failed.ExitCode()
	} else if err != nil {
		return err
	}
	if status != want {
		return fmt.Errorf("exit status %d, want %d", status, want)
	}
	return nil
}

func (w *world) signal(ts *testscript.TestScript, args []string) error {
	signals := map[string]os.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP}
	if len(args) != 1 || signals[args[0]] == nil {
		return errUsage
	}
	if err := w.follow(ts, nil); err != nil {
		return err
	}
	return w.followed.Process.Signal(signals[args[0]])
}

func (w *world) follow(ts *testscript.TestScript, args []string) error {
	background := ts.BackgroundCmds()
	if len(args) != 0 || len(background) != 1 {
		return errUsage
	}
	w.followed = background[0]
	return nil
}

func (w *world) status(_ *testscript.TestScript, args []string) error {
	want, err := number(args)
	if err != nil || w.followed == nil {
		return errUsage
	}
	if status := w.followed.ProcessState.ExitCode(); status != want {
		return fmt.Errorf("exit status %d, want %d", status, want)
	}
	return nil
}

// screenWidth is the width of a terminal at three in the morning.
const screenWidth = 80

func (w *world) fits(ts *testscript.TestScript, args []string) error {
	escapes := regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]`)
	mayBeWider := regexp.MustCompile(`^(snapshot|archive|report|log)? +(/|etcdsweep )|^hint: |^etcdsweep: |^warning: `)
	for _, file := range args {
		text := escapes.ReplaceAllString(ts.ReadFile(file), "\n")
		for line := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '\r' || r == '\n' }) {
			if utf8.RuneCountInString(line) > screenWidth && !mayBeWider.MatchString(line) {
				return fmt.Errorf("%s: %d columns: %s", file, utf8.RuneCountInString(line), line)
			}
		}
	}
	return nil
}

func (w *world) mode(ts *testscript.TestScript, args []string) error {
	if len(args) < 2 {
		return errUsage
	}
	want, err := strconv.ParseUint(args[0], 8, 32)
	if err != nil {
		return err
	}
	for _, file := range args[1:] {
		info, err := os.Stat(ts.MkAbs(file))
		if err != nil {
			return err
		}
		if info.Mode().Perm() != os.FileMode(want) {
			return fmt.Errorf("%s has mode %#o, want %#o", file, info.Mode().Perm(), want)
		}
	}
	return nil
}

func (w *world) planID(ts *testscript.TestScript, args []string) error {
	if len(args) != 2 {
		return errUsage
	}
	p, err := plan.Open(ts.MkAbs(args[1]))
	if err != nil {
		return err
	}
	ts.Setenv(args[0], p.ID)
	return nil
}

func (w *world) forge(ts *testscript.TestScript, args []string) error {
	if len(args) != 4 {
		return errUsage
	}
	p, err := plan.Open(ts.MkAbs(args[0]))
	if err != nil {
		return err
	}
	switch args[2] {
	case "age":
		age, err := time.ParseDuration(args[3])
		if err != nil {
			return err
		}
		p.Header.Created = time.Now().UTC().Add(-age)
	case "revision":
		more, err := strconv.ParseInt(args[3], 10, 64)
		if err != nil {
			return err
		}
		p.Header.Revision += more
	default:
		return errUsage
	}
	return write(ts.MkAbs(args[1]), p)
}

// write writes a plan with the header and trailer as they are, and the entries of the file that it was read from.
func write(path string, p *plan.File) error {
	var out bytes.Buffer
	pw, err := plan.NewWriter(&out, p.Header)
	if err != nil {
		return err
	}
	for _, lines := range []iter.Seq2[plan.Entry, error]{p.Entries(""), p.Collateral()} {
		for entry, err := range lines {
			if err != nil {
				return err
			}
			if err := pw.Write(&entry); err != nil {
				return err
			}
		}
	}
	if _, err := pw.Finish(p.Trailer); err != nil {
		return err
	}
	return os.WriteFile(path, out.Bytes(), 0o600)
}
