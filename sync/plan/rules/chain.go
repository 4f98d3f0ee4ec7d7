// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"cmp"
	"slices"
)

const (
	// maxChain is how many tables behind the first a frame is followed through.
	maxChain = 16
	// maxBranches is how many rules may come of one rule that goes on in another
	// table; if there were more, its frames pass.
	maxBranches = 4096
	// maxRules is how many rules a Table has at most.
	maxRules = 65536
	// maxWork is how often two patterns are compared at most: a fraction of a
	// second.
	maxWork = 1 << 24
)

// compiler turns tables into one list.
type compiler struct {
	tables [lastTable + 1]table
	// list is the result.
	list []step
	// room is the length of list at which a chain is given up.
	room int
	// work is how many comparisons are left; below 0 all is given up.
	work int
}

type table struct {
	steps []step
	// sorted tells that the first step that matches decides.
	sorted bool
	// entered tells that the chain that is followed is in this table.
	entered bool
}

// enter returns the steps of a table, in the order in which they decide.
func (c *compiler) enter(n uint8) []step {
	t := &c.tables[n]
	t.entered = true
	if t.sorted {
		return t.steps
	}
	t.sorted = true
	all := t.steps
	slices.SortStableFunc(all, func(a, b step) int {
		return cmp.Or(cmp.Compare(b.priority, a.priority), a.compare(&b))
	})
	t.steps = make([]step, 0, len(all))
	for len(all) > 0 {
		n := slices.IndexFunc(all, func(s step) bool { return s.priority != all[0].priority })
		if n < 0 {
			n = len(all)
		}
		t.steps = append(t.steps, c.settle(all[:n])...)
		all = all[n:]
	}
	return t.steps
}

// run adds to the list what becomes of the frames of from in a table, the depth
// tables behind the first.
func (c *compiler) run(from *step, n uint8, depth int) {
	steps := c.enter(n)
	defer func() { c.tables[n].entered = false }()
	for i := range steps {
		if c.work--; c.work < 0 || len(c.list) > c.room {
			return
		}
		if !from.meets(&steps[i].pattern) {
			continue
		}
		s := from.then(&steps[i])
		if s.goesOn {
			c.follow(&s, depth+1)
		} else {
			c.list = append(c.list, s)
		}
		if s.pattern == from.pattern {
			return // nothing is left for the rest
		}
	}
	// What OVS does with a frame that no rule matches is for it to say.
	c.list = append(c.list, step{pattern: from.pattern, rules: from.rules})
}

// follow adds to the list what becomes of the frames of s in the table where it
// goes on. They pass where the chain is too long, or in a circle, which OVS ends
// as an error.
func (c *compiler) follow(s *step, depth int) {
	before := len(c.list)
	if depth == 1 {
		c.room = before + maxBranches
		defer func() { c.room = maxRules }()
	}
	if depth <= maxChain && !c.tables[s.next].entered {
		c.run(s, s.next, depth)
		if depth > 1 || len(c.list) <= c.room {
			return
		}
	}
	c.list = append(c.list[:before], step{pattern: s.pattern, rules: s.rules})
}
