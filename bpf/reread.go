// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"sync/atomic"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// reread brings what this process remembers of the tables to what another one
// has left in them. That one no longer writes, but may have ended at any
// instruction.
func (l *Lane) reread() {
	// What that one has cleared is not known, and a grace period may be long on
	// a busy machine: it waits until a free place is needed.
	l.fdb.foreign, l.ports.foreign = true, true
	l.fdb.mend()
	clear(l.ports.rules)
	for s := range l.ports.slots {
		if ifindex := l.ports.ifindexAt(s); ifindex != 0 {
			l.ports.rules[ifindex] = l.unpack(s)
		}
	}
}

// mend finishes what a writer that ended in the middle has begun: each prefix of
// its steps is safe for the programs, but not each is one that the next writer
// expects. A station that is in two places was about to change its place: it
// leaves both.
func (t *fdb) mend() {
	for p := place(0); int(p) < len(t.buckets)*int(laneLimitsBUCKET_ROWS); p++ {
		key, row := atomic.LoadUint64(t.keyAt(p)), atomic.LoadUint64(t.rowAt(p))
		switch {
		case key == 0 && row == 0:
		case key == 0 || !rowOf(row).has(laneRowFlagROW_VALID):
			t.clear(p)
		default:
			if other, ok := t.other(key, p); ok {
				t.clear(p)
				t.clear(other)
			}
		}
	}
}

// other finds a second place of a key.
func (t *fdb) other(key uint64, than place) (place, bool) {
	for _, b := range t.choices(key) {
		for i := range laneLimitsBUCKET_ROWS {
			if p := place(b*4 + int(i)); p != than && atomic.LoadUint64(t.keyAt(p)) == key {
				return p, true
			}
		}
	}
	return 0, false
}

// Holds tells whether the tables hold exactly this rule for a device.
func (l *Lane) Holds(ifindex int, r Rule) bool {
	slot, ok := l.ports.slotOf(ifindex)
	if !ok {
		return false
	}
	had, want := l.unpack(slot), r.pack(l.ticks)
	// These are coarser there.
	r.KeepAlive, r.MaxFrame = had.KeepAlive, int(want.MaxFrame)
	if r.Bundle == ifindex {
		r.Bundle = 0
	}
	p := &l.ports.slots[slot]
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
	has := func(f laneRuleFlag) bool { return w.Flags&uint16(f) != 0 }
	r := Rule{
		Watch: has(laneRuleFlagRULE_WATCH), Ingress: has(laneRuleFlagRULE_INGRESS), Egress: has(laneRuleFlagRULE_EGRESS),
		Observe: has(laneRuleFlagRULE_OBSERVE), Protected: has(laneRuleFlagRULE_PROTECTED),
		Declared: has(laneRuleFlagRULE_DECLARED), Checksum: has(laneRuleFlagRULE_CHECKSUM),
		Reflects: has(laneRuleFlagRULE_REFLECTS), Scattered: has(laneRuleFlagRULE_SCATTERED), Finish: has(laneRuleFlagRULE_FINISH),
		VID: ovs.VLAN(w.Vid), VLANs: p.Vlans, MaxFrame: int(w.MaxFrame), Bridge: w.Bridge,
		KeepAlive: time.Duration(float64(w.Keepalive) * float64(int(1)<<laneLimitsSTAMP_SHIFT) / l.ticks * float64(time.Second)),
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
	return lanePortRule{Vid: uint16(w), MaxFrame: uint16(w >> 16), Flags: uint16(w >> 32), Bridge: uint8(w >> 48), Keepalive: uint8(w >> 56)}
}
