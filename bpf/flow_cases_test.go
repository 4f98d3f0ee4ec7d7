// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"fmt"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// flowing is the rule of a port on bridge 1 whose frames go where flows send them.
func flowing() Rule {
	return Rule{Watch: true, Ingress: true, Egress: true, Flows: true, MaxFrame: 1514, Bridge: 1, KeepAlive: time.Minute}
}

// flowAB is a flow of untagged IPv4 from A to B, by numbers of devices; edits
// change it.
func flowAB(edits ...func(*Flow)) Flow {
	f := Flow{FlowKey: FlowKey{IfIndex: 0, Type: frame.TypeIPv4, Src: macA, Dst: macB}, Egress: 1, KeepAlive: time.Minute}
	for _, edit := range edits {
		edit(&f)
	}
	return f
}

// on gives a flow's frames a tag.
func on(vid ovs.VLAN, pcp uint8) func(*Flow) {
	return func(f *Flow) { f.Tagged, f.TCI = true, tci(vid, pcp) }
}

func tci(vid ovs.VLAN, pcp uint8) uint16 { return uint16(vid) | uint16(pcp)<<13 }

func pop(f *Flow) { f.Tag = TagPop }

func push(vid ovs.VLAN, pcp uint8) func(*Flow) {
	return func(f *Flow) { f.Tag, f.PushTCI = TagPush, tci(vid, pcp) }
}

func set(vid ovs.VLAN, pcp uint8) func(*Flow) {
	return func(f *Flow) { f.Tag, f.PushTCI = TagSet, tci(vid, pcp) }
}

func six(f *Flow) { f.Type = frame.TypeIPv6 }

// onDevices gives a flow the ifindexes of the devices that it names by number.
func (w *world) onDevices(f Flow) Flow {
	f.IfIndex, f.Egress = w.dev[f.IfIndex], w.dev[f.Egress]
	return f
}

// flow puts a flow, between devices by number, of which no keep-alive is due.
func (w *world) flow(f Flow) {
	w.Helper()
	f = w.onDevices(f)
	w.must(w.lane.PutFlow(f))
	w.changeFlow(f.FlowKey, func(x *laneFlow) { x.Stamp = w.lane.stamp() })
}

// changeFlow writes a part of a flow behind the Lane's back.
func (w *world) changeFlow(k FlowKey, change func(*laneFlow)) {
	w.Helper()
	key, _ := w.lane.flowWords(k)
	p, ok := w.lane.flows.find(key)
	if !ok {
		w.Fatalf("no flow %s", k)
	}
	f := flowOf(*w.lane.flows.wordAt(p))
	change(&f)
	*w.lane.flows.wordAt(p) = f.word()
}

// onFlows fills in what most tests have: ports whose frames go by flows, and
// stations in VLAN 0.
func onFlows(tests []laneTest) []laneTest {
	for i := range tests {
		c := &tests[i]
		if c.in == (Rule{}) {
			c.in = flowing()
		}
		if c.out == (Rule{}) {
			c.out = flowing()
		}
	}
	return tests
}

func puts(edits ...func(*Flow)) func(w *world) {
	return func(w *world) { w.Helper(); w.flow(flowAB(edits...)) }
}

func flowTagTests() []laneTest {
	at := func(vid ovs.VLAN, pcp uint8) []byte { return tagged(frame.Tag{VID: vid, PCP: pcp}) }
	v6 := func(options ...frame.Option) []byte { return frame.UDP6(macB, macA, options...) }
	tests := []laneTest{
		{name: "flow, untagged", edit: puts(), frame: tagged()},
		{name: "flow, untagged, IPv6", edit: puts(six), frame: v6()},
		{name: "flow, tag kept", edit: puts(on(10, 0)), frame: at(10, 0)},
		{name: "flow, highest VID kept", edit: puts(on(4095, 0)), frame: at(4095, 0)},
		{name: "flow, pop", edit: puts(on(10, 5), pop), frame: at(10, 5), leaves: tagged()},
		{name: "flow, pop, IPv6", edit: puts(six, on(10, 0), pop), frame: v6(frame.OnVLAN(10)), leaves: v6()},
		{name: "flow, push", edit: puts(push(20, 0)), frame: tagged(), leaves: at(20, 0)},
		{name: "flow, push with a priority", edit: puts(push(20, 7)), frame: tagged(), leaves: at(20, 7)},
		{name: "flow, push, IPv6", edit: puts(six, push(4095, 1)), frame: v6(),
			leaves: v6(frame.Tagged(frame.Tag{VID: 4095, PCP: 1}))},
		{name: "flow, another VID", edit: puts(on(10, 3), set(20, 3)), frame: at(10, 3), leaves: at(20, 3)},
		{name: "flow, another priority", edit: puts(on(10, 3), set(10, 0)), frame: at(10, 3), leaves: at(10, 0)},
		{name: "flow, another tag, IPv6", edit: puts(six, on(10, 0), set(4095, 7)), frame: v6(frame.OnVLAN(10)),
			leaves: v6(frame.Tagged(frame.Tag{VID: 4095, PCP: 7}))},
		{name: "flow, ports that are access ports for others", in: flowing().with(func(r *Rule) { r.VLANMode, r.VID = Access, 30 }),
			out: flowing().with(func(r *Rule) { r.VLANMode, r.VID = NativeUntagged, 40 }), edit: puts(on(10, 0)), frame: at(10, 0)},
		{name: "flow, another bridge's station of the same address", edit: func(w *world) {
			w.port(2, flowing().with(func(r *Rule) { r.Bridge = 2 }))
			w.row(Key{2, 0, macB}, 2, true)
			w.flow(flowAB())
		}, frame: tagged()},
	}
	for pcp := range uint8(8) {
		tests = append(tests, laneTest{name: fmt.Sprintf("flow, priority %d kept", pcp), edit: puts(on(10, pcp)), frame: at(10, pcp)})
	}
	for i := range tests {
		tests[i].reason = "lane"
	}
	const meta = 32
	return onFlows(append(tests, []laneTest{
		{name: "flow, push behind metadata", edit: puts(push(20, 7)), frame: tagged(), meta: meta, leaves: at(20, 7), reason: "lane"},
		{name: "flow, pop, target lost", edit: func(w *world) {
			w.flow(flowAB(on(10, 0), pop))
			slot, _ := w.lane.ports.slotOf(w.dev[1])
			w.must(w.lane.coll.Maps[laneMapTargets].Delete(uint32(slot)))
		}, frame: at(10, 0), reason: "no-device"},
		{name: "flow, priority tag", edit: puts(), frame: at(0, 5), reason: "odd-tag"},
		{name: "flow, DEI", edit: puts(on(10, 0)), frame: tagged(frame.Tag{VID: 10, DEI: true}), reason: "odd-tag"},
		{name: "flow, 802.1ad", edit: puts(on(10, 0)), frame: tagged(frame.Tag{TPID: frame.TypeQinQ, VID: 10}), reason: "odd-tag"},
		{name: "flow, two tags", edit: puts(on(10, 0)), frame: tagged(frame.Tag{VID: 10}, frame.Tag{VID: 20}), reason: "odd-tag"},
	}...))
}

// flowKeyTests are frames that differ from the only flow's in one thing.
func flowKeyTests() []laneTest {
	at := func(vid ovs.VLAN, pcp uint8) []byte { return tagged(frame.Tag{VID: vid, PCP: pcp}) }
	tests := []laneTest{
		{name: "no flow", frame: tagged()},
		{name: "flow of tagged frames", edit: puts(on(10, 0)), frame: tagged()},
		{name: "flow of untagged frames", edit: puts(), frame: at(10, 0)},
		{name: "flow of another VID", edit: puts(on(10, 0)), frame: at(11, 0)},
		{name: "flow of another priority", edit: puts(on(10, 0)), frame: at(10, 1)},
		{name: "flow of IPv6", edit: puts(six), frame: tagged()},
		{name: "flow of IPv4", edit: puts(), frame: frame.UDP6(macB, macA)},
		{name: "flow of IPv6 in the VLAN of the bit", edit: puts(six, on(10, 0)), frame: at(10, 0)},
		{name: "flow to another station", edit: puts(func(f *Flow) { f.Dst = macC }), frame: tagged()},
		{name: "flow from another station", edit: puts(func(f *Flow) { f.Src = macC }), frame: tagged()},
		{name: "flow from another port", edit: func(w *world) {
			w.port(2, flowing())
			w.flow(flowAB(func(f *Flow) { f.IfIndex = 2 }))
		}, frame: tagged()},
		{name: "flow the other way", edit: puts(func(f *Flow) { f.Src, f.Dst = macB, macA }), frame: tagged()},
		{name: "flow that was deleted", edit: func(w *world) {
			w.flow(flowAB())
			w.lane.DeleteFlow(w.onDevices(flowAB()).FlowKey)
		}, frame: tagged()},
		{name: "no flow, unknown destination", edit: puts(), frame: frame.UDP4(macC, macA)},
	}
	for i := range tests {
		tests[i].reason = "no-flow"
		tests[i].event = &Event{Key: Key{1, 0, macA}, NoFlow: true}
	}
	quiet := func(w *world) {
		for range 5 {
			w.run(0, tagged(), 0)
		}
		if e := w.events(); len(e) > 1 { // one more window at most
			w.Errorf("%d events more for five frames", len(e))
		}
		if c := w.counters(0); c.Frames["no-flow"] != 6 || c.EventsLimited > 0 {
			w.Errorf("after six frames: %+v", c)
		}
	}
	return onFlows(append(tests, []laneTest{
		{name: "no flow, many frames", frame: tagged(), reason: "no-flow", event: &Event{Key: Key{1, 0, macA}, NoFlow: true}, then: quiet},
		{name: "flow for a port that does not ask them", in: access(10), out: access(10), vlan: 10, edit: puts(), frame: tagged(), reason: "lane"},
		{name: "no flow is asked for when the source is new", frame: frame.UDP4(macB, macNew), reason: "new-source", event: &Event{Key: Key{1, 0, macNew}}},
		{name: "tagged frame of a new source", frame: frame.UDP4(macB, macNew, frame.OnVLAN(10)), edit: puts(on(10, 0), func(f *Flow) { f.Src = macNew }),
			reason: "new-source", event: &Event{Key: Key{1, 0, macNew}}},
	}...))
}

func flowCheckTests() []laneTest {
	v6 := frame.UDP6(macB, macA)
	aged := func(units uint16, edits ...func(*Flow)) func(w *world) {
		return func(w *world) {
			f := flowAB(edits...)
			w.flow(f)
			w.changeFlow(w.onDevices(f).FlowKey, func(x *laneFlow) { x.Stamp -= units })
		}
	}
	longest := func(f *Flow) { f.KeepAlive = time.Hour }
	once := func(w *world) {
		for range 5 {
			w.run(0, tagged(), 0)
		}
		if c := w.counters(0); c.Frames["keepalive"] != 1 || c.Lane != 5 {
			w.Errorf("after the keep-alive: %v", c.Frames)
		}
	}
	elsewhere := func(w *world) {
		w.port(2, flowing())
		w.flow(flowAB(func(f *Flow) { f.Egress = 2 }))
	}
	observed := flowing().with(func(r *Rule) { r.Observe = true })
	tests := []laneTest{
		{name: "flow, IPv4 fragment", frame: frame.UDP4(macB, macA, frame.Fragment(100, true)), reason: "fragment"},
		{name: "flow, first fragment", frame: frame.UDP4(macB, macA, frame.Fragment(0, true)), reason: "fragment"},
		{name: "flow, last fragment", frame: frame.UDP4(macB, macA, frame.Fragment(100, false)), reason: "fragment"},
		{name: "flow, fragment with a tag", frame: frame.UDP4(macB, macA, frame.Fragment(100, true), frame.OnVLAN(10)), edit: puts(on(10, 0)), reason: "fragment"},
		{name: "flow, DF is no fragment", frame: changed(tagged(), 20, 0x40, 0), reason: "lane"},
		{name: "flow, IPv4 cut off", frame: tagged()[:33], reason: "fragment"},
		{name: "flow, IPv4 just whole", frame: tagged()[:34], reason: "lane"},
		{name: "flow, hop-by-hop options", frame: extended(v6, protoHopByHop, 8), edit: puts(six), reason: "fragment"},
		{name: "flow, destination options", frame: extended(v6, protoDstOpts, 16), edit: puts(six), reason: "fragment"},
		{name: "flow, routing header", frame: extended(v6, protoRouting, 8), edit: puts(six), reason: "fragment"},
		{name: "flow, IPv6 fragment", frame: extended(v6, 44, 8), edit: puts(six), reason: "fragment"},
		{name: "flow, authentication header", frame: extended(v6, 51, 8), edit: puts(six), reason: "fragment"},
		{name: "flow, IPv6 fragment with a tag", frame: frame.Retag(extended(v6, 44, 8), frame.Tag{VID: 10}), edit: puts(six, on(10, 0)), reason: "fragment"},
		{name: "flow, ESP", frame: ip6(macB, macA, protoESP, make([]byte, 24)), edit: puts(six), reason: "lane"},
		{name: "flow, no next header", frame: ip6(macB, macA, 59, make([]byte, 24)), edit: puts(six), reason: "lane"},
		{name: "flow, ICMPv6 echo", frame: icmp6(macB, macA, 128), edit: puts(six), reason: "lane"},
		{name: "flow, ND", frame: icmp6(macB, macA, 135), edit: puts(six), reason: "nd"},
		{name: "flow, ARP", frame: frame.ARPReply(macB, macA, frame.IP4(macA), frame.IP4(macB)), reason: "not-ip"},
		{name: "flow, broadcast", frame: frame.UDP4(frame.Broadcast, macA), reason: "group"},

		{name: "flow, source on another port", edit: puts(func(f *Flow) { f.Src, f.Dst = macB, macA }), frame: frame.UDP4(macA, macB),
			reason: "moved-source", event: &Event{Key: Key{1, 0, macB}, Moved: true}},
		{name: "flow, tagged broadcast of a source on another port", frame: frame.UDP4(frame.Broadcast, macB, frame.OnVLAN(7)),
			reason: "moved-source", event: &Event{Key: Key{1, 0, macB}, Moved: true}},
		{name: "flow, destination moved", edit: func(w *world) { w.flow(flowAB()); w.lane.MarkRow(Key{1, 0, macB}) }, frame: tagged(), reason: "moved"},
		{name: "flow, destination without a row", edit: puts(func(f *Flow) { f.Dst = macC }), frame: frame.UDP4(macC, macA), reason: "unknown"},
		{name: "flow, destination's row in its VLAN only", edit: func(w *world) {
			w.row(Key{1, 10, macC}, 1, true)
			w.flow(flowAB(on(10, 0), func(f *Flow) { f.Dst = macC }))
		}, frame: frame.UDP4(macC, macA, frame.OnVLAN(10)), reason: "unknown"},
		{name: "flow to a port where its destination is not", edit: elsewhere, frame: tagged(), reason: "stale-flow"},
		{name: "flow to the port of its source", frame: frame.UDP4(macC, macA), reason: "hairpin", edit: func(w *world) {
			w.row(Key{1, 0, macC}, 0, true)
			w.flow(flowAB(func(f *Flow) { f.Dst, f.Egress = macC, 0 }))
		}},
		{name: "flow, destination's port closed", edit: func(w *world) { w.flow(flowAB()); w.lane.ClosePort(w.dev[1]) }, frame: tagged(), reason: "egress-closed"},
		{name: "flow, destination's port on another bridge", out: flowing().with(func(r *Rule) { r.Bridge = 2 }), frame: tagged(), reason: "egress-closed"},
		{name: "flow, too long", out: flowing().with(func(r *Rule) { r.MaxFrame = 50 }), frame: tagged(), reason: "too-long"},
		{name: "flow, the MTU and a tag", edit: puts(push(20, 0)), frame: frame.UDP4(macB, macA, frame.Length(1514)), reason: "lane",
			leaves: frame.UDP4(macB, macA, frame.Length(1518), frame.OnVLAN(20))},
		{name: "flow, more than the MTU", edit: puts(on(10, 0), pop), frame: frame.UDP4(macB, macA, frame.Length(1519), frame.OnVLAN(10)), reason: "too-long"},
		{name: "flow, unfinished checksum", in: flowing().with(func(r *Rule) { r.Checksum = true }),
			frame: frame.UDP4(macB, macA, frame.PartialChecksum()), reason: "checksum"},
		{name: "flow, port closed", edit: func(w *world) { w.flow(flowAB()); w.lane.ClosePort(w.dev[0]) }, frame: tagged(), reason: "port-closed"},
		{name: "flow, port that only watches", in: flowing().with(func(r *Rule) { r.Ingress = false }), frame: tagged(), reason: "port-closed"},
		{name: "flow, observed", in: observed, frame: tagged(), reason: "would"},
		{name: "flow to a port that is observed", out: observed, frame: tagged(), reason: "would"},

		{name: "flow, keep-alive is due", edit: aged(255, longest), frame: tagged(), reason: "keepalive", then: once},
		{name: "flow, keep-alive is not due", edit: aged(250, longest), frame: tagged(), reason: "lane"},
		{name: "flow, shorter interval than the port's", edit: aged(2, func(f *Flow) { f.KeepAlive = time.Millisecond }), frame: tagged(), reason: "keepalive"},
		{name: "flow, keep-alive of the source", edit: func(w *world) {
			w.flow(flowAB())
			w.changeRow(Key{1, 0, macA}, func(r *laneRow) { r.Stamp -= 1000 })
		}, frame: tagged(), reason: "keepalive", then: once},
		{name: "flow that is new", edit: func(w *world) { w.must(w.lane.PutFlow(w.onDevices(flowAB()))) }, frame: tagged(), reason: "keepalive", then: once},
	}
	for i := range tests {
		if tests[i].edit == nil {
			tests[i].edit = puts()
		}
	}
	return onFlows(tests)
}
