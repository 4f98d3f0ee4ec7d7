// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"testing"

	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// legs gives every bucket one leg, or each its own in turn.
func (w *world) legs(devices ...int) (l [Legs]int) {
	for i := range l {
		l[i] = w.dev[devices[i%len(devices)]]
	}
	return l
}

// bondTests: a port that is a bond, device 1 its first member, and a port whose
// frames come from a member, device 0.
func bondTests() []laneTest {
	// over makes device 1 stand for a bond whose frames leave by device 2.
	over := func(leg Rule) func(w *world) {
		return func(w *world) {
			w.port(2, leg.with(func(r *Rule) { r.Bundle = w.dev[1] }))
			w.rule(1, access(10).with(func(r *Rule) { r.Bundle, r.Legs, r.Egress = w.dev[1], w.legs(2), false }))
		}
	}
	// from makes device 0 a member of the bond that device 3 stands for, with
	// station A on the bond.
	from := func(change func(*Rule)) func(w *world) {
		return func(w *world) {
			w.port(3, access(10).with(func(r *Rule) { r.Watch, r.Ingress, r.Egress = false, false, false }))
			w.rule(0, access(10).with(func(r *Rule) { r.Bundle = w.dev[3]; change(r) }))
			w.lane.DeleteRow(keyA)
			w.row(keyA, 3, true)
		}
	}
	same := func(*Rule) {}
	reflects := func(r *Rule) { r.Reflects = true }
	unmoved := func(w *world) {
		w.Helper()
		if r := w.lane.FindRow(keyB); r == nil || r.Moved {
			w.Errorf("row of B is %+v, want it unmarked", r)
		}
	}
	return on10([]laneTest{
		{name: "to a bond", frame: tagged(), edit: over(access(10)), reason: "lane", to: 2},
		{name: "to a bond, leg closed", frame: tagged(), edit: over(access(10).with(func(r *Rule) { r.Egress = false })), reason: "egress-closed"},
		{name: "to a bond, leg's MTU", frame: tagged(), edit: over(access(10).with(func(r *Rule) { r.MaxFrame = 50 })), reason: "too-long"},
		{name: "to a bond, leg removed", frame: tagged(), reason: "no-device", edit: func(w *world) {
			over(access(10))(w)
			w.must(w.lane.RemovePort(w.dev[2]))
		}},
		{name: "to a bond whose leg's slot another device got", frame: tagged(), reason: "no-device", edit: func(w *world) {
			over(access(10))(w)
			slot, _ := w.lane.ports.slotOf(w.dev[2])
			w.must(w.lane.RemovePort(w.dev[2]))
			w.must(w.lane.settlePorts())
			w.port(3, access(10))
			w.lane.ports.slots[slot] = w.lane.ports.slots[mustSlot(w, 3)]
		}},
		{name: "to a bond without a leg", frame: tagged(), reason: "egress-closed", edit: func(w *world) {
			w.rule(1, access(10).with(func(r *Rule) { r.Egress = false }))
		}},
		{name: "from a member", frame: tagged(), edit: from(same), reason: "lane"},
		{name: "from a member to its own bond", frame: tagged(), reason: "hairpin", edit: func(w *world) {
			from(same)(w)
			w.lane.DeleteRow(keyB)
			w.row(keyB, 3, true)
		}},
		{name: "new source on a member is told of the bond", frame: frame.UDP4(macB, macNew), edit: from(same),
			reason: "new-source", event: &Event{Key: Key{1, 10, macNew}, IfIndex: 3}},
		{name: "a station that moves to a member has moved to the bond", frame: frame.UDP4(macA, macB), edit: from(same),
			reason: "moved-source", event: &Event{Key: keyB, IfIndex: 3, Moved: true}, then: func(w *world) {
				if r := w.lane.FindRow(keyB); r == nil || !r.Moved || r.Seen != w.dev[3] {
					w.Errorf("row of B is %+v, want it marked and seen on the bond", r)
				}
			}},
		{name: "reflected by another member", frame: frame.UDP4(frame.Broadcast, macB), edit: from(reflects), reason: "reflected", then: unmoved},
		{name: "reflected unicast", frame: frame.UDP4(macA, macB), edit: from(reflects), reason: "reflected", then: unmoved},
		{name: "ARP by a member that may reflect", frame: frame.ARPRequest(macB, frame.IP4(macB), frame.IP4(macB)), edit: from(reflects),
			reason: "moved-source", event: &Event{Key: keyB, IfIndex: 3, Moved: true}},
		{name: "from a member that may reflect", frame: tagged(), edit: from(reflects), reason: "lane"},
		{name: "new source on a member that may reflect", frame: frame.UDP4(macB, macNew), edit: from(reflects),
			reason: "new-source", event: &Event{Key: Key{1, 10, macNew}, IfIndex: 3}},
	})
}

func mustSlot(w *world, n int) int {
	w.Helper()
	slot, ok := w.lane.ports.slotOf(w.dev[n])
	if !ok {
		w.Fatalf("device %d is not on the lane", n)
	}
	return slot
}

// Flows are spread over the members, and every frame of one keeps its member;
// so do the fragments of a datagram, the first of which has ports.
func TestBondKeepsFlows(t *testing.T) {
	w := newWorld(t, 6, Config{})
	w.reset()
	w.port(0, access(10))
	for n := 1; n <= 3; n++ {
		w.port(n, access(10))
	}
	for n := 1; n <= 3; n++ {
		w.rule(n, access(10).with(func(r *Rule) {
			r.Bundle = w.dev[1]
			if n == 1 {
				r.Legs = w.legs(1, 2, 3)
			}
		}))
	}
	w.row(keyA, 0, true)
	w.row(keyB, 1, true)
	leg := func(b []byte) int {
		t.Helper()
		var before [4]uint64
		for n := 1; n <= 3; n++ {
			before[n] = w.counters(n).Sent
		}
		if v, _ := w.run(0, b, 0); v != xdpRedirect {
			t.Fatalf("verdict is %d: %v", v, w.counters(0).Frames)
		}
		for n := 1; n <= 3; n++ {
			if w.counters(n).Sent != before[n] {
				return n
			}
		}
		t.Fatal("counted nowhere")
		return 0
	}
	for name, build := range map[string]func(...frame.Option) []byte{
		"UDP4": func(o ...frame.Option) []byte { return frame.UDP4(macB, macA, o...) },
		"TCP4": func(o ...frame.Option) []byte { return frame.TCP4(macB, macA, o...) },
		"UDP6": func(o ...frame.Option) []byte { return frame.UDP6(macB, macA, o...) },
		"TCP6": func(o ...frame.Option) []byte { return frame.TCP6(macB, macA, o...) },
	} {
		used := make(map[int]int)
		for port := range uint16(96) {
			first := leg(build(frame.Ports(5201, 1000+port)))
			used[first]++
			if again := leg(build(frame.Ports(5201, 1000+port), frame.Length(900))); again != first {
				t.Errorf("%s: a flow left by member %d and then by %d", name, first, again)
			}
		}
		for n := 1; n <= 3; n++ {
			if used[n] < 96/3/3 {
				t.Errorf("%s: 96 flows left by the members as %v", name, used)
			}
		}
	}
	for port := range uint16(32) {
		first := leg(frame.UDP4(macB, macA, frame.Ports(5201, 1000+port), frame.Fragment(0, true)))
		for _, later := range []uint16{8, 1480} {
			if got := leg(frame.UDP4(macB, macA, frame.Ports(7, port), frame.Fragment(later, later == 8))); got != first {
				t.Errorf("fragment at %d left by member %d, the first by %d", later, got, first)
			}
		}
	}
}
