// SPDX-License-Identifier: Apache-2.0

package top

import (
	"fmt"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"
)

// What makes lines stand out (ECMA-48); bubbletea leaves out what the terminal
// can't do.
const (
	bold  = "\x1b[1m"
	faint = "\x1b[2m"
	red   = "\x1b[31m"
	green = "\x1b[32m"
	plain = "\x1b[0m"
)

const keys = "q quit   sort: l lane  o by OVS  b bits  x lost  n name   r reverse   p pause   up down scroll"

// View implements tea.Model.
func (m model) View() tea.View {
	v := tea.NewView(strings.Join(m.lines(), "\n"))
	v.AltScreen = true
	v.WindowTitle = "ovs-xdpctl top"
	return v
}

// frame is how many lines there are besides those of bridges and ports: the
// daemon, two headings, two empty ones, the keys.
const frame = 6

// room is how many ports fit on the screen.
func (m model) room() int { return max(m.height-frame-len(m.bridges), 1) }

// lines renders the screen, not more than fits.
func (m model) lines() []string {
	lines := []string{m.heading()}
	add := func(style, line string) { lines = append(lines, styled(style, clip(line, m.width))) }
	add(bold, fmt.Sprintf("%-16s %-8s %10s %12s %9s %9s %9s", "bridge", "state", "frames/s", "on the lane", "bits/s", "lost/s", "stations"))
	for _, r := range m.bridges {
		state, stations := "", 0
		for _, b := range m.last.Status.Bridges {
			if b.Name == r.Bridge {
				state, stations = b.State, b.Stations
			}
		}
		style := ""
		if state == "refused" {
			style = red
		}
		add(style, fmt.Sprintf("%-16s %-8s %10s %12s %9s %9s %9d", r.Bridge, state, number(r.Lane+r.OVS), percent(r.Share()), number(r.Bits), number(r.Lost), stations))
	}
	lines = append(lines, "")
	add(bold, fmt.Sprintf("%-16s %-12s %10s %10s %12s %9s %10s %8s  %s", "port", "bridge", "lane/s", "by OVS/s", "on the lane", "bits/s", "to it/s", "lost/s", "stays with OVS"))
	ports := slices.Clone(m.ports)
	Sort(ports, m.order, m.reverse)
	from := max(min(m.scroll, len(ports)-m.room()), 0)
	for _, r := range ports[from:min(from+m.room(), len(ports))] {
		style := ""
		if r.Lost > 0 {
			style = red
		}
		add(style, fmt.Sprintf("%-16s %-12s %10s %10s %12s %9s %10s %8s  %s", r.Interface, r.Bridge, number(r.Lane), number(r.OVS),
			percent(r.Share()), number(r.Bits), number(r.Out), number(r.Lost), r.Note))
	}
	if m.samples < 2 && m.err == nil {
		add(faint, "rates come with the second answer")
	}
	for len(lines) < m.height-1 {
		lines = append(lines, "")
	}
	lines = append(lines[:max(m.height-1, 1)], styled(faint, clip(keys, m.width)))
	return lines
}

// heading tells of the daemon.
func (m model) heading() string {
	s := m.last.Status
	style, text := green, fmt.Sprintf("ovs-xdpd %s, pid %d: lane %s", s.Version, s.PID, s.Lane)
	switch {
	case m.err != nil:
		style, text = red, m.err.Error()
	case m.samples == 0:
		style, text = faint, "asking ovs-xdpd ..."
	case s.Lane != "open":
		style = red
		text += " (" + s.Why + ")"
	}
	if m.samples > 0 && m.err == nil {
		order := m.order.String()
		if m.reverse {
			order += ", reversed"
		}
		text += fmt.Sprintf("   every %v   sorted by %s", m.config.Interval, order)
		if m.paused {
			text += "   PAUSED"
		}
	}
	return styled(style, clip(text, m.width))
}

func styled(style, text string) string {
	if style == "" {
		return text
	}
	return style + text + plain
}

// clip cuts a line to a number of columns.
func clip(line string, columns int) string {
	if r := []rune(line); len(r) > columns {
		return string(r[:max(columns, 0)])
	}
	return line
}

// number writes a rate with three digits, in thousands, millions or billions.
func number(f float64) string {
	units := []string{"", "k", "M", "G", "T"}
	i := 0
	for f >= 999.5 && i < len(units)-1 {
		f /= 1000
		i++
	}
	switch {
	case f == 0:
		return "0"
	case f < 9.95:
		return fmt.Sprintf("%.1f%s", f, units[i])
	}
	return fmt.Sprintf("%.0f%s", f, units[i])
}

// percent writes a share, "-" for none.
func percent(share float64) string {
	if share < 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", 100*share)
}
