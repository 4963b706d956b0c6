package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"k8s.io/apimachinery/pkg/util/duration"

	"etcdsweep/decode"
	"etcdsweep/etcdops/snapshot"
	"etcdsweep/plan/census"
)

// topResult is what top prints.
type topResult struct {
	From *snapshot.Origin `json:"from,omitempty"` // nil for a cluster
	*census.Report
	Culprits []culprit `json:"culprits,omitempty"`

	what string // that is counted
}

// print prints the largest groups, two lines for each, and what follows from them.
func (t *topResult) print(w io.Writer, rows int, now time.Time) {
	fmt.Fprintf(w, "%s %s, %s, by %s\n", count(t.Total.Count), t.what, size(t.Total.Bytes), t.By)
	if from := t.From; from != nil {
		fmt.Fprintf(w, "in %s\n", from.Path)
		fmt.Fprintf(w, "at revision %d of %d to %d\n", from.Revision, from.Oldest, from.Newest)
	}
	if !t.Total.Newest.IsZero() {
		fmt.Fprintf(w, "oldest %s, newest %s\n", stamp(t.Total.Oldest), stamp(t.Total.Newest))
	}
	shown := t.Groups[:min(rows, len(t.Groups))]
	if len(shown) > 0 {
		fmt.Fprintf(w, "\n%9s %8s %6s %8s %6s %6s %-18s %11s\n", "COUNT", "BYTES", "SHARE", "", "OLDEST", "NEWEST", "BIRTHS/MIN LAST 1H", "TERMINATING")
	}
	scale := busiest(shown)
	for _, g := range shown {
		fmt.Fprintln(w, cut(groupName(t.By, g), width+1))
		fmt.Fprintf(w, "%9s %8s %5.1f%% %-8s %6s %6s %s %5s %11s\n", count(g.Count), size(g.Bytes), g.Share, bar(g.Share, 8),
			age(g.Oldest, now), age(g.Newest, now), birthLine(g.Births, scale), count(g.BusiestMinute()), count(g.Terminating))
	}
	t.printRest(w, t.Groups[len(shown):])
	t.printUnreadable(w)
	t.printCulprits(w)
}

// printRest says what is in no line of the table.
func (t *topResult) printRest(w io.Writer, rest []*census.Group) {
	if len(rest) > 0 {
		var n, bytes int64
		for _, g := range rest {
			n, bytes = n+g.Count, bytes+g.Bytes
		}
		fmt.Fprintf(w, "... and %s more, with %s %s, %s\n", count(int64(len(rest))), count(n), t.what, size(bytes))
	}
	if f := &t.Folded; f.Groups > 0 {
		fmt.Fprintf(w, "The smallest of too many groups are counted together: %s %s, %s\n", count(f.Count), t.what, size(f.Bytes))
	}
}

func (t *topResult) printUnreadable(w io.Writer) {
	if len(t.Unreadable) == 0 {
		return
	}
	fmt.Fprintf(w, "\nCannot be read:\n")
	for i, u := range t.Unreadable {
		fmt.Fprintf(w, "  %s, %s  %s\n      %s\n", count(u.Count), size(u.Bytes), u.Class, u.Example)
		if next := i + 1; u.Hint == "" || next < len(t.Unreadable) && t.Unreadable[next].Hint == u.Hint {
			continue // said once, behind the last of those that it is for
		}
		printHint(w, "  ", u.Hint)
	}
}

func (t *topResult) printCulprits(w io.Writer) {
	if !slices.ContainsFunc(t.Groups, func(g *census.Group) bool { return g.Owner != nil }) {
		return
	}
	if len(t.Culprits) == 0 {
		fmt.Fprintf(w, "\nNo owner looks like a runaway.\n")
		return
	}
	fmt.Fprintf(w, "\nLikely culprits:\n")
	for _, c := range t.Culprits {
		fmt.Fprintln(w)
		for line := range strings.Lines(text.WrapSoft(c.Words, width)) {
			fmt.Fprintln(w, strings.TrimRight(line, " \n"))
		}
		if c.Command != "" {
			fmt.Fprintf(w, "  %s\n", c.Command)
		}
	}
}

// groupName is what a group is called on the screen.
func groupName(by census.Dimension, g *census.Group) string {
	switch o := g.Owner; {
	case o != nil:
		return g.Name + ownerNote(o)
	case by == census.ByOwner && g.Namespace == "":
		return "(no owner)"
	case by == census.ByOwner:
		return "(no owner, in namespace " + g.Namespace + ")"
	default:
		return cmp.Or(g.Name, "(no "+strings.Replace(string(by), "=", " ", 1)+")")
	}
}

// ownerNote adds to a name what is worth a few words.
func ownerNote(o *census.Owner) string {
	var notes []string
	for _, kind := range o.Direct() {
		notes = append(notes, fmt.Sprintf("through %s of kind %s", count(o.Through[kind]), kind))
	}
	switch o.State {
	case census.Gone:
		notes = append(notes, "gone itself")
	case census.Sealed:
		notes = append(notes, "its record cannot be read")
	}
	if len(notes) == 0 {
		return ""
	}
	return " (" + strings.Join(notes, ", ") + ")"
}

// ownerKind is the kind of an owner as plan takes it: with its group, unless it is built in.
func ownerKind(o *census.Owner) string {
	if _, builtIn := decode.Lookup(o.GroupKind()); builtIn {
		return o.Kind
	}
	return o.GroupKind().String()
}

func age(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return duration.HumanDuration(max(now.Sub(t), 0))
}

// bar draws a percentage in so many columns, to an eighth of one.
func bar(percent float64, columns int) string {
	eighths := int(percent / 100 * float64(columns) * 8)
	partial := [...]string{"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"}
	return strings.Repeat("█", eighths/8) + partial[eighths%8]
}

const sparks = 12 // columns of the births

// perSpark adds up the minutes that each column stands for.
func perSpark(minutes []int64) []int64 {
	columns := make([]int64, sparks)
	for i, n := range minutes {
		columns[i*sparks/len(minutes)] += n
	}
	return columns
}

// busiest is the highest column of all groups: they are drawn to one scale.
func busiest(groups []*census.Group) (most int64) {
	for _, g := range groups {
		most = max(most, slices.Max(perSpark(g.Births)))
	}
	return most
}

// birthLine draws births, of which scale is the most in a column.
func birthLine(minutes []int64, scale int64) string {
	levels := [...]rune{'▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'}
	var line strings.Builder
	for _, n := range perSpark(minutes) {
		if n == 0 || scale == 0 {
			line.WriteRune(' ')
			continue
		}
		line.WriteRune(levels[(n*int64(len(levels))-1)/scale])
	}
	return line.String()
}
