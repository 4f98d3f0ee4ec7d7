// SPDX-License-Identifier: Apache-2.0

// Package doctor says what of a host is in the way of the express lane, why it
// matters, and which command mends it. Judge is pure: it judges Facts, which Read
// takes from the kernel, from Open vSwitch, from the command lines of QEMU and
// from the daemon, where each is there. The package changes nothing.
package doctor

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
)

// Level is how much a finding matters.
type Level string

// The levels.
const (
	// OK is as it should be.
	OK Level = "ok"
	// Note is good to know.
	Note Level = "note"
	// Warning is slower than it need be, or may go wrong.
	Warning Level = "warning"
	// Problem keeps something off the lane that asks for it, or everything.
	Problem Level = "problem"
)

// weight orders levels.
func (l Level) weight() int { return slices.Index([]Level{OK, Note, Warning, Problem}, l) }

// Finding is what one check found about one object.
type Finding struct {
	// Check names the check: "kernel", "vlan-offload".
	Check string `json:"check"`
	// Object is what was looked at: "host", a device, "br0", "br0/tap1", a guest.
	Object string `json:"object"`
	Level  Level  `json:"level"`
	// Found says what there is, Why why it matters, Mend which command mends it, ""
	// where none does.
	Found string `json:"found"`
	Why   string `json:"why"`
	Mend  string `json:"mend"`
}

// Report is all findings, the gravest first.
type Report struct {
	Findings []Finding `json:"findings"`
	// Worst is the level of the gravest.
	Worst Level `json:"worst"`
}

func newReport(findings []Finding) Report {
	slices.SortStableFunc(findings, func(a, b Finding) int { return cmp.Compare(b.Level.weight(), a.Level.weight()) })
	r := Report{Findings: append([]Finding{}, findings...), Worst: OK}
	if len(findings) > 0 {
		r.Worst = findings[0].Level
	}
	return r
}

// Text returns the report for people: what is as it should be in one line each,
// the rest with the reason and the remedy.
func (r Report) Text() string {
	var b strings.Builder
	count := make(map[Level]int)
	for _, f := range r.Findings {
		count[f.Level]++
		if f.Level == OK {
			continue
		}
		fmt.Fprintf(&b, "%s %s: %s: %s\n", f.Level, f.Check, f.Object, f.Found)
		fmt.Fprintf(&b, "    %s\n", f.Why)
		if f.Mend != "" {
			for line := range strings.Lines(f.Mend) {
				fmt.Fprintf(&b, "    -> %s\n", strings.TrimSuffix(line, "\n"))
			}
		}
	}
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, f := range r.Findings {
		if f.Level == OK {
			fmt.Fprintf(w, "ok %s\t%s\t%s\n", f.Check, f.Object, f.Found)
		}
	}
	w.Flush()
	fmt.Fprintf(&b, "%s, %s, %s, %d ok\n", plural(count[Problem], "problem"), plural(count[Warning], "warning"), plural(count[Note], "note"), count[OK])
	return b.String()
}

func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
