// SPDX-License-Identifier: Apache-2.0

package figure

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

func TestQuantile(t *testing.T) {
	values := []float64{4, 1, 3, 2}
	for q, want := range map[float64]float64{0: 1, 0.5: 2.5, 1: 4, 0.25: 1.75} {
		if got := Quantile(values, q); got != want {
			t.Errorf("quantile %g is %g, want %g", q, got, want)
		}
	}
	if got := Quantile(nil, 0.5); !math.IsNaN(got) {
		t.Errorf("median of nothing is %g", got)
	}
	if d := cmp.Diff([]float64{4, 1, 3, 2}, values); d != "" {
		t.Errorf("the values were changed:\n%s", d)
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.034: "0.03", 3: "3", 9.876: "9.88", 12.34: "12.3", 99.96: "100.0", 123.4: "123",
		1234567: "1,234,567", -1234: "-1,234", -123: "-123", math.Inf(1): ""} {
		if got := number(v); got != want {
			t.Errorf("%g is written as %q, want %q", v, got, want)
		}
	}
}

// report is one with everything in it.
func report() Report {
	frames := Set{Name: "frames", Title: "Frames & paths", Note: "More is better.", Unit: "frames a second", Ways: []string{"OVS alone", "ovs-xdp"},
		Ratios: []Ratio{{"times", "ovs-xdp", "OVS alone"}}}
	frames.Add("VM to VM", "OVS alone", 100_000, 300_000, 200_000)
	frames.Add("VM to VM", "ovs-xdp", 1_000_000)
	frames.Add("to a <tap>", "ovs-xdp", 500_000)
	frames.Figure("VM to VM").Targets = []Target{{Of: "times", AtLeast: 5}, {Of: "ovs-xdp", AtLeast: 2_000_000}}
	frames.Figure("to a <tap>").Targets = []Target{{Of: "times", AtLeast: 1}} // OVS was not measured
	program := Set{Title: "Program", Note: "Less is better.", Unit: "ns a frame", Ways: []string{"net"}, Least: true}
	program.Add("hit", "net", 31, 29, 30, 35)
	program.Figure("hit").Targets = []Target{{Of: "net", AtMost: 30}}
	return Report{Title: "Figures", Command: "make bench", Machine: "a machine", Sets: []Set{frames, program}}
}

func TestReport(t *testing.T) {
	r := report()
	b, err := r.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Read(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(r, got); d != "" {
		t.Errorf("what was read back differs (-want +got):\n%s", d)
	}
	for name, text := range map[string]string{
		"report.json": string(b), "report.md": r.Markdown(), "report.txt": r.Text(), "frames.svg": r.Sets[0].SVG(r.Command),
	} {
		file := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), text); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

func TestSVGIsXML(t *testing.T) {
	d := xml.NewDecoder(strings.NewReader(report().Sets[0].SVG("a < b")))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestNothing(t *testing.T) {
	for name, r := range map[string]Report{"no set": {}, "no figure": {Sets: []Set{{Title: "x"}}}} {
		if _, err := r.Marshal(); !errors.Is(err, ErrNothing) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if _, err := Read([]byte("{}")); !errors.Is(err, ErrNothing) {
		t.Errorf("error %v", err)
	}
}
