package main

import (
	"fmt"
	"os"
	"slices"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// pairs are samples of the two sides; those with the same index were taken one after the other.
type pairs struct{ ours, theirs []sample }

// line is one line of the table: what was measured under a name on our side, against what on theirs.
type line struct {
	what    string
	against string
	unit    string
	ours    float64 // median
	theirs  float64 // median
	ratio   float64 // median of the pairs' ratios, which is not the ratio of the medians
	goal    goal
}

// goal is what a ratio is to be, and what our own figure is to be; the zero value is no goal.
type goal struct {
	atLeast float64 // ratio
	atMost  float64 // ratio
	below   float64 // our figure
	either  bool    // one of the two is enough
}

func (p pairs) line(what, against, name, unit string, g goal) line {
	l := line{what: what, against: against, unit: unit, goal: g}
	var ours, theirs, ratios []float64
	for i := range p.ours {
		ours, theirs = append(ours, p.ours[i][name]), append(theirs, p.theirs[i][name])
		ratios = append(ratios, p.ours[i][name]/p.theirs[i][name])
	}
	l.ours, l.theirs, l.ratio = median(ours), median(theirs), median(ratios)
	return l
}

func median(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

func (g goal) words() string {
	switch {
	case g == goal{}:
		return ""
	case g.below > 0 && g.atMost == 0:
		return fmt.Sprintf("< %.0f", g.below)
	case g.either:
		return fmt.Sprintf("<= %.2f or < %.0f", g.atMost, g.below)
	case g.below > 0:
		return fmt.Sprintf("<= %.2f, < %.0f", g.atMost, g.below)
	case g.atMost > 0:
		return fmt.Sprintf("<= %.2f", g.atMost)
	default:
		return fmt.Sprintf(">= %.2f", g.atLeast)
	}
}

func (l *line) verdict() string {
	switch {
	case l.goal == goal{}:
		return ""
	case l.goal.met(l.ours, l.ratio):
		return "PASS"
	default:
		return "short of goal"
	}
}

func (g goal) met(ours, ratio float64) bool {
	byRatio := ratio >= g.atLeast && (g.atMost == 0 || ratio <= g.atMost)
	byFigure := g.below == 0 || ours < g.below
	if g.either {
		return byRatio || byFigure
	}
	return byRatio && byFigure
}

// newTable returns a table without lines, on stdout.
func newTable() table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(os.Stdout)
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	style.Format.Header = text.FormatUpper
	t.SetStyle(style)
	t.SuppressTrailingSpaces()
	return t
}

// right aligns the columns from the first to the last to the right.
func right(t table.Writer, first, last int) {
	var columns []table.ColumnConfig
	for column := first; column <= last; column++ {
		columns = append(columns, table.ColumnConfig{Number: column, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(columns)
}

func printLines(lines []line) {
	t := newTable()
	t.AppendHeader(table.Row{"what", "against", "unit", "ours", "theirs", "ratio", "goal", ""})
	right(t, 4, 6)
	for i := range lines {
		l := &lines[i]
		t.AppendRow(table.Row{l.what, l.against, l.unit, figure(l.ours), figure(l.theirs), fmt.Sprintf("%.2f", l.ratio), l.goal.words(), l.verdict()})
	}
	t.Render()
}

// figure prints three digits or more.
func figure(f float64) string {
	switch {
	case f >= 100:
		return fmt.Sprintf("%.0f", f)
	case f >= 10:
		return fmt.Sprintf("%.1f", f)
	default:
		return fmt.Sprintf("%.2f", f)
	}
}
