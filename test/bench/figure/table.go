// SPDX-License-Identifier: Apache-2.0

package figure

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
)

// rows returns the set as a table: a row of heads, and one a figure.
func (s Set) rows() [][]string {
	head := []string{s.Unit}
	for _, w := range s.Ways {
		if s.Least {
			w += ", least and median"
		}
		head = append(head, w)
	}
	for _, r := range s.Ratios {
		head = append(head, r.Name)
	}
	targets := false
	for _, f := range s.Figures {
		targets = targets || len(f.Targets) > 0
	}
	if targets {
		head = append(head, "target")
	}
	rows := [][]string{head}
	for _, f := range s.Figures {
		row := []string{f.Name}
		for _, w := range s.Ways {
			cell := number(s.Value(f, w))
			if s.Least && len(f.Values[w]) > 0 {
				cell += " / " + number(Quantile(f.Values[w], 0.5))
			}
			row = append(row, cell)
		}
		for _, r := range s.Ratios {
			row = append(row, number(s.Quotient(f, r)))
		}
		if targets {
			row = append(row, s.verdicts(f))
		}
		rows = append(rows, row)
	}
	return rows
}

func (s Set) verdicts(f Figure) string {
	var all []string
	for _, t := range f.Targets {
		verdict := "missed"
		if s.Met(f, t) {
			verdict = "met"
		}
		bound := "at most " + number(t.AtMost)
		if t.AtLeast > 0 {
			bound = "at least " + number(t.AtLeast)
		}
		if len(s.Ways) > 1 {
			bound = t.Of + " " + bound
		}
		all = append(all, bound+": "+verdict)
	}
	return strings.Join(all, "; ")
}

// number writes a value with three digits or more, and nothing for NaN.
func number(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return ""
	case a >= 100:
		return thousands(int64(math.Round(v)))
	case a == math.Trunc(a):
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Markdown returns the report as a document.
func (r Report) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\nWritten by `%s` on %s.\n", r.Title, r.Command, r.Machine)
	for _, s := range r.Sets {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n%s", s.Title, s.Note, s.Markdown())
	}
	return b.String()
}

// Markdown returns the set as a table.
func (s Set) Markdown() string {
	var b strings.Builder
	for i, row := range s.rows() {
		b.WriteString("| " + strings.Join(row, " | ") + " |\n")
		if i == 0 {
			b.WriteString("|---|" + strings.Repeat("---:|", len(row)-1) + "\n")
		}
	}
	return b.String()
}

// Text returns the report for a terminal.
func (r Report) Text() string {
	var b strings.Builder
	for _, s := range r.Sets {
		fmt.Fprintf(&b, "%s\n%s\n\n", s.Title, s.Note)
		t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		for _, row := range s.rows() {
			fmt.Fprintln(t, "  "+strings.Join(row, "\t"))
		}
		_ = t.Flush() // a strings.Builder takes everything
		b.WriteByte('\n')
	}
	return b.String()
}
