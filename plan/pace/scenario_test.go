package pace

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write down what the scenarios come to")

// TestScenarios replays the histories of testdata/scenarios, and compares what the controller decides with what they say. A
// scenario is a list of commands; behind each stand, as lines with a ">", the changes of state and the decision at its end.
//
//	members NAME...              the first leads; NAME+ is a learner, NAME- is in no list from the first run on
//	config FLAG=VALUE...         of the flags of the same names
//	measure DURATION KEY=VALUE...  samples of the baseline; the first run ends it
//	run DURATION KEY=VALUE...    samples, twice a second, of a cluster that is like this from now on
//	pause, resume, abort WHO; rate N WHO
//
// The keys are read (latencies that come in turn, or none), write, busy and bulk (yes or no), leader, elected (that many terms later), down, corrupt,
// list=none, metrics=none, and jump (of the clock); and with a member's name behind a colon leader, answer, lag, slow-watchers,
// pending-events, pending-proposals, fsync and commit.
//
// With -update the files are written anew, to be read.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/scenarios/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d scenarios: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := replay(string(text))
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(text) {
				t.Errorf("is\n%s\nwant\n%s", got, text)
			}
		})
	}
}

// replay returns the scenario with what the controller decides.
func replay(text string) (string, error) {
	s := scenario{cfg: Defaults(), now: time.Unix(1_700_000_000, 0), settings: map[string]string{"read": "5ms", "write": "none"}}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, ">") {
			continue
		}
		s.out.WriteString(line)
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		if err := s.do(words[0], words[1:]); err != nil {
			return "", fmt.Errorf("%s: %w", strings.TrimSpace(line), err)
		}
	}
	return s.out.String(), nil
}

// scenario is one under way.
type scenario struct {
	out  strings.Builder
	cfg  Config
	c    *Controller
	now  time.Time
	last Decision

	members  []Member
	removed  string // once the run has begun
	settings map[string]string
	reads    int // that were made
	silent   time.Duration
	disks    map[string]*[2]Histogram
}

func (s *scenario) do(command string, args []string) error {
	switch command {
	case "members":
		for i, name := range args {
			name, removed := strings.CutSuffix(name, "-")
			name, learner := strings.CutSuffix(name, "+")
			s.members = append(s.members, Member{ID: uint64(i + 1), Name: name, Learner: learner, Leader: 1, Term: 2, Latency: time.Millisecond})
			if removed {
				s.removed = name
			}
		}
		return nil
	case "config":
		return s.configure(args)
	case "measure", "run":
		return s.run(command == "measure", args)
	}
	if s.c == nil {
		s.c = NewController(s.cfg)
	}
	var d Decision
	var err error
	switch command {
	case "pause":
		d = s.c.Pause(args[0])
	case "resume":
		d = s.c.Resume()
	case "abort":
		d = s.c.End(args[0], "aborted")
	case "rate":
		var n float64
		if n, err = strconv.ParseFloat(args[0], 64); err == nil {
			d, err = s.c.SetRate(args[1], n)
		}
	default:
		return errors.New("no such command")
	}
	s.tell("", d)
	return err
}

// tell writes down a decision.
func (s *scenario) tell(at string, d Decision) {
	s.last = d
	fmt.Fprintf(&s.out, "> %s%s", at, d.State)
	switch {
	case math.IsInf(d.Rate, 0):
		s.out.WriteString(" unpaced")
	case d.Rate > 0:
		fmt.Fprintf(&s.out, " %.4g/s", d.Rate)
	}
	if s.settings["bulk"] == "yes" {
		fmt.Fprintf(&s.out, ", %.3g%% of reads", 100*d.Part)
	}
	if d.Reason != "" {
		s.out.WriteString(": " + d.Reason)
	}
	s.out.WriteString("\n")
}

func (s *scenario) configure(args []string) error {
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	c := &s.cfg
	flags.Float64Var(&c.Rate, "rate", c.Rate, "")
	flags.Float64Var(&c.MinRate, "min-rate", c.MinRate, "")
	flags.Float64Var(&c.StartRate, "start-rate", c.StartRate, "")
	flags.DurationVar(&c.MemberWait, "member-wait", c.MemberWait, "")
	flags.DurationVar(&c.CriticalAfter, "critical-after", c.CriticalAfter, "")
	flags.BoolVar(&c.ReadsOnly, "reads-only", false, "")
	for i := range args {
		args[i] = "-" + args[i]
	}
	return flags.Parse(args)
}

// run takes samples for some time. Each change of state is told, and the decision at the end.
func (s *scenario) run(measure bool, args []string) error {
	long, err := time.ParseDuration(args[0])
	if err != nil {
		return err
	}
	for _, arg := range args[1:] {
		key, value, ok := strings.Cut(arg, "=")
		if !ok {
			return fmt.Errorf("%s has no value", arg)
		}
		s.settings[key] = value
	}
	if s.c == nil {
		s.c = NewController(s.cfg)
		s.last = s.c.Decision()
	}
	if jump, err := time.ParseDuration(s.take("jump")); err == nil {
		s.now = s.now.Add(jump)
	}
	if err := s.elect(); err != nil {
		return err
	}
	if !measure && !s.c.began {
		s.tell("0 s ", s.c.Begin(s.now))
	}
	began, told := s.now, measure
	var d Decision
	for s.now.Sub(began) < long {
		s.now = s.now.Add(decideEvery)
		sample, err := s.sample(measure)
		if err != nil {
			return err
		}
		d, told = s.c.Decide(sample), measure
		if d.State != s.last.State {
			s.tell(fmt.Sprintf("%g s ", s.now.Sub(began).Seconds()), d)
			told = true
		}
	}
	if !told {
		s.tell("", d)
	}
	return nil
}

// take returns a setting that counts once.
func (s *scenario) take(key string) string {
	value := s.settings[key]
	delete(s.settings, key)
	return value
}

// elect makes another member the leader, or none.
func (s *scenario) elect() error {
	if terms, err := strconv.Atoi(s.take("elected")); err == nil {
		for i := range s.members {
			s.members[i].Term += uint64(terms)
		}
	}
	name, ok := s.settings["leader"]
	delete(s.settings, "leader")
	if !ok {
		return nil
	}
	id, err := s.id(name)
	for i := range s.members {
		if s.members[i].Leader != id && !s.down(s.members[i].Name) {
			s.members[i].Leader, s.members[i].Term = id, s.members[i].Term+1
		}
	}
	return err
}

func (s *scenario) id(name string) (uint64, error) {
	if name == "none" {
		return 0, nil
	}
	i := slices.IndexFunc(s.members, func(m Member) bool { return m.Name == name })
	if i < 0 {
		return 0, fmt.Errorf("no member %s", name)
	}
	return s.members[i].ID, nil
}

func (s *scenario) down(name string) bool {
	return slices.Contains(strings.Split(s.settings["down"], ","), name)
}

func (s *scenario) sample(measure bool) (Sample, error) {
	sample := Sample{At: s.now, Busy: s.settings["busy"] != "no", Bulk: s.settings["bulk"] == "yes"}
	reads := 5
	if measure {
		reads = 10
	}
	if s.settings["read"] == "none" {
		s.silent += decideEvery
		sample.Silent = s.silent
	} else {
		s.silent = 0
		for range reads {
			in := strings.Split(s.settings["read"], ",")
			read, err := time.ParseDuration(in[s.reads%len(in)])
			if err != nil {
				return sample, err
			}
			s.reads++
			sample.Reads = append(sample.Reads, read)
		}
	}
	if write, err := time.ParseDuration(s.settings["write"]); err == nil {
		sample.Writes = slices.Repeat([]time.Duration{write}, 10)
	}
	if s.settings["list"] != "none" {
		vitals, err := s.vitals()
		sample.Vitals = &vitals
		return sample, err
	}
	return sample, nil
}

func (s *scenario) vitals() (v Vitals, err error) {
	for _, m := range s.members {
		if s.c.began && m.Name == s.removed {
			continue
		}
		if s.down(m.Name) {
			v.Members = append(v.Members, Member{ID: m.ID, Name: m.Name, Learner: m.Learner, Err: errors.New("connection refused")})
			continue
		}
		m.Corrupt = s.settings["corrupt"] == m.Name
		m.Index, m.Applied = 1000, 1000
		metrics := &Metrics{}
		for _, key := range slices.Sorted(maps.Keys(s.settings)) {
			name, of, ok := strings.Cut(key, ":")
			if ok && of == m.Name {
				if err := s.set(&m, metrics, name, s.settings[key]); err != nil {
					return v, err
				}
			}
		}
		if s.settings["metrics"] != "none" {
			m.Metrics = metrics
			s.disk(m.Name, metrics)
		}
		v.Members = append(v.Members, m)
	}
	return v, nil
}

func (s *scenario) set(m *Member, metrics *Metrics, name, value string) (err error) {
	number := func(into *float64) { *into, err = strconv.ParseFloat(value, 64) }
	switch name {
	case "leader":
		m.Leader, err = s.id(value)
	case "answer":
		m.Latency, err = time.ParseDuration(value)
	case "lag":
		var lag float64
		number(&lag)
		m.Index += uint64(lag)
	case "slow-watchers":
		number(&metrics.SlowWatchers)
	case "pending-events":
		number(&metrics.PendingEvents)
	case "pending-proposals":
		number(&metrics.PendingProposals)
	case "fsync", "commit": // see disk
	default:
		err = fmt.Errorf("no key %s", name)
	}
	return err
}

// disk lets a member's disk work: ten syncs and commits a sample, of two milliseconds unless it is told otherwise, or none.
func (s *scenario) disk(name string, metrics *Metrics) {
	if s.disks == nil {
		s.disks = map[string]*[2]Histogram{}
	}
	if s.disks[name] == nil {
		s.disks[name] = &[2]Histogram{}
	}
	for i, key := range []string{"fsync", "commit"} {
		if s.settings[key+":"+name] == "none" {
			continue
		}
		takes, err := time.ParseDuration(s.settings[key+":"+name])
		if err != nil {
			takes = 2 * time.Millisecond
		}
		s.disks[name][i].Count += 10
		s.disks[name][i].Seconds += 10 * takes.Seconds()
	}
	metrics.Fsync, metrics.Commit = s.disks[name][0], s.disks[name][1]
}
