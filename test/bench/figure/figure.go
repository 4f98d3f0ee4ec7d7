// SPDX-License-Identifier: Apache-2.0

// Package figure holds what was measured, and shows it: as a table, as JSON, as
// a plot. It is pure: it measures nothing, and the same figures give the same
// bytes.
package figure

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
)

// Report is what one command has measured.
type Report struct {
	Title string `json:"title"`
	// Command reproduces it; Machine says on what it was measured.
	Command string `json:"command"`
	Machine string `json:"machine"`
	Sets    []Set  `json:"sets"`
}

// Set is figures of one unit, of the same ways.
type Set struct {
	// Name is that of the plot's file, without its ending.
	Name string `json:"name"`
	// Title says what the figures are of, Note how to read them.
	Title string `json:"title"`
	Note  string `json:"note"`
	// Unit is that of all values.
	Unit string `json:"unit"`
	// Ways are what was measured side by side, in the order of columns.
	Ways []string `json:"ways"`
	// Least tells that the smallest value counts, beside which the median is
	// shown: on a busy machine nothing makes a thing faster than it is.
	Least bool `json:"least,omitempty"`
	// Ratios are pairs of ways of which the table shows the quotient.
	Ratios  []Ratio  `json:"ratios,omitempty"`
	Figures []Figure `json:"figures"`
}

// Ratio is what one way is of another.
type Ratio struct {
	Name string `json:"name"`
	Of   string `json:"of"`
	By   string `json:"by"`
}

// Figure is one thing that was measured.
type Figure struct {
	Name string `json:"name"`
	// Values are those of all rounds, by way. A way that does not apply has none.
	Values map[string][]float64 `json:"values"`
	// Targets are what the project wants of it.
	Targets []Target `json:"targets,omitempty"`
}

// Target is a bound of a way, or of a ratio. A bound of 0 is none.
type Target struct {
	Of      string  `json:"of"`
	AtMost  float64 `json:"at_most,omitempty"`
	AtLeast float64 `json:"at_least,omitempty"`
}

// Add puts one more value of a way into the figure of a name, which it makes when
// there is none.
func (s *Set) Add(name, way string, values ...float64) {
	f := s.Figure(name)
	f.Values[way] = append(f.Values[way], values...)
}

// Figure returns the figure of a name, which it makes when there is none. It is
// good until the next one is made.
func (s *Set) Figure(name string) *Figure {
	i := slices.IndexFunc(s.Figures, func(f Figure) bool { return f.Name == name })
	if i < 0 {
		i = len(s.Figures)
		s.Figures = append(s.Figures, Figure{Name: name, Values: make(map[string][]float64)})
	}
	return &s.Figures[i]
}

// Value returns what counts of a way: the median, or the least; NaN when there
// is none.
func (s Set) Value(f Figure, way string) float64 {
	if s.Least {
		return Quantile(f.Values[way], 0)
	}
	return Quantile(f.Values[way], 0.5)
}

// Quotient returns the value of a ratio, NaN when a way has none.
func (s Set) Quotient(f Figure, r Ratio) float64 { return s.Value(f, r.Of) / s.Value(f, r.By) }

// Met tells whether a figure keeps to a target.
func (s Set) Met(f Figure, t Target) bool {
	v := s.Value(f, t.Of)
	for _, r := range s.Ratios {
		if r.Name == t.Of {
			v = s.Quotient(f, r)
		}
	}
	return v >= t.AtLeast && (t.AtMost == 0 || v <= t.AtMost) // never of NaN
}

// Quantile returns the value below which the part q (0 to 1) of the values lies,
// between two neighbours in proportion; NaN of no values.
func Quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

// ErrNothing says that there are no figures.
var ErrNothing = errors.New("nothing was measured")

// Marshal returns the report as JSON that people can read.
func (r Report) Marshal() ([]byte, error) {
	for _, s := range r.Sets {
		if len(s.Figures) == 0 {
			return nil, fmt.Errorf("write %q: %w", s.Title, ErrNothing)
		}
	}
	if len(r.Sets) == 0 {
		return nil, fmt.Errorf("write %q: %w", r.Title, ErrNothing)
	}
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return nil, fmt.Errorf("write %q: %w", r.Title, err)
	}
	return append(b, '\n'), nil
}

// Read reads a report that Marshal has written.
func Read(b []byte) (Report, error) {
	var r Report
	if err := json.Unmarshal(b, &r); err != nil {
		return Report{}, fmt.Errorf("read figures: %w", err)
	}
	if len(r.Sets) == 0 {
		return Report{}, fmt.Errorf("read figures: %w", ErrNothing)
	}
	return r, nil
}
