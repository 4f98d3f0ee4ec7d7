// SPDX-License-Identifier: Apache-2.0

package rules

import "slices"

// Matches tells whether a frame with these fields is selected.
func (m *Match) Matches(f Fields) bool {
	p, all := m.pattern(), bits{}
	for i := range all {
		all[i] = ^uint64(0)
	}
	return p.meets(&pattern{pack(0, &f), all})
}

// Decide returns what the lists make of a frame from an OpenFlow port, and the
// rule that decides; nil when none matches it.
func (t *Table) Decide(port uint32, f Fields) (Verdict, *Rule) {
	var first *Rule
	for _, list := range [][]Rule{t.General, t.ByPort[port], t.ByDst[f.Dst]} {
		i := slices.IndexFunc(list, func(r Rule) bool { return r.Match.Matches(f) })
		if i >= 0 && (first == nil || list[i].Order < first.Order) {
			first = &list[i]
		}
	}
	if first == nil {
		return Pass, nil
	}
	return first.Verdict, first
}

// Plain tells that one rule makes every frame Normal, as on a bridge whose only
// rule is actions=NORMAL: no list is needed.
func (t *Table) Plain() bool {
	return len(t.General) == 1 && len(t.ByPort) == 0 && len(t.ByDst) == 0 &&
		t.General[0].Verdict == Normal && t.General[0].Match == Match{}
}

// Offloads tells whether any rule is Normal. Without one the lane is of no use
// to the bridge.
func (t *Table) Offloads() bool {
	isNormal := func(r Rule) bool { return r.Verdict == Normal }
	if slices.ContainsFunc(t.General, isNormal) {
		return true
	}
	for _, list := range t.ByPort {
		if slices.ContainsFunc(list, isNormal) {
			return true
		}
	}
	for _, list := range t.ByDst {
		if slices.ContainsFunc(list, isNormal) {
			return true
		}
	}
	return false
}
