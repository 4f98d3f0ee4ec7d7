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

// Set is what one run has measured.
type Set struct {
	// Title says what the figures are of, Note how to read them.
	Title string `json:"title"`
	Note  string `json:"note"`
	// Unit is that of all values.
	Unit string `json:"unit"`
	// Ways are what was measured side by side, in the order of columns.
	Ways []string `json:"ways"`
	// Ratios are pairs of ways of which the table shows the quotient.
	Ratios  []Ratio  `json:"ratios,omitempty"`
	Figures []Figure `json:"figures"`
}

// Ratio is what the median of one way is of that of another.
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
	// Target is what the project wants of it, in words; "" for nothing.
	Target string `json:"target,omitempty"`
}

// Add puts one more value of a way into the figure of a name, which it makes when
// there is none.
func (s *Set) Add(name, way string, value float64) {
	i := slices.IndexFunc(s.Figures, func(f Figure) bool { return f.Name == name })
	if i < 0 {
		i = len(s.Figures)
		s.Figures = append(s.Figures, Figure{Name: name, Values: make(map[string][]float64)})
	}
	s.Figures[i].Values[way] = append(s.Figures[i].Values[way], value)
}

// Median returns the median of a way, NaN when there is no value.
func (f Figure) Median(way string) float64 { return Quantile(f.Values[way], 0.5) }

// Least returns the smallest value of a way, NaN when there is none.
func (f Figure) Least(way string) float64 { return Quantile(f.Values[way], 0) }

// Ratio returns the quotient of two medians, NaN when one is missing.
func (f Figure) Ratio(r Ratio) float64 { return f.Median(r.Of) / f.Median(r.By) }

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

// ErrNothing says that a set has no figures.
var ErrNothing = errors.New("nothing was measured")

// Marshal returns the set as JSON that people can read.
func (s Set) Marshal() ([]byte, error) {
	if len(s.Figures) == 0 {
		return nil, fmt.Errorf("write %q: %w", s.Title, ErrNothing)
	}
	b, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return nil, fmt.Errorf("write %q: %w", s.Title, err)
	}
	return append(b, '\n'), nil
}

// Read reads a set that Marshal has written.
func Read(b []byte) (Set, error) {
	var s Set
	if err := json.Unmarshal(b, &s); err != nil {
		return Set{}, fmt.Errorf("read figures: %w", err)
	}
	if len(s.Figures) == 0 {
		return Set{}, fmt.Errorf("read figures: %w", ErrNothing)
	}
	return s, nil
}
