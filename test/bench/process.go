package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// spent is what a whole process took.
type spent struct {
	wall time.Duration
	cpu  time.Duration // user and system
	peak residence
}

// residence is memory by /proc/PID/status, in KiB.
type residence struct {
	anon, file, all int64 // peaks of RssAnon, RssFile and of their sum, the last as the kernel keeps it
}

const pollEvery = 5 * time.Millisecond

// process runs a command that talks to the server, to its end. Its output is shown if it fails.
func (s *server) process(ctx context.Context, name string, args ...string) (spent, error) {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = s.environment()
	cmd.Stdout, cmd.Stderr = &out, &out
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return spent{}, err
	}
	done, peak := make(chan struct{}), make(chan residence, 1)
	go func() { peak <- watchMemory(cmd.Process.Pid, done) }()
	err := cmd.Wait()
	took := spent{wall: time.Since(began)}
	close(done)
	took.peak = <-peak
	if err != nil {
		return spent{}, fmt.Errorf("%s %s: %w: %s", filepath.Base(name), strings.Join(args, " "), err, out.Bytes())
	}
	took.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return took, nil
}

// clockTick is the unit of times in /proc: USER_HZ, which is 100 on all that Go runs on.
const clockTick = 10 * time.Millisecond

// cpuOf returns the user and system time of a process, 0 if it has ended.
func cpuOf(pid int) time.Duration {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // behind the name, which may have spaces
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * clockTick
}

// watchMemory looks at a process again and again until done.
func watchMemory(pid int, done <-chan struct{}) residence {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	var peak residence
	for {
		now := readMemory(pid)
		peak.anon, peak.file, peak.all = max(peak.anon, now.anon), max(peak.file, now.file), max(peak.all, now.all)
		select {
		case <-tick.C:
		case <-done:
			return peak
		}
	}
}

// readMemory is zero for a process that has ended.
func readMemory(pid int) (r residence) {
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return r
	}
	for line := range strings.Lines(string(status)) {
		for name, into := range map[string]*int64{"RssAnon:": &r.anon, "RssFile:": &r.file, "VmHWM:": &r.all} {
			if value, ok := strings.CutPrefix(line, name); ok {
				*into, _ = strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			}
		}
	}
	return r
}
