// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// result is what a run has measured, and where.
type result struct {
	Kernel  string `json:"kernel"`
	OVS     string `json:"ovs"`
	CPUs    int    `json:"cpus"`
	Load    string `json:"load_before"`
	Ports   int    `json:"ports"`
	Rounds  int    `json:"rounds"`
	Figures []row  `json:"figures"`
}

// row is what was measured with so many stations. Times are in milliseconds,
// memory in MiB, CPU in percent of a core.
type row struct {
	Stations int `json:"stations"`
	// Cold holds, by kind of the ports, the time from the daemon's being ready
	// to ask OVS until all rows are in force, one for each round; Whole that from
	// the start of the process.
	Cold  map[string][]float64 `json:"cold_ms"`
	Whole map[string][]float64 `json:"cold_from_exec_ms"`
	// New holds the times of new stations; Written is how many rows were changed
	// for them.
	New     []float64 `json:"new_station_ms"`
	Written int       `json:"rows_written_for_them"`
	// Moves holds the times of stations that moved within a second, and Settled
	// how long after the last of them all were on the lane.
	Moves   []float64 `json:"moved_station_ms"`
	Settled float64   `json:"moves_settled_ms"`
	// CPU is the daemon's, OVSAlone and OVSPolled that of ovs-vswitchd without
	// and with it.
	CPU       float64 `json:"cpu_percent"`
	OVSAlone  float64 `json:"vswitchd_alone_percent"`
	OVSPolled float64 `json:"vswitchd_polled_percent"`
	// RSS is resident memory after the idle time, Peak the most so far, and Grown
	// what was added in the idle time.
	RSS   float64 `json:"rss_mib"`
	Peak  float64 `json:"rss_peak_mib"`
	Grown float64 `json:"rss_grown_mib"`
}

// quantile of a list that need not be sorted; 0 of an empty one.
func quantile(list []float64, q float64) float64 {
	if len(list) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(list))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func median(list []float64) float64 { return quantile(list, 0.5) }

func millis(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}

func allMillis(list []time.Duration) []float64 {
	var out []float64
	for _, d := range list {
		out = append(out, millis(d))
	}
	return out
}

// line is a line of the table: a figure for each number of stations, beside its
// target.
type line struct {
	name   string
	target func(stations int) float64 // 0: none
	value  func(r *row) float64
	unit   string
}

// targets by number of stations.
func at(targets map[int]float64) func(int) float64 {
	return func(stations int) float64 { return targets[stations] }
}

func lines(kinds []string) []line {
	var all []line
	for _, kind := range kinds {
		all = append(all, line{"cold start, " + kind + " ports", at(map[int]float64{10_000: 1000, 100_000: 5000}),
			func(r *row) float64 { return median(r.Cold[kind]) }, "ms"})
	}
	always := func(v float64) func(int) float64 { return func(int) float64 { return v } }
	return append(all,
		line{"new station, median", at(map[int]float64{10_000: 20}), func(r *row) float64 { return median(r.New) }, "ms"},
		line{"new station, p99", at(map[int]float64{10_000: 100}), func(r *row) float64 { return quantile(r.New, 0.99) }, "ms"},
		line{"rows written for a new station", always(1), func(r *row) float64 { return float64(r.Written) / float64(max(len(r.New), 1)) }, ""},
		line{"1,000 moves in a second, all settled after", at(map[int]float64{10_000: 1000}), func(r *row) float64 { return r.Settled }, "ms"},
		line{"the same, median of a move", always(0), func(r *row) float64 { return median(r.Moves) }, "ms"},
		line{"CPU, idle", at(map[int]float64{10_000: 0.5}), func(r *row) float64 { return r.CPU }, "%"},
		line{"what polling costs ovs-vswitchd, idle", at(map[int]float64{10_000: 1}), func(r *row) float64 { return r.OVSPolled - r.OVSAlone }, "%"},
		line{"resident memory", at(map[int]float64{10_000: 64, 100_000: 200}), func(r *row) float64 { return r.RSS }, "MiB"},
		line{"the most so far", always(0), func(r *row) float64 { return r.Peak }, "MiB"},
		line{"growth while idle", always(0), func(r *row) float64 { return r.Grown }, "MiB"},
	)
}

// table writes the figures as Markdown. Those that miss their target say so.
func (r *result) table(kinds []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %d ports, stations |", r.Ports)
	for i := range r.Figures {
		fmt.Fprintf(&b, " %s |", thousands(r.Figures[i].Stations))
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(r.Figures)) + "\n")
	for _, l := range lines(kinds) {
		fmt.Fprintf(&b, "| %s |", l.name)
		for i := range r.Figures {
			v := l.value(&r.Figures[i])
			text := strings.TrimSpace(figure(v) + " " + l.unit)
			if t := l.target(r.Figures[i].Stations); t > 0 && v > t {
				text += fmt.Sprintf(" (**misses** %s)", strings.TrimSpace(figure(t)+" "+l.unit))
			} else if t > 0 {
				text += fmt.Sprintf(" (at most %s)", figure(t))
			}
			fmt.Fprintf(&b, " %s |", text)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// figure writes a number with three digits that count.
func figure(v float64) string {
	switch {
	case v >= 1000 || v <= -1000:
		return thousands(int(math.Round(v)))
	case v >= 100 || v == float64(int(v)):
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// thousands writes a number as 100,000.
func thousands(n int) string {
	if n < 0 {
		return "-" + thousands(-n)
	}
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
