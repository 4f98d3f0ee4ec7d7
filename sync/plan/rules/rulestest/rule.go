// SPDX-License-Identifier: Apache-2.0

// Package rulestest makes random OpenFlow tables and frames for tests, and says in
// the plainest way what a table may do with a frame.
package rulestest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ovs-xdp/ovs-xdp/sync/plan/rules"
)

// Rule is an OpenFlow rule.
type Rule struct {
	Table    uint8
	Priority int
	// Idle and Hard are the timeouts in seconds, 0 for none.
	Idle, Hard int
	Fields     []Field
	// Action is as ovs-ofctl takes and prints it.
	Action string
	// Cookie is any number.
	Cookie int
}

// String returns the rule as ovs-ofctl takes it, and ovs/flow parses it.
func (r Rule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "cookie=%#x,table=%d,priority=%d", r.Cookie, r.Table, r.Priority)
	if r.Idle != 0 {
		fmt.Fprintf(&b, ",idle_timeout=%d", r.Idle)
	}
	if r.Hard != 0 {
		fmt.Fprintf(&b, ",hard_timeout=%d", r.Hard)
	}
	for _, f := range r.Fields {
		b.WriteString("," + f.Text)
	}
	return b.String() + " actions=" + r.Action
}

// maxTable is the highest table that rules are in.
const maxTable = 4

// Rules returns the rules of random tables, at most so many. When they are known
// they consist of what can be compiled exactly.
func (g *Generator) Rules(most int, known bool) []Rule {
	var list []Rule
	tables := 1 + g.IntN(maxTable)
	taken := map[string]bool{}
	for range 1 + g.IntN(most) {
		r := Rule{Table: uint8(max(0, g.IntN(2*tables)-tables)), Priority: 1 + g.IntN(8)}
		if g.odds(10) {
			r.Priority = pick(g, 0, 0, 32768, 65535)
		}
		if !g.odds(6) {
			r.Fields = g.fields(known)
		}
		if g.odds(8) {
			r.Idle = 100 * (1 + g.IntN(3))
		}
		if g.odds(16) {
			r.Hard = 1000
		}
		r.Action = g.action(r.Table, known)
		// A rule of the same table, priority and match would replace the other.
		key := Rule{Table: r.Table, Priority: r.Priority, Fields: r.Fields}.String()
		if !taken[key] {
			taken[key] = true
			list = append(list, r)
		}
	}
	return list
}

func (g *Generator) action(table uint8, known bool) string {
	next := int(table) + 1 + g.IntN(2)
	switch n := g.IntN(20); {
	case n < 7:
		return "NORMAL"
	case n < 12:
		return "drop"
	case n < 15:
		return fmt.Sprintf("resubmit(,%d)", next)
	case n < 16:
		return fmt.Sprintf("goto_table:%d", next)
	case n < 17:
		return fmt.Sprintf("resubmit(,%d)", g.IntN(maxTable)) // perhaps in a circle
	case known:
		return "NORMAL"
	}
	return pick(g, "output:2", "output:1,NORMAL", "resubmit(2,1)", "resubmit:3", fmt.Sprintf("resubmit(,%d),resubmit(,%d)", next, next+1),
		fmt.Sprintf("set_field:0x1->reg0,resubmit(,%d)", next), "CONTROLLER:128", "IN_PORT", "set_field:02:00:00:00:00:02->eth_dst,NORMAL",
		fmt.Sprintf("write_actions(output:2),goto_table:%d", next), fmt.Sprintf("clear_actions,goto_table:%d", next), "clear_actions", "FLOOD")
}

// Way is one of the ways that a frame may take through tables.
type Way struct {
	// Verdict is Pass when the way ends in anything but NORMAL or drop.
	Verdict rules.Verdict
	// Rules are those hit, as indexes.
	Rules []int
	// Idle is the shortest idle_timeout of them, in seconds, 0 for none; Hard tells
	// that one has a hard_timeout.
	Idle int
	Hard bool
}

// Ways returns the ways that OpenFlow leaves open for a frame.
func Ways(list []Rule, f *Frame) []Way { return ways(list, f, 0, Way{}) }

func ways(list []Rule, f *Frame, table uint8, so Way) []Way {
	if slices.ContainsFunc(so.Rules, func(i int) bool { return list[i].Table == table }) {
		return []Way{so} // a circle
	}
	// From the highest priority down, the rules that may match, until one does.
	order := make([]int, 0, len(list))
	for i := range list {
		if list[i].Table == table {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(a, b int) int { return list[b].Priority - list[a].Priority })
	var all []Way
	surely := -1
	for _, i := range order {
		r := &list[i]
		if r.Priority < surely {
			return all
		}
		matches, known := r.matches(f)
		if !matches {
			continue
		}
		if known {
			surely = r.Priority
		}
		all = append(all, r.does(list, f, so, i)...)
	}
	if surely < 0 {
		all = append(all, so) // a miss
	}
	return all
}

// matches tells whether a rule matches a frame, and whether that is known.
func (r *Rule) matches(f *Frame) (matches, known bool) {
	known = true
	for _, field := range r.Fields {
		switch {
		case field.Matches == nil:
			known = false
		case !field.Matches(f):
			return false, true
		}
	}
	return true, known
}

func (r *Rule) does(list []Rule, f *Frame, so Way, index int) []Way {
	so.Rules = append(slices.Clone(so.Rules), index)
	so.Hard = so.Hard || r.Hard != 0
	if r.Idle != 0 && (so.Idle == 0 || r.Idle < so.Idle) {
		so.Idle = r.Idle
	}
	var next uint8
	switch {
	case r.Action == "NORMAL":
		so.Verdict = rules.Normal
	case r.Action == "drop":
		so.Verdict = rules.Drop
	case scan(r.Action, "resubmit(,%d)", &next), scan(r.Action, "goto_table:%d", &next):
		return ways(list, f, next, so)
	}
	return []Way{so}
}

// scan reads a text that is exactly of this form.
func scan(text, format string, n *uint8) bool {
	_, err := fmt.Sscanf(text, format, n)
	return err == nil && fmt.Sprintf(format, *n) == text
}
