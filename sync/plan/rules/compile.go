// SPDX-License-Identifier: Apache-2.0

package rules

import "github.com/ovs-xdp/ovs-xdp/ovs"

// Compile compiles the rules of a bridge, those of all its tables, as ovs/flow
// parses them. The result does not depend on their order, but for the indexes in
// Origins.
//
// Rules that can't be reached are left out, and so are those at the end that
// pass. Where it would take too long, or become too many rules, the result is a
// single one that passes every frame, which it is in no other case.
func Compile(rules []ovs.Rule) Table {
	c := compiler{room: maxRules, work: maxWork}
	for i := range rules {
		if r := &rules[i]; r.Table <= lastTable {
			t := &c.tables[r.Table]
			t.steps = append(t.steps, newStep(r, i))
		}
	}
	c.run(&step{}, 0, 0)
	if c.work < 0 || len(c.list) > maxRules {
		return Table{General: []Rule{{}}}
	}
	var t Table
	last := len(c.list) - 1
	for last >= 0 && c.list[last].passes() {
		last--
	}
	for i := range last + 1 {
		t.add(&c.list[i], i)
	}
	return t
}

// add adds a rule to its list, if it can be reached there.
func (t *Table) add(s *step, order int) {
	port, hasPort := s.port()
	dst, hasDst := s.dst()
	switch {
	case hasPort:
		if t.ByPort == nil {
			t.ByPort = map[uint32][]Rule{}
		}
		t.ByPort[port] = extend(t.ByPort[port], s.rule(order), Fields{})
	case hasDst:
		if t.ByDst == nil {
			t.ByDst = map[ovs.MAC][]Rule{}
		}
		t.ByDst[dst] = extend(t.ByDst[dst], s.rule(order), Fields{Dst: wholeMAC})
	default:
		t.General = append(t.General, s.rule(order))
	}
}

// extend adds a rule to a list whose key stands for these fields, unless the last
// one of it matches all that has the key.
func extend(list []Rule, r Rule, key Fields) []Rule {
	if n := len(list); n > 0 && list[n-1].Match.Mask == key {
		return list
	}
	return append(list, r)
}
