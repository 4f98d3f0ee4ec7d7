// SPDX-License-Identifier: Apache-2.0

package fdb

import (
	"strings"
	"testing"
)

func TestParseStats(t *testing.T) {
	captured := read(t, "stats-3.1.txt")
	want := Stats{Current: 8, Max: 8192, Static: 2, Learned: 10, Expired: 1}
	if got, err := ParseStats(captured); err != nil || got != want {
		t.Errorf("3.1: %+v, %v; want %+v", got, err, want)
	}

	lines := strings.SplitAfter(captured, "\n")
	before216 := strings.Join(append(lines[:2:2], lines[3:]...), "")
	want.Static = 0
	if got, err := ParseStats(before216); err != nil || got != want {
		t.Errorf("without static rows: %+v, %v; want %+v", got, err, want)
	}
	odd := strings.ReplaceAll(strings.ReplaceAll(before216, "entries", "  entries  "), ":", "  :   ")
	if got, err := ParseStats(odd); err != nil || got != want {
		t.Errorf("odd spacing: %+v, %v; want %+v", got, err, want)
	}

	for name, text := range map[string]string{
		"nothing":     "",
		"a line less": strings.Join(lines[:len(lines)-2], ""),
		"no current":  lines[0] + strings.Join(lines[2:], ""),
		"line twice":  captured + lines[4],
		"new line":    captured + "  Total number of flushed MAC entries     : 0\n",
		"no number":   strings.Replace(captured, ": 10", ": x", 1),
		"no maximum":  strings.Replace(captured, "8/8192", "8", 1),
		"negative":    strings.Replace(captured, ": 10", ": -1", 1),
		"late header": captured + lines[0],
	} {
		if got, err := ParseStats(text); err == nil {
			t.Errorf("%s: %+v, want an error", name, got)
		}
	}
}

func FuzzParseStats(f *testing.F) {
	f.Add(read(f, "stats-3.1.txt"))
	f.Fuzz(func(t *testing.T, text string) { ParseStats(text) })
}
