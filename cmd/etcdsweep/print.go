package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"etcdsweep/plan"
)

const (
	width   = 80 // columns of a screen at three in the morning
	maxRows = 10 // of one table of a summary
)

func count(n int64) string { return humanize.Comma(n) }

func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// newTable returns a table without lines, for columns that are wide enough to be told apart without.
func newTable(w io.Writer, header ...any) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	style.Format.Header = text.FormatUpper
	style.Size.WidthMax = width
	t.SetStyle(style)
	t.SuppressTrailingSpaces()
	t.AppendHeader(header)
	return t
}

func sum(kept []plan.KeptOut) (n int64) {
	for _, k := range kept {
		n += k.Count
	}
	return n
}

// printTallies prints a table of the largest tallies. Where they carry UIDs, each has a line for its own.
func printTallies(w io.Writer, name string, tallies []plan.Tally) {
	if len(tallies) == 0 {
		return
	}
	fmt.Fprintln(w)
	t := newTable(w, name, "keys", "bytes")
	t.SetColumnConfigs([]table.ColumnConfig{
		{Number: 1, WidthMax: 50},
		{Number: 2, Align: text.AlignRight, AlignHeader: text.AlignRight},
		{Number: 3, Align: text.AlignRight, AlignHeader: text.AlignRight},
	})
	for i, tally := range tallies {
		if i == maxRows {
			t.AppendRow(table.Row{fmt.Sprintf("... and %d more", len(tallies)-i)})
			break
		}
		t.AppendRow(table.Row{tally.Name, count(tally.Entries), size(tally.Bytes)})
		if tally.UID != "" {
			t.AppendRow(table.Row{"  UID " + tally.UID})
		}
	}
	t.Render()
}

func printKeptOut(w io.Writer, title string, kept []plan.KeptOut) {
	if len(kept) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s:\n", title)
	for _, k := range kept {
		fmt.Fprintf(w, "  %s  %s\n", count(k.Count), k.Reason)
		if k.Why != "" {
			fmt.Fprintf(w, "      %s\n", k.Why)
		}
		for _, example := range k.Examples {
			fmt.Fprintf(w, "      %s\n", example)
		}
	}
}

// printHint prints what to do, behind an arrow, in as many lines as it takes.
func printHint(w io.Writer, margin, hint string) {
	arrow := "-> "
	for line := range strings.SplitSeq(text.WrapSoft(hint, width-len(margin)-len(arrow)), "\n") {
		fmt.Fprintf(w, "%s%s%s\n", margin, arrow, strings.TrimRight(line, " "))
		arrow = "   "
	}
}

func printNext(w io.Writer, commands []string) {
	fmt.Fprintln(w, "\nNext:")
	for _, command := range commands {
		fmt.Fprintf(w, "  %s\n", command)
	}
}
