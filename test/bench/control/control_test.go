// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

func TestQuantile(t *testing.T) {
	list := []float64{5, 1, 4, 2, 3}
	for _, tt := range []struct{ q, want float64 }{{0, 1}, {0.5, 3}, {0.99, 5}, {1, 5}} {
		if got := quantile(list, tt.q); got != tt.want {
			t.Errorf("quantile %v: %v, want %v", tt.q, got, tt.want)
		}
	}
	if got := median(nil); got != 0 {
		t.Errorf("median of nothing: %v", got)
	}
}

func TestFigure(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.333: "0.33", 7: "7", 12.34: "12.3", 999.4: "999", 1234.5: "1,235", -1500: "-1,500", 1e6: "1,000,000"} {
		if got := figure(v); got != want {
			t.Errorf("%v: %q, want %q", v, got, want)
		}
	}
}

// some is a result of a run with few stations, and of one with many that misses
// targets.
var some = result{Ports: 500, Rounds: 3, OVS: "ovs-vswitchd (Open vSwitch) 3.1.0", Kernel: "6.1", CPUs: 2, Load: "0.10", Figures: []row{
	{Stations: 1000, Cold: map[string][]float64{"tap": {100, 90, 110}}, New: []float64{1, 2, 3}, Written: 3, Moves: []float64{4}, Settled: 5,
		CPU: 0.1, OVSAlone: 0.5, OVSPolled: 0.75, RSS: 30, Peak: 33, Grown: 0},
	{Stations: 10000, Cold: map[string][]float64{"tap": {2000}}, New: []float64{30}, Written: 2, Moves: []float64{4}, Settled: 900,
		CPU: 0.6, OVSAlone: 0.5, OVSPolled: 0.75, RSS: 40, Peak: 43, Grown: -1},
}}

func TestTable(t *testing.T) {
	want := `| 500 ports, stations | 1,000 | 10,000 |
|---|---|---|
| cold start, tap ports | 100 ms | 2,000 ms (**misses** 1,000 ms) |
| new station, median | 2 ms | 30 ms (**misses** 20 ms) |
| new station, p99 | 3 ms | 30 ms (at most 100) |
| rows written for a new station | 1 (at most 1) | 2 (**misses** 1) |
| 1,000 moves in a second, all settled after | 5 ms | 900 ms (at most 1,000) |
| the same, median of a move | 4 ms | 4 ms |
| CPU, idle | 0.10 % | 0.60 % (**misses** 0.50 %) |
| what polling costs ovs-vswitchd, idle | 0.25 % | 0.25 % (at most 1) |
| resident memory | 30 MiB | 40 MiB (at most 64) |
| the most so far | 33 MiB | 43 MiB |
| growth while idle | 0 MiB | -1 MiB |
`
	if diff := cmp.Diff(want, some.table([]string{"tap"})); diff != "" {
		t.Error(diff)
	}
}

func TestWithin(t *testing.T) {
	got, err := within([]byte("before\n"+tableBegin+"old\n"+tableEnd+"after\n"), "new\n")
	if err != nil || string(got) != "before\n"+tableBegin+"new\n"+tableEnd+"after\n" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := within([]byte(tableBegin), "new\n"); err == nil {
		t.Error("no error without an end")
	}
}

func TestPlot(t *testing.T) {
	svg := plot(&some, []string{"tap"})
	dec := xml.NewDecoder(strings.NewReader(svg))
	for {
		_, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in %s", err, svg)
		}
	}
	if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
		t.Error("a figure can't be drawn")
	}
	for _, text := range []string{"cold start, ms", "10,000", "2,000"} {
		if !strings.Contains(svg, ">"+text+"<") {
			t.Errorf("no %q in the plot", text)
		}
	}
	if plot(&result{}, nil) == "" {
		t.Error("no plot of nothing")
	}
}

func TestTableWords(t *testing.T) {
	tab := &table{buckets: make([]bucket, 2)}
	s := station{mac: ovs.MAC{0x52, 0x54, 0, 1, 2, 3}, vlan: 10}
	if key := keyOf(s); key != 0x525400010203_100a {
		t.Fatalf("key %#x", key)
	}
	before := tab.copy()
	tab.buckets[1].key[2], tab.buckets[1].row[2] = keyOf(s), rowValid|rowMoved|7
	if tab.installed() != 0 || tab.has(keyOf(s)) {
		t.Error("a row that is not confirmed counts")
	}
	tab.buckets[1].row[2] &^= rowMoved
	if tab.installed() != 1 || !tab.has(keyOf(s)) {
		t.Error("a row is not found")
	}
	if n := changes(before, tab.copy()); n != 1 {
		t.Errorf("%d changes", n)
	}
	after := tab.copy()
	tab.buckets[1].row[2] |= 5 << 32
	if n := changes(after, tab.copy()); n != 0 {
		t.Error("a stamp is a change")
	}
}

func TestProcess(t *testing.T) {
	if _, err := cpuTime(os.Getpid()); err != nil {
		t.Error(err)
	}
	m, err := memoryOf(os.Getpid())
	if err != nil || m.resident == 0 || m.peak < m.resident/2 {
		t.Errorf("%+v, %v", m, err)
	}
}
