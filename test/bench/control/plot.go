// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"strings"
)

// Sizes of the plot in pixels.
const (
	panelWide, panelHigh = 250, 170
	marginLeft           = 60
	marginTop            = 40
	marginBottom         = 50
	gap                  = 70
)

// panel is one of the plot's diagrams: how some figures grow with the number of
// stations, both axes logarithmic.
type panel struct {
	title string
	lines []panelLine
}

type panelLine struct {
	name   string
	points [][2]float64 // stations and figure
}

// plot draws the figures as SVG, as it is shown in the README.
func plot(r *result, kinds []string) string {
	points := func(value func(f *row) float64) [][2]float64 {
		var list [][2]float64
		for i := range r.Figures {
			if v := value(&r.Figures[i]); v > 0 {
				list = append(list, [2]float64{float64(r.Figures[i].Stations), v})
			}
		}
		return list
	}
	cold := panel{title: "cold start, ms"}
	for _, kind := range kinds {
		cold.lines = append(cold.lines, panelLine{kind, points(func(f *row) float64 { return median(f.Cold[kind]) })})
	}
	return draw([]panel{
		cold,
		{"one station, ms", []panelLine{
			{"new, median", points(func(f *row) float64 { return median(f.New) })},
			{"new, p99", points(func(f *row) float64 { return quantile(f.New, 0.99) })},
			{"1,000 moved, median", points(func(f *row) float64 { return median(f.Moves) })},
		}},
		{"idle, % of a core", []panelLine{
			{"ovs-xdpd", points(func(f *row) float64 { return f.CPU })},
			{"ovs-vswitchd, more", points(func(f *row) float64 { return f.OVSPolled - f.OVSAlone })},
		}},
		{"memory, MiB", []panelLine{
			{"resident", points(func(f *row) float64 { return f.RSS })},
		}},
	})
}

var colours = []string{"#0072b2", "#d55e00", "#009e73"}

func draw(panels []panel) string {
	var b strings.Builder
	wide := marginLeft + len(panels)*(panelWide+gap)
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">`+"\n",
		wide, marginTop+panelHigh+marginBottom)
	b.WriteString(`<rect width="100%" height="100%" fill="white"/>` + "\n")
	for i, p := range panels {
		p.draw(&b, marginLeft+i*(panelWide+gap), marginTop)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// decades returns the powers of ten around all values of one coordinate.
func (p *panel) decades(coordinate int) (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, l := range p.lines {
		for _, at := range l.points {
			low, high = min(low, math.Floor(math.Log10(at[coordinate]))), max(high, math.Ceil(math.Log10(at[coordinate])))
		}
	}
	if math.IsInf(low, 0) {
		return 0, 1
	}
	return low, max(high, low+1)
}

func (p *panel) draw(b *strings.Builder, left, top int) {
	x0, x1 := p.decades(0)
	y0, y1 := p.decades(1)
	x := func(v float64) float64 { return float64(left) + (math.Log10(v)-x0)/(x1-x0)*panelWide }
	y := func(v float64) float64 { return float64(top) + panelHigh - (math.Log10(v)-y0)/(y1-y0)*panelHigh }
	fmt.Fprintf(b, `<text x="%d" y="%d" font-weight="bold">%s</text>`+"\n", left, top-12, p.title)
	fmt.Fprintf(b, `<rect x="%d" y="%d" width="%d" height="%d" fill="none" stroke="#999"/>`+"\n", left, top, panelWide, panelHigh)
	for e := x0; e <= x1; e++ {
		at := x(math.Pow(10, e))
		fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", at, top+panelHigh+15, figure(math.Pow(10, e)))
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="middle" fill="#555">stations</text>`+"\n", left+panelWide/2, top+panelHigh+32)
	for e := y0; e <= y1; e++ {
		at := y(math.Pow(10, e))
		fmt.Fprintf(b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#ddd"/>`+"\n", left, at, left+panelWide, at)
		fmt.Fprintf(b, `<text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n", left-5, at+4, figure(math.Pow(10, e)))
	}
	for i, l := range p.lines {
		colour := colours[i%len(colours)]
		var path []string
		for _, at := range l.points {
			path = append(path, fmt.Sprintf("%.1f,%.1f", x(at[0]), y(at[1])))
			fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", x(at[0]), y(at[1]), colour)
			fmt.Fprintf(b, `<text x="%.1f" y="%.1f" fill="%s">%s</text>`+"\n", x(at[0])+5, y(at[1])-5, colour, figure(at[1]))
		}
		fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s"/>`+"\n", strings.Join(path, " "), colour)
		fmt.Fprintf(b, `<text x="%d" y="%d" fill="%s">%s</text>`+"\n", left+8, top+15+13*i, colour, l.name)
	}
}
