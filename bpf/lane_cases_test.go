// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

func sourceTests() []laneTest {
	group := ovs.MAC{0x01, 0, 0x5e, 0, 0, 1}
	moved := func(w *world) {
		w.Helper()
		if r := w.lane.FindRow(keyB); r == nil || !r.Moved || r.IfIndex != w.dev[1] {
			w.Errorf("row of B is %+v, want marked and on device %d", r, w.dev[1])
		}
		// Frames to it pass from now on, and those from its old place.
		w.run(0, frame.UDP4(macB, macA), 0)
		if n := w.counters(0).Frames["moved"]; n != 1 {
			w.Errorf("frame to B after it moved: %v", w.counters(0).Frames)
		}
		w.run(1, frame.UDP4(macA, macB), 0)
		if n := w.counters(1).Frames["moved-source"]; n != 1 {
			w.Errorf("frame from B's old place: %v", w.counters(1).Frames)
		}
		// Once is enough.
		w.run(0, frame.UDP4(macA, macB), 0)
		w.run(0, frame.UDP4(macA, macB), 0)
		if e := w.events(); len(e) > 1 {
			w.Errorf("events of frames that repeat: %+v", e)
		}
	}
	put := func(r Row, n int) func(*world) {
		return func(w *world) {
			w.lane.DeleteRow(r.Key)
			r.IfIndex = w.dev[n]
			_, err := w.lane.PutRow(r)
			w.must(err)
			w.lane.Confirm(r.Key)
		}
	}
	declare := func(k Key, n int) func(*world) { return put(Row{Key: k, Target: true, Declared: true}, n) }
	mirror := func(k Key, n int) func(*world) { return put(Row{Key: k, Target: true, Mirrored: true}, n) }
	declared := access(10).with(func(r *Rule) { r.Declared = true })
	tests := []laneTest{
		{name: "group source", frame: frame.UDP4(macB, group), reason: "group-source"},
		{name: "broadcast source", frame: frame.UDP4(macB, frame.Broadcast), reason: "group-source"},
		{name: "group source, broadcast destination", frame: frame.UDP4(frame.Broadcast, group), reason: "group-source"},
		{name: "new source", frame: frame.UDP4(macB, macNew), reason: "new-source", event: &Event{Key: Key{1, 10, macNew}}},
		{name: "new source, broadcast ARP", frame: frame.ARPRequest(macNew, frame.IP4(macNew), frame.IP4(macB)),
			reason: "new-source", event: &Event{Key: Key{1, 10, macNew}}},
		{name: "new source, LLDP", frame: raw(ovs.MAC{1, 0x80, 0xc2, 0, 0, 0x0e}, macNew, frame.TypeLLDP, make([]byte, 46)),
			reason: "new-source", event: &Event{Key: Key{1, 10, macNew}}},
		{name: "new source, 00:00:00:00:00:00", frame: frame.UDP4(macB, ovs.MAC{}), reason: "new-source", event: &Event{Key: Key{1, 10, ovs.MAC{}}}},
		{name: "new source in another VLAN of the trunk", in: trunk(), frame: tagged(frame.Tag{VID: 20}),
			reason: "new-source", event: &Event{Key: Key{1, 20, macA}}},
		{name: "new source on a port that only watches", in: access(10).with(func(r *Rule) { r.Ingress = false }),
			frame: frame.UDP4(macB, macNew), reason: "new-source", event: &Event{Key: Key{1, 10, macNew}}},
		{name: "new source, its row taken out", frame: tagged(), edit: func(w *world) { w.lane.DeleteRow(keyA) },
			reason: "new-source", event: &Event{Key: keyA}},
		{name: "source on another port", frame: frame.UDP4(macA, macB), reason: "moved-source", event: &Event{Key: keyB, Moved: true}, then: moved},
		{name: "source on another port, broadcast ARP", frame: frame.ARPRequest(macB, frame.IP4(macB), frame.IP4(macA)),
			reason: "moved-source", event: &Event{Key: keyB, Moved: true}, then: moved},
		{name: "source on another port that only watches", in: access(10).with(func(r *Rule) { r.Ingress = false }),
			frame: frame.UDP4(macA, macB), reason: "moved-source", event: &Event{Key: keyB, Moved: true}},
		{name: "source marked on its own port", frame: tagged(), edit: func(w *world) { w.lane.MarkRow(keyA) }, reason: "moved-source"},
		{name: "source marked, broadcast", frame: frame.UDP4(frame.Broadcast, macA), edit: func(w *world) { w.lane.MarkRow(keyA) }, reason: "moved-source"},
		{name: "source not confirmed", frame: frame.UDP4(macB, macC), reason: "moved-source",
			edit: func(w *world) {
				_, err := w.lane.PutRow(Row{Key: Key{1, 10, macC}, IfIndex: w.dev[0], Target: true})
				w.must(err)
			}},
		{name: "source marked, now on a third port", frame: frame.UDP4(macA, macB), reason: "moved-source", event: &Event{Key: keyB, Moved: true},
			edit: func(w *world) {
				w.port(2, access(10))
				w.run(2, frame.UDP4(macA, macB), 0)
				w.events()
				w.must(w.lane.RemovePort(w.dev[0])) // for its counters
				w.port(0, access(10))
				w.must(w.lane.RemovePort(w.dev[2]))
			}},
		{name: "source marked, seen here before", frame: frame.UDP4(macA, macB), reason: "moved-source",
			edit: func(w *world) {
				slot, _ := w.lane.ports.slotOf(w.dev[0])
				w.changeRow(keyB, func(r *laneRow) { r.Flags |= uint16(laneRowFlagROW_MOVED); r.Seen = uint16(slot) })
			}},
		{name: "declared source on a port with its own", in: declared, frame: frame.UDP4(macA, macB), reason: "spoofed-source",
			edit: declare(keyB, 1), then: func(w *world) {
				if r := w.lane.FindRow(keyB); r == nil || r.Moved {
					w.Errorf("row of B is %+v, want it unmarked", r)
				}
			}},
		{name: "declared source on a port with its own, broadcast", in: declared, reason: "spoofed-source",
			frame: frame.UDP4(frame.Broadcast, macB), edit: declare(keyB, 1)},
		{name: "declared source that is marked, on a port with its own", in: declared, reason: "spoofed-source",
			frame: frame.UDP4(frame.Broadcast, macB), edit: func(w *world) { declare(keyB, 1)(w); w.lane.MarkRow(keyB) }},
		{name: "declared source on a port without", frame: frame.UDP4(macA, macB), edit: declare(keyB, 1),
			reason: "moved-source", event: &Event{Key: keyB, Moved: true}, then: moved},
		{name: "learned source on a port with a declared one", in: declared, frame: frame.UDP4(macA, macB),
			reason: "moved-source", event: &Event{Key: keyB, Moved: true}, then: moved},
		{name: "declared source at home", in: declared, frame: tagged(), reason: "lane",
			edit: func(w *world) {
				declare(keyA, 0)(w)
				w.changeRow(keyA, func(r *laneRow) { r.Stamp = w.lane.stamp() })
			}},
		{name: "declared source at home, marked", in: declared, frame: tagged(), reason: "moved-source",
			edit: func(w *world) { declare(keyA, 0)(w); w.lane.MarkRow(keyA) }},
		{name: "declared source, its first frame", in: declared, frame: tagged(), reason: "keepalive", edit: declare(keyA, 0)},
		{name: "mirrored source", frame: tagged(), reason: "mirrored", edit: mirror(keyA, 0)},
		{name: "mirrored source, observed", in: access(10).with(func(r *Rule) { r.Observe = true }), frame: tagged(), reason: "mirrored", edit: mirror(keyA, 0)},
		{name: "mirrored source, broadcast", frame: frame.UDP4(frame.Broadcast, macA), reason: "group", edit: mirror(keyA, 0)},
		{name: "mirrored source on another port", frame: frame.UDP4(macA, macB), edit: mirror(keyB, 1),
			reason: "moved-source", event: &Event{Key: keyB, Moved: true}, then: moved},
		{name: "mirrored source, long silent", frame: tagged(), reason: "mirrored",
			edit: func(w *world) { mirror(keyA, 0)(w); w.changeRow(keyA, func(r *laneRow) { r.Stamp -= 1000 }) }},
		{name: "source of the mirrored destination", frame: tagged(), reason: "lane", edit: mirror(keyB, 1)},
		{name: "source that is no target", frame: tagged(), reason: "lane",
			edit: func(w *world) { w.lane.DeleteRow(keyA); w.row(keyA, 0, false) }},
	}
	return on10(tests)
}

func destinationTests() []laneTest {
	tests := []laneTest{
		{name: "unknown destination", frame: frame.UDP4(macC, macA), reason: "unknown"},
		{name: "destination 00:00:00:00:00:00", frame: frame.UDP4(ovs.MAC{}, macA), reason: "unknown"},
		{name: "destination in another VLAN only", in: trunk(), frame: tagged(frame.Tag{VID: 20}), reason: "unknown",
			edit: func(w *world) { w.row(Key{1, 20, macA}, 0, true) }},
		{name: "destination taken out", frame: tagged(), reason: "unknown", edit: func(w *world) { w.lane.DeleteRow(keyB) }},
		{name: "destination is no target", frame: tagged(), reason: "unknown",
			edit: func(w *world) { w.lane.DeleteRow(keyB); w.row(keyB, 1, false) }},
		{name: "destination marked", frame: tagged(), reason: "moved", edit: func(w *world) { w.lane.MarkRow(keyB) }},
		{name: "destination not confirmed", frame: frame.UDP4(macC, macA), reason: "moved",
			edit: func(w *world) {
				_, err := w.lane.PutRow(Row{Key: Key{1, 10, macC}, IfIndex: w.dev[1], Target: true})
				w.must(err)
			}},
		{name: "destination on the same port", frame: frame.UDP4(macC, macA), reason: "hairpin",
			edit: func(w *world) { w.row(Key{1, 10, macC}, 0, true) }},
		{name: "destination is the source", frame: frame.UDP4(macA, macA), reason: "hairpin"},
		{name: "the same station in two VLANs", in: trunk(), out: trunk(), frame: tagged(frame.Tag{VID: 20}), reason: "lane", to: 2,
			edit: func(w *world) {
				w.port(2, trunk())
				w.row(Key{1, 20, macA}, 0, true)
				w.row(Key{1, 20, macB}, 2, true)
			}},
		{name: "the same stations on two bridges", frame: tagged(), reason: "lane",
			edit: func(w *world) {
				second := access(10).with(func(r *Rule) { r.Bridge = 2 })
				w.port(2, second)
				w.port(3, second)
				w.row(Key{2, 10, macA}, 2, true)
				w.row(Key{2, 10, macB}, 3, true)
			}},
		{name: "destination known on another bridge only", frame: frame.UDP4(macC, macA), reason: "unknown",
			edit: func(w *world) {
				w.port(2, access(10).with(func(r *Rule) { r.Bridge = 2 }))
				w.row(Key{2, 10, macC}, 2, true)
			}},
		{name: "source known on another bridge only", in: access(10).with(func(r *Rule) { r.Bridge = 15 }), frame: tagged(),
			reason: "new-source", event: &Event{Key: Key{15, 10, macA}}},
		{name: "destination's port on another bridge", out: access(10).with(func(r *Rule) { r.Bridge = 2 }), frame: tagged(), reason: "egress-closed"},
		{name: "highest bridge number", in: access(10).with(func(r *Rule) { r.Bridge = 15 }), out: access(10).with(func(r *Rule) { r.Bridge = 15 }),
			frame: tagged(), reason: "lane",
			edit: func(w *world) { w.row(Key{15, 10, macA}, 0, true); w.row(Key{15, 10, macB}, 1, true) }},
	}
	return on10(tests)
}

func portTests() []laneTest {
	shut := func(n int) func(w *world) { return func(w *world) { w.lane.ClosePort(w.dev[n]) } }
	protected := access(10).with(func(r *Rule) { r.Protected = true })
	observed := trunk().with(func(r *Rule) { r.Observe = true })
	tests := []laneTest{
		{name: "port closed", frame: tagged(), edit: shut(0), reason: "port-closed"},
		{name: "port closed, runt", frame: tagged(frame.Tag{VID: 10})[:14], edit: shut(0), reason: "port-closed"},
		{name: "port closed, new source", frame: frame.UDP4(macB, macNew), edit: shut(0), reason: "port-closed"},
		{name: "port without a rule", frame: tagged(), reason: "port-closed",
			edit: func(w *world) {
				w.must(w.lane.RemovePort(w.dev[0]))
				w.must(w.lane.AddPort(w.dev[0], ModeTarget))
			}},
		{name: "port not watched", in: access(10).with(func(r *Rule) { r.Watch = false }), frame: tagged(), reason: "port-closed"},
		{name: "port that only watches", in: access(10).with(func(r *Rule) { r.Ingress = false }), frame: tagged(), reason: "port-closed"},
		{name: "port that only watches, broadcast", in: access(10).with(func(r *Rule) { r.Ingress = false }),
			frame: frame.UDP4(frame.Broadcast, macA), reason: "group"},
		{name: "target closed", frame: tagged(), edit: shut(1), reason: "egress-closed"},
		{name: "target takes nothing", out: access(10).with(func(r *Rule) { r.Egress = false }), frame: tagged(), reason: "egress-closed"},
		{name: "target neither watched nor ingress", out: access(10).with(func(r *Rule) { r.Watch, r.Ingress = false, false }), frame: tagged(), reason: "lane"},
		{name: "source's port takes nothing", in: access(10).with(func(r *Rule) { r.Egress = false }), frame: tagged(), reason: "lane"},
		{name: "protected to protected", in: protected, out: protected, frame: tagged(), reason: "protected"},
		{name: "protected to open", in: protected, frame: tagged(), reason: "lane"},
		{name: "open to protected", out: protected, frame: tagged(), reason: "lane"},
		{name: "protected and too long", in: protected, out: protected.with(func(r *Rule) { r.MaxFrame = 50 }), frame: tagged(), reason: "protected"},
		{name: "observed", in: observed, frame: tagged(frame.Tag{VID: 10}), reason: "would"},
		{name: "observed, push", in: access(10).with(func(r *Rule) { r.Observe = true }), out: trunk(), frame: tagged(), reason: "would"},
		{name: "observed, unknown", in: observed, frame: frame.UDP4(macC, macA, frame.OnVLAN(10)), reason: "unknown"},
		{name: "observed, too long", in: observed, out: access(10).with(func(r *Rule) { r.MaxFrame = 50 }), frame: tagged(frame.Tag{VID: 10}), reason: "too-long"},
		{name: "observed, unfinished checksum", in: observed.with(func(r *Rule) { r.Checksum = true }), reason: "checksum",
			frame: frame.UDP4(macB, macA, frame.OnVLAN(10), frame.PartialChecksum())},
		{name: "observed, new source", in: observed, frame: frame.UDP4(macB, macNew, frame.OnVLAN(10)),
			reason: "new-source", event: &Event{Key: Key{1, 10, macNew}}},
		{name: "target is observed, source is not", out: observed, frame: tagged(), reason: "lane", leaves: tagged(frame.Tag{VID: 10})},
		{name: "lane shut", frame: tagged(), edit: func(w *world) { w.must(w.lane.Shut()) }, reason: "lease"},
		{name: "lane shut, new source", frame: frame.UDP4(macB, macNew), edit: func(w *world) { w.must(w.lane.Shut()) }, reason: "lease"},
		{name: "lease expired", frame: tagged(), edit: func(w *world) {
			w.must(w.lane.Open(100 * time.Millisecond))
			time.Sleep(150 * time.Millisecond)
		}, reason: "lease"},
	}
	return on10(tests)
}

func lengthTests() []laneTest {
	limit := func(r Rule) Rule { return r.with(func(r *Rule) { r.MaxFrame = 1514 }) }
	wide := func(r Rule) Rule { return r.with(func(r *Rule) { r.MaxFrame = 1 << 20 }) }
	sized := func(n int) []byte { return frame.UDP4(macB, macA, frame.Length(n)) }
	sized10 := func(n int) []byte { return frame.UDP4(macB, macA, frame.Length(n), frame.OnVLAN(10)) }
	return []laneTest{
		{name: "one below the MTU", in: access(10), out: limit(access(10)), vlan: 10, frame: sized(1513), reason: "lane"},
		{name: "the MTU", in: access(10), out: limit(access(10)), vlan: 10, frame: sized(1514), reason: "lane"},
		{name: "one above the MTU", in: access(10), out: limit(access(10)), vlan: 10, frame: sized(1515), reason: "too-long"},
		{name: "the MTU, popped", in: trunk(), out: limit(access(10)), vlan: 10, frame: sized10(1518), leaves: sized(1514), reason: "lane"},
		{name: "one above the MTU, popped", in: trunk(), out: limit(access(10)), vlan: 10, frame: sized10(1519), reason: "too-long"},
		{name: "the MTU, pushed", in: access(10), out: limit(trunk()), vlan: 10, frame: sized(1514), leaves: sized10(1518), reason: "lane"},
		{name: "one above the MTU, pushed", in: access(10), out: limit(trunk()), vlan: 10, frame: sized(1515), reason: "too-long"},
		{name: "the MTU, tag kept", in: trunk(), out: limit(trunk()), vlan: 10, frame: sized10(1518), reason: "lane"},
		{name: "one above the MTU, tag kept", in: trunk(), out: limit(trunk()), vlan: 10, frame: sized10(1519), reason: "too-long"},
		{name: "the MTU of the source's port", in: limit(access(10)), out: wide(access(10)), vlan: 10, frame: sized(1514), reason: "lane"},
		{name: "one above the MTU of the source's port", in: limit(access(10)), out: wide(access(10)), vlan: 10, frame: sized(1515), reason: "too-long"},
		{name: "one above the MTU of the source's port, tagged", in: limit(trunk()), out: wide(access(10)), vlan: 10, frame: sized10(1519), reason: "too-long"},
		{name: "no frame fits", in: access(10), out: access(10).with(func(r *Rule) { r.MaxFrame = 0 }), vlan: 10, frame: sized(60), reason: "too-long"},
		{name: "MTU above what a rule holds", in: wide(access(10)), out: wide(access(10)), vlan: 10,
			frame: sized(3000), reason: "lane"},
	}
}

func keepAliveTests() []laneTest {
	aged := func(units uint16) func(w *world) {
		return func(w *world) { w.changeRow(keyA, func(r *laneRow) { r.Stamp = w.lane.stamp() - units }) }
	}
	// 20 units of 64 jiffies.
	slow := func(w *world) Rule {
		return access(10).with(func(r *Rule) {
			r.KeepAlive = time.Duration(20.5 * 64 / w.lane.ticks * float64(time.Second))
		})
	}
	tests := []laneTest{
		{name: "no interval", in: access(10).with(func(r *Rule) { r.KeepAlive = 0 }), frame: tagged(), reason: "keepalive",
			then: func(w *world) {
				for range 3 {
					w.run(0, tagged(), 0)
				}
				if n := w.counters(0).Frames["keepalive"]; n != 4 {
					w.Errorf("%d of 4 frames were keep-alive", n)
				}
			}},
		{name: "interval below the unit", in: access(10).with(func(r *Rule) { r.KeepAlive = time.Millisecond }), frame: tagged(), reason: "keepalive"},
		{name: "fresh row", frame: tagged(), reason: "lane"},
		{name: "interval not over", frame: tagged(), reason: "lane",
			edit: func(w *world) { w.rule(0, slow(w)); aged(18)(w) }},
		{name: "interval over", frame: tagged(), reason: "keepalive",
			edit: func(w *world) { w.rule(0, slow(w)); aged(20)(w) },
			then: func(w *world) {
				for range 5 {
					w.run(0, tagged(), 0)
				}
				if c := w.counters(0); c.Frames["keepalive"] != 1 || c.Lane != 5 {
					w.Errorf("after the keep-alive: %v", c.Frames)
				}
			}},
		{name: "interval over, broadcast is no keep-alive", frame: frame.UDP4(frame.Broadcast, macA), reason: "group",
			edit: func(w *world) { w.rule(0, slow(w)); aged(100)(w) },
			then: func(w *world) {
				w.run(0, tagged(), 0)
				if c := w.counters(0); c.Frames["keepalive"] != 1 {
					w.Errorf("after a broadcast: %v", c.Frames)
				}
			}},
		{name: "idle for long", frame: tagged(), edit: aged(0xffff), reason: "keepalive"},
		{name: "longest interval", in: access(10).with(func(r *Rule) { r.KeepAlive = 24 * time.Hour }), frame: tagged(), edit: aged(254), reason: "lane"},
		{name: "longest interval over", in: access(10).with(func(r *Rule) { r.KeepAlive = 24 * time.Hour }), frame: tagged(), edit: aged(255), reason: "keepalive"},
		{name: "keep-alive of a frame to nowhere", frame: frame.UDP4(macC, macA), edit: aged(1000), reason: "keepalive"},
		{name: "keep-alive in observe mode", in: access(10).with(func(r *Rule) { r.Observe = true }), frame: tagged(), edit: aged(1000), reason: "keepalive"},
		{name: "the destination's stamp does not matter", frame: tagged(), reason: "lane",
			edit: func(w *world) { w.changeRow(keyB, func(r *laneRow) { r.Stamp -= 1000 }) }},
	}
	return on10(tests)
}

func failureTests() []laneTest {
	lost := func(w *world) {
		slot, _ := w.lane.ports.slotOf(w.dev[1])
		w.must(w.lane.coll.Maps[laneMapTargets].Delete(uint32(slot)))
	}
	// struct xdp_frame takes the first 40 bytes of the 256 in front of a
	// frame, and metadata at most 216 more: then there is no room left.
	const full = 216
	tests := []laneTest{
		{name: "target lost", in: access(10), out: access(10), vlan: 10, frame: tagged(), edit: lost, reason: "no-device"},
		{name: "target lost, pop", in: trunk(), out: access(10), vlan: 10, frame: tagged(frame.Tag{VID: 10, PCP: 3}), edit: lost, reason: "no-device"},
		{name: "target lost, push", in: access(10), out: trunk(), vlan: 10, frame: tagged(), edit: lost, reason: "no-device"},
		{name: "metadata, push", in: access(10), out: trunk(), vlan: 10, frame: tagged(), meta: 32, leaves: tagged(frame.Tag{VID: 10}), reason: "lane"},
	}
	if !lab.TellsFeatures() {
		return tests // a test run has 32 bytes of metadata at most (Linux 6.1)
	}
	return append(tests, []laneTest{
		{name: "no room for a tag", in: access(10), out: trunk(), vlan: 10, frame: tagged(), meta: full, reason: "no-headroom"},
		{name: "no room, none needed", in: access(10), out: access(10), vlan: 10, frame: tagged(), meta: full, reason: "lane"},
		{name: "no room, pop", in: trunk(), out: access(10), vlan: 10, frame: tagged(frame.Tag{VID: 10}), meta: full, leaves: tagged(), reason: "lane"},
	}...)
}
