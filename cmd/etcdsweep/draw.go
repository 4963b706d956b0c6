package main

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"etcdsweep/plan/control"
	"etcdsweep/plan/pace"
	"etcdsweep/plan/run"
)

const (
	roomy  = 60 // columns from which words stand below each other
	indent = 12 // columns of a step's name there
	cells  = 15 // of a sparkline, at most
	few    = 8  // fewer cells than that show nothing
)

// row is a line of what a running screen shows last.
type row struct {
	text  string
	alert bool // colour helps to see it
}

// look is what a screen can show.
type look struct {
	blocks bool // ▁▂▃▄▅▆▇█
	colour bool
}

// lookOf tells by the environment what a terminal can show.
func lookOf(env func(string) string) look {
	locale := env("LC_ALL")
	for _, name := range []string{"LC_CTYPE", "LANG"} {
		if locale == "" {
			locale = env(name)
		}
	}
	locale = strings.ToLower(strings.ReplaceAll(locale, "-", ""))
	return look{blocks: strings.Contains(locale, "utf8"), colour: env("NO_COLOR") == ""}
}

// movable reports whether lines can be drawn over on a terminal.
func movable(stream any) bool { return isTerminal(stream) && os.Getenv("TERM") != "dumb" }

// draw returns how a run stands in lines of so many columns: how far its step is, then the last minute, then why it is slow.
func draw(s *control.Status, columns int, l look, now time.Time) []row {
	if s.Step == "" {
		if s.Waiting == "" {
			return nil
		}
		return []row{{text: cut(s.Waiting, columns)}}
	}
	name, margin := s.Step+"  ", ""
	if columns >= roomy {
		name, margin = fmt.Sprintf("%-*s", indent, s.Step), strings.Repeat(" ", indent)
	}
	rows := []row{{text: cut(name+fit(progressPieces(s), columns-len(name)), columns)}}
	if line := drawMinute(s, columns-len(margin), l); line != "" {
		rows = append(rows, row{text: margin + line})
	}
	if why := whySlow(s, now); why != "" {
		alert := s.Pace.State == pace.Holding || s.Pace.State == pace.Paused || s.Pace.State == pace.Ended
		rows = append(rows, row{cut(margin+why, columns), alert})
	}
	return rows
}

// piece is a part of a line, with the space before it. Those of the highest rank are left out first where a line is too long.
type piece struct {
	rank int
	text string
}

// fit puts together what has room in so many columns.
func fit(pieces []piece, columns int) string {
	for {
		long, last := 0, 0
		for i, p := range pieces {
			long += len([]rune(p.text))
			if p.rank > pieces[last].rank {
				last = i
			}
		}
		if long < columns || pieces[last].rank == 0 {
			break
		}
		pieces = slices.Delete(pieces, last, last+1)
	}
	var line strings.Builder
	for _, p := range pieces {
		line.WriteString(p.text)
	}
	return line.String()
}

// progressPieces are how far a step is, how fast it goes and may go, and how long etcd takes.
func progressPieces(s *control.Status) []piece {
	unit := count
	if s.Unit == control.Bytes {
		unit = size
	}
	done := unit(s.Done)
	if s.Total > 0 {
		done += "/" + unit(s.Total)
	}
	switch {
	case s.Waiting != "":
		done = s.Waiting
	case s.Total == 0 && s.Done == 0:
		done = ""
	}
	pieces := []piece{{0, done}}
	add := func(rank int, format string, args ...any) {
		pieces = append(pieces, piece{rank, fmt.Sprintf(format, args...)})
	}
	if done == "" || s.Waiting != "" {
		return pieces
	}
	if s.Total > 0 {
		add(1, "  %d%%", 100*min(s.Done, s.Total)/s.Total)
	}
	add(2, "  %s/s", unit(int64(math.Round(s.PerSecond))))
	if p := s.Pace; p != nil && p.State != pace.Measuring {
		if !p.Unpaced && run.Step(s.Step).Writes() {
			add(4, " of %s", perSecond(p.Allowed))
		}
		if p.P95 > 0 {
			add(5, "  p95 %s", against(p.P95, p.Baseline))
		}
	}
	if eta := s.ETA().Round(time.Second); eta > 0 {
		add(3, "  ETA %s", eta)
	}
	return pieces
}

func perSecond(rate float64) string {
	switch {
	case rate >= 100, rate == math.Trunc(rate):
		return count(int64(math.Round(rate))) + "/s"
	case rate < 1:
		return fmt.Sprintf("%.2g/s", rate)
	}
	return fmt.Sprintf("%.1f/s", rate)
}

// against writes a latency and its baseline.
func against(now, baseline pace.Latency) string {
	if baseline == 0 {
		return now.String()
	}
	return strings.TrimSuffix(now.String(), " ms") + "/" + baseline.String()
}

// whySlow says in words why a run is slower than it might be, or stands still.
func whySlow(s *control.Status, now time.Time) string {
	p := s.Pace
	if p == nil || p.Reason == "" {
		return ""
	}
	switch p.State {
	case pace.Paused:
		return fmt.Sprintf("standing still for %s: %s", max(now.Sub(p.Since), 0).Round(time.Second), p.Reason)
	case pace.Holding:
		switch {
		case p.Allowed < p.Ceiling:
			return fmt.Sprintf("below %s: %s", perSecond(p.Ceiling), p.Reason)
		case p.Ceiling > 0:
			return fmt.Sprintf("held at %s: %s", perSecond(p.Ceiling), p.Reason)
		}
	case pace.Ended:
		if p.By != "" {
			return p.Reason + " by " + p.By
		}
	}
	return p.Reason
}

// drawMinute draws the last minute: writes a second up to the ceiling, and the p95 of reads up to twice its baseline, or to the
// highest that there was.
func drawMinute(s *control.Status, columns int, l look) string {
	if s.Pace == nil || len(s.Minute.Rate) < 2 {
		return ""
	}
	topRate, topP95 := s.Pace.Ceiling, float64(2*s.Pace.Baseline)
	rates, p95s := s.Minute.Rate, make([]float64, len(s.Minute.P95))
	for i, latency := range s.Minute.P95 {
		p95s[i] = float64(latency)
		if latency == 0 {
			p95s[i] = math.NaN() // nobody knows
		}
		topP95 = max(topP95, float64(latency))
	}
	for _, rate := range rates {
		topRate = max(topRate, rate)
	}
	rateScale, p95Scale := " 0-"+perSecond(topRate), " 0-"+pace.Latency(topP95).String()
	const names = len("rate   p95 ")
	n := min(cells, (columns-1-names-len(rateScale)-len(p95Scale))/2)
	if n < few {
		rateScale, p95Scale = "", ""
		n = min(cells, (columns-1-names)/2)
	}
	if n < few {
		return ""
	}
	return "rate " + sparkline(rates, topRate, n, l) + rateScale + "  p95 " + sparkline(p95s, topP95, n, l) + p95Scale
}

// sparkline draws a minute of seconds in n cells, the latest on the right: the highest value of each. What is NaN, or was
// before, is blank.
func sparkline(seconds []float64, top float64, n int, l look) string {
	levels := []rune("_.-:=+*#")
	if l.blocks {
		levels = []rune("▁▂▃▄▅▆▇█")
	}
	line := make([]rune, n)
	for i := range line {
		from, to := len(seconds)-control.Seconds*(n-i)/n, len(seconds)-control.Seconds*(n-i-1)/n
		highest := math.Inf(-1)
		for _, value := range seconds[max(from, 0):max(to, 0)] {
			if value > highest {
				highest = value
			}
		}
		line[i] = ' '
		if !math.IsInf(highest, -1) {
			level := 0
			if top > 0 {
				level = int(highest / top * float64(len(levels)))
			}
			line[i] = levels[min(level, len(levels)-1)]
		}
	}
	return string(line)
}

// cut cuts a line so that it fits into so many columns, and leaves the last one free: a terminal that was written full may go on
// in the next line.
func cut(line string, columns int) string {
	runes := []rune(line)
	if len(runes) < columns {
		return line
	}
	if columns <= 2 {
		return ""
	}
	return string(runes[:max(columns-3, 0)]) + ".."
}
