// SPDX-License-Identifier: Apache-2.0

package figure

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// Measures of the plot, in pixels.
const (
	plotWidth  = 860
	labelWidth = 330
	valueWidth = 80
	barHeight  = 14
	groupGap   = 12
	topHeight  = 52
	footHeight = 30
)

// colours of the ways, in their order; to be told apart on light and on dark
// ground, and without red and green.
var colours = []string{"#8a8f98", "#e8710a", "#1a73c8", "#8e44ad"}

// SVG returns a plot of the set: a group of bars a figure, a bar a way. command
// is what measured it.
func (s Set) SVG(command string) string {
	most := 0.0
	for _, f := range s.Figures {
		for _, w := range s.Ways {
			if v := s.Value(f, w); v > most {
				most = v
			}
		}
	}
	group := barHeight*len(s.Ways) + groupGap
	height := topHeight + group*len(s.Figures) + footHeight
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n",
		plotWidth, height, plotWidth, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", plotWidth, height)
	text := func(x, y int, anchor, style, t string) {
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="%s"%s>%s</text>`+"\n", x, y, anchor, style, html.EscapeString(t))
	}
	text(10, 20, "start", ` font-weight="bold" font-size="14"`, s.Title+", "+s.Unit)
	x := labelWidth
	for i, w := range s.Ways {
		fmt.Fprintf(&b, `<rect x="%d" y="32" width="10" height="10" fill="%s"/>`+"\n", x, colours[i%len(colours)])
		text(x+14, 41, "start", "", w)
		x += 30 + 7*len(w)
	}
	for i, f := range s.Figures {
		y := topHeight + i*group
		text(labelWidth-8, y+barHeight*len(s.Ways)/2+4, "end", "", f.Name)
		for j, w := range s.Ways {
			v := s.Value(f, w)
			if math.IsNaN(v) || most == 0 {
				continue
			}
			length := int(math.Round(max(v, 0) / most * (plotWidth - labelWidth - valueWidth)))
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s"/>`+"\n",
				labelWidth, y+j*barHeight, length, barHeight-2, colours[j%len(colours)])
			text(labelWidth+length+5, y+j*barHeight+10, "start", ` font-size="11"`, number(v))
		}
	}
	text(10, height-10, "start", ` fill="#666666"`, command)
	b.WriteString("</svg>\n")
	return b.String()
}
