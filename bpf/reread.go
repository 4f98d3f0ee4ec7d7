// SPDX-License-Identifier: Apache-2.0

package bpf

// reread brings what this process remembers of the tables to what another one
// has left in them. That one no longer writes, but may have ended at any
// instruction.
func (l *Lane) reread() {
	// What that one has cleared is not known, and a grace period may be long on
	// a busy machine: it waits until a free place is needed.
	l.fdb.foreign, l.flows.foreign, l.ports.foreign = true, true, true
	l.fdb.mend()
	l.flows.mend()
	clear(l.ports.rules)
	for s := range l.ports.slots {
		if ifindex := l.ports.ifindexAt(s); ifindex != 0 {
			l.ports.rules[ifindex] = l.unpack(s)
		}
	}
}

// Holds tells whether the tables hold exactly this rule for a device.
func (l *Lane) Holds(ifindex int, r Rule) bool {
	slot, ok := l.ports.slotOf(ifindex)
	if !ok {
		return false
	}
	had, want := l.unpack(slot), r.pack()
	p := &l.ports.slots[slot]
	if p.Keepalive != keepUnits(r.KeepAlive, l.ticks) {
		return false
	}
	// These are coarser there.
	r.KeepAlive, r.MaxFrame = had.KeepAlive, int(want.MaxFrame)
	if r.Bundle == ifindex {
		r.Bundle = 0
	}
	if p.Police != [2]laneRate{r.PoliceBytes.pack(), r.PoliceFrames.pack()} {
		return false
	}
	rules, err := l.lists.at(r.Rules, r.Scoped)
	addresses, err2 := l.lists.at(r.Addresses, false)
	if err != nil || err2 != nil || wordOf(&p.Rules) != rules || wordOf(&p.Addresses) != addresses {
		return false // a list without a name is not none
	}
	r.PoliceBytes, r.PoliceFrames = Rate{}, Rate{}
	return had == r && l.ports.word(slot) == want.word()
}

// unpack reads the rule of a port back, but for its rates. One that is closed has
// its VLANs, its lists and its bundle, no more.
func (l *Lane) unpack(slot int) Rule {
	p := &l.ports.slots[slot]
	w := ruleOfWord(l.ports.word(slot))
	has := func(f laneRuleFlag) bool { return w.Flags&uint32(f) != 0 }
	domain := keyOf(uint64(w.Domain))
	r := Rule{
		Watch: has(laneRuleFlagRULE_WATCH), Ingress: has(laneRuleFlagRULE_INGRESS), Egress: has(laneRuleFlagRULE_EGRESS),
		Observe: has(laneRuleFlagRULE_OBSERVE), Protected: has(laneRuleFlagRULE_PROTECTED),
		Declared: has(laneRuleFlagRULE_DECLARED), Checksum: has(laneRuleFlagRULE_CHECKSUM),
		Reflects: has(laneRuleFlagRULE_REFLECTS), Scattered: has(laneRuleFlagRULE_SCATTERED), Finish: has(laneRuleFlagRULE_FINISH),
		VID: domain.VLAN, VLANs: p.Vlans, MaxFrame: int(w.MaxFrame), Bridge: domain.Bridge,
		KeepAlive: l.keepTime(p.Keepalive), Flows: has(laneRuleFlagRULE_FLOWS),
	}
	r.Rules, r.Addresses = l.lists.keyOf(p.Rules), l.lists.keyOf(p.Addresses)
	r.MAC = keyOf(p.Mac).MAC
	r.Scoped = p.Rules.Flags&uint16(laneListFlagLIST_SCOPED) != 0
	switch {
	case has(laneRuleFlagRULE_ACCESS):
		r.VLANMode = Access
	case has(laneRuleFlagRULE_NATIVE_TAGGED):
		r.VLANMode = NativeTagged
	case has(laneRuleFlagRULE_NATIVE_UNTAGGED):
		r.VLANMode = NativeUntagged
	}
	if int(p.Bundle) != slot {
		r.Bundle = l.ports.ifindexAt(int(p.Bundle))
	}
	if has(laneRuleFlagRULE_BOND) {
		for i, leg := range p.Legs {
			r.Legs[i] = l.ports.ifindexAt(int(leg))
		}
	}
	return r
}

func ruleOfWord(w uint64) lanePortRule {
	return lanePortRule{Domain: uint16(w), MaxFrame: uint16(w >> 16), Flags: uint32(w >> 32)}
}
