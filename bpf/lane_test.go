// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// laneTest is one frame through the program. Station A is on device 0 and
// station B on device 1, both in one VLAN of bridge 1; the frame comes from
// device 0.
type laneTest struct {
	name string
	// in and out are the rules of the two devices.
	in, out Rule
	vlan    ovs.VLAN
	// edit changes the tables before the frame comes.
	edit  func(w *world)
	frame []byte
	// meta is how much of the room in front of the frame is taken.
	meta int
	// reason is what the frame is counted as; "lane" redirects it.
	reason string
	// leaves is the frame as it leaves the program; nil: as it came.
	leaves []byte
	// finished tells that its checksum is finished on the way.
	finished bool
	// to is the device it leaves to, if not 1.
	to int
	// event is what the daemon is told, its IfIndex being the number of the
	// device; nil: nothing.
	event *Event
	// then looks at the tables afterwards.
	then func(w *world)
}

var (
	keyA = Key{1, 10, macA}
	keyB = Key{1, 10, macB}
	// Stations on no port.
	macNew = ovs.MAC{0x52, 0x54, 0, 0, 0, 0x99}
)

// dropping holds the reasons for which a frame is dropped.
var dropping = map[string]bool{"dropped": true, "dropped-address": true, "policed": true}

func TestLane(t *testing.T) {
	w := newWorld(t, 4, Config{})
	var counted []string
	for _, group := range [][]laneTest{
		vlanTests(), oddTagTests(), sourceTests(), payloadTests(), destinationTests(),
		portTests(), lengthTests(), keepAliveTests(), failureTests(), checksumTests(), bondTests(), jumboTests(), lossTests(),
		listTests(), addressTests(), policeTests(), flowTagTests(), flowKeyTests(), flowCheckTests(),
	} {
		for _, c := range group {
			t.Run(c.name, func(t *testing.T) {
				c.run(w.enter(t))
				counted = append(counted, c.reason)
			})
		}
	}
	for _, reason := range w.lane.Reasons() {
		if reason == "no-headroom" && !lab.TellsFeatures() {
			continue // see failureTests
		}
		if !t.Failed() && !slices.Contains(counted, reason) {
			t.Errorf("no case for reason %q", reason)
		}
	}
}

func (c laneTest) run(w *world) {
	w.reset()
	w.port(0, c.in)
	w.port(1, c.out)
	w.row(Key{1, c.vlan, macA}, 0, true)
	w.row(Key{1, c.vlan, macB}, 1, true)
	if c.edit != nil {
		c.edit(w)
	}
	verdict, leaves := w.run(0, c.frame, c.meta)

	want := uint32(xdpPass)
	if c.reason == "lane" {
		want = xdpRedirect
	}
	if dropping[c.reason] {
		want = xdpDrop
	}
	if verdict != want {
		w.Errorf("verdict is %d, want %d", verdict, want)
	}
	if c.leaves == nil {
		c.leaves = c.frame
	}
	if d := cmp.Diff(c.leaves, leaves); d != "" {
		w.Errorf("frame as it leaves (-want +got):\n%s", d)
	}
	to := max(c.to, 1)
	for n := range w.dev {
		if _, on := w.lane.ports.slotOf(w.dev[n]); on {
			w.counted(n, c, n == to)
		}
	}
	var events []Event
	if c.event != nil {
		e := *c.event
		e.IfIndex = w.dev[e.IfIndex]
		events = append(events, e)
	}
	if d := cmp.Diff(events, w.events()); d != "" {
		w.Errorf("events (-want +got):\n%s", d)
	}
	if c.then != nil {
		c.then(w)
	}
}

// counted checks the counters of device n after one frame from device 0.
func (w *world) counted(n int, c laneTest, target bool) {
	w.Helper()
	want := Counters{Frames: make(map[string]uint64)}
	for _, r := range w.lane.Reasons() {
		want.Frames[r] = 0
	}
	if n == 0 {
		want.Frames[c.reason] = 1
		frames, bytes := &want.Passed, &want.PassedBytes
		switch c.reason {
		case "lane":
			frames, bytes = &want.Lane, &want.LaneBytes
		case "would":
			frames, bytes = &want.Would, &want.WouldBytes
		}
		if dropping[c.reason] {
			frames, bytes = &want.Dropped, &want.DroppedBytes
		}
		*frames, *bytes = 1, uint64(len(c.frame))
		if c.finished {
			want.Finished = 1
		}
	}
	if target && c.reason == "lane" {
		want.Sent = 1
	}
	if d := cmp.Diff(want, w.counters(n)); d != "" {
		w.Errorf("counters of device %d (-want +got):\n%s", n, d)
	}
}

// tagged is a UDP frame from A to B with these tags.
func tagged(tags ...frame.Tag) []byte { return frame.UDP4(macB, macA, frame.Tagged(tags...)) }

func vlanTests() []laneTest {
	plain := tagged()
	on10, on20 := tagged(frame.Tag{VID: 10}), tagged(frame.Tag{VID: 20})
	prio := tagged(frame.Tag{VID: 10, PCP: 5})
	tests := []laneTest{
		{name: "access to access", in: access(10), out: access(10), vlan: 10, frame: plain},
		{name: "access to trunk", in: access(10), out: trunk(), vlan: 10, frame: plain, leaves: on10},
		{name: "access to trunk, IPv6", in: access(10), out: trunk(), vlan: 10,
			frame: frame.UDP6(macB, macA), leaves: frame.UDP6(macB, macA, frame.OnVLAN(10))},
		{name: "trunk to access", in: trunk(), out: access(10), vlan: 10, frame: on10, leaves: plain},
		{name: "trunk to access, priority lost", in: trunk(), out: access(10), vlan: 10, frame: prio, leaves: plain},
		{name: "trunk to access, IPv6", in: trunk(), out: access(10), vlan: 10,
			frame: frame.TCP6(macB, macA, frame.OnVLAN(10)), leaves: frame.TCP6(macB, macA)},
		{name: "trunk to trunk", in: trunk(), out: trunk(), vlan: 10, frame: on10},
		{name: "trunk to trunk, untagged", in: trunk(), out: trunk(), vlan: 0, frame: plain},
		{name: "trunk to trunk, highest VLAN", in: trunk(), out: trunk(), vlan: 4095, frame: tagged(frame.Tag{VID: 4095})},
		{name: "access to trunk, highest VLAN", in: access(4095), out: trunk(), vlan: 4095,
			frame: plain, leaves: tagged(frame.Tag{VID: 4095})},
		{name: "trunk to a port that does not carry the VLAN", in: trunk(), out: trunk(20), vlan: 10, frame: on10},
		{name: "access to access of another VLAN", in: access(10), out: access(30), vlan: 10, frame: plain},
		{name: "trunk to access, untagged", in: trunk(), out: access(30), vlan: 0, frame: plain},

		{name: "from native-tagged, untagged", in: native(NativeTagged, 10), out: access(10), vlan: 10, frame: plain},
		{name: "from native-tagged, native VID tagged", in: native(NativeTagged, 10), out: access(10), vlan: 10, frame: on10, leaves: plain},
		{name: "from native-tagged, another VLAN", in: native(NativeTagged, 10), out: trunk(), vlan: 20, frame: on20},
		{name: "from native-untagged, untagged", in: native(NativeUntagged, 10), out: trunk(), vlan: 10, frame: plain, leaves: on10},
		{name: "from native-untagged, native VID tagged", in: native(NativeUntagged, 10), out: trunk(), vlan: 10, frame: prio},
		{name: "from native-untagged, another VLAN", in: native(NativeUntagged, 10), out: access(20), vlan: 20, frame: on20, leaves: plain},
		{name: "to native-tagged, native VLAN", in: access(10), out: native(NativeTagged, 10), vlan: 10, frame: plain, leaves: on10},
		{name: "to native-tagged, native VLAN tagged", in: trunk(), out: native(NativeTagged, 10), vlan: 10, frame: prio},
		{name: "to native-tagged, another VLAN", in: trunk(), out: native(NativeTagged, 10), vlan: 20, frame: on20},
		{name: "to native-untagged, native VLAN", in: access(10), out: native(NativeUntagged, 10), vlan: 10, frame: plain},
		{name: "to native-untagged, native VLAN tagged", in: trunk(), out: native(NativeUntagged, 10), vlan: 10, frame: prio, leaves: plain},
		{name: "to native-untagged, another VLAN", in: trunk(), out: native(NativeUntagged, 10), vlan: 20, frame: on20},
		{name: "to native-untagged, another VLAN untagged", in: access(20), out: native(NativeUntagged, 10), vlan: 20, frame: plain, leaves: on20},
		{name: "native-untagged to native-tagged", in: native(NativeUntagged, 10), out: native(NativeTagged, 10), vlan: 10, frame: plain, leaves: on10},
		{name: "native-tagged to native-untagged", in: native(NativeTagged, 10), out: native(NativeUntagged, 10), vlan: 10, frame: plain},
	}
	for pcp := range uint8(8) {
		tests = append(tests, laneTest{name: fmt.Sprintf("trunk to trunk, priority %d kept", pcp),
			in: trunk(), out: trunk(), vlan: 10, frame: tagged(frame.Tag{VID: 10, PCP: pcp})})
	}
	for i := range tests {
		tests[i].reason = "lane"
	}
	return append(tests, []laneTest{
		{name: "own VID tagged on access", in: access(10), out: access(10), vlan: 10, frame: on10, reason: "vlan"},
		{name: "other VID on access", in: access(10), out: trunk(), vlan: 10, frame: on20, reason: "vlan"},
		{name: "802.1ad on access", in: access(10), out: access(10), vlan: 10, reason: "vlan",
			frame: tagged(frame.Tag{TPID: frame.TypeQinQ, VID: 10})},
		{name: "VLAN that the trunk does not carry", in: trunk(20, 30), out: trunk(), vlan: 10, frame: on10, reason: "vlan"},
		{name: "untagged on a trunk without VLAN 0", in: trunk(10), out: trunk(), vlan: 0, frame: plain, reason: "vlan"},
		{name: "access port whose VLAN is kept out", in: carrying(Access, 10, ovs.VLANSet{}), out: trunk(), vlan: 10, frame: plain, reason: "vlan"},
		{name: "native VLAN that is kept out", in: carrying(NativeTagged, 10, ovs.VLANs(20)), out: trunk(), vlan: 10, frame: plain, reason: "vlan"},
		{name: "new source in a VLAN that is kept out", in: trunk(20), out: trunk(), vlan: 10, reason: "vlan",
			frame: frame.UDP4(macB, macNew, frame.OnVLAN(10))},
	}...)
}

func oddTagTests() []laneTest {
	on := func(v ovs.VLAN) frame.Tag { return frame.Tag{VID: v} }
	ad := func(v ovs.VLAN) frame.Tag { return frame.Tag{TPID: frame.TypeQinQ, VID: v} }
	tests := []laneTest{
		{name: "priority tag on access", in: access(10), out: access(10), vlan: 10, frame: tagged(frame.Tag{PCP: 5})},
		{name: "priority tag on a trunk", in: trunk(), out: trunk(), vlan: 0, frame: tagged(frame.Tag{PCP: 5})},
		{name: "priority tag of priority 0", in: trunk(), out: trunk(), vlan: 0, frame: tagged(frame.Tag{})},
		{name: "priority tag on native-untagged", in: native(NativeUntagged, 10), out: access(10), vlan: 10, frame: tagged(frame.Tag{PCP: 1})},
		{name: "DEI", in: trunk(), out: trunk(), vlan: 10, frame: tagged(frame.Tag{VID: 10, DEI: true})},
		{name: "DEI towards access", in: trunk(), out: access(10), vlan: 10, frame: tagged(frame.Tag{VID: 10, PCP: 7, DEI: true})},
		{name: "two 802.1Q tags", in: trunk(), out: trunk(), vlan: 10, frame: tagged(on(10), on(20))},
		{name: "802.1ad and 802.1Q", in: trunk(), out: trunk(), vlan: 10, frame: tagged(ad(10), on(20))},
		{name: "802.1Q and 802.1ad", in: trunk(), out: trunk(), vlan: 10, frame: tagged(on(10), ad(20))},
		{name: "802.1ad with the VID of a known VLAN", in: trunk(), out: trunk(), vlan: 10, frame: tagged(ad(10))},
		{name: "802.1ad priority tag", in: trunk(), out: trunk(), vlan: 0, frame: tagged(ad(0))},
		{name: "802.1ad, broadcast", in: trunk(), out: trunk(), vlan: 10, frame: frame.UDP4(frame.Broadcast, macA, frame.Tagged(ad(10)))},
	}
	for i := range tests {
		tests[i].reason = "odd-tag"
	}
	// The source of such a frame is learned by OVS all the same.
	return append(tests, []laneTest{
		{name: "802.1ad from a new source", in: trunk(), out: trunk(), vlan: 10, frame: frame.UDP4(macB, macNew, frame.Tagged(ad(10))),
			reason: "new-source", event: &Event{Key: Key{1, 10, macNew}}},
		{name: "priority tag from a new source", in: access(10), out: trunk(), vlan: 10, frame: frame.UDP4(macB, macNew, frame.Tagged(on(0))),
			reason: "new-source", event: &Event{Key: Key{1, 10, macNew}}},
		{name: "two tags from a source that moved", in: trunk(), out: trunk(), vlan: 10, frame: frame.UDP4(macA, macB, frame.Tagged(on(10), on(20))),
			reason: "moved-source", event: &Event{Key: keyB, Moved: true}},
		{name: "DEI from a new source", in: trunk(), out: trunk(), vlan: 10, frame: frame.UDP4(macB, macNew, frame.Tagged(frame.Tag{VID: 20, DEI: true})),
			reason: "new-source", event: &Event{Key: Key{1, 20, macNew}}},
	}...)
}

// on10 fills in what most tests have: access ports of VLAN 10.
func on10(tests []laneTest) []laneTest {
	for i := range tests {
		c := &tests[i]
		c.vlan = 10
		if c.in == (Rule{}) {
			c.in = access(10)
		}
		if c.out == (Rule{}) {
			c.out = access(10)
		}
	}
	return tests
}

func payloadTests() []laneTest {
	mcast4, mcast6 := ovs.MAC{0x01, 0, 0x5e, 0, 0, 0xfb}, ovs.MAC{0x33, 0x33, 0, 0, 0, 0xfb}
	tests := []laneTest{
		{name: "broadcast", frame: frame.UDP4(frame.Broadcast, macA), reason: "group"},
		{name: "multicast IPv4", frame: frame.UDP4(mcast4, macA), reason: "group"},
		{name: "multicast IPv6", frame: frame.UDP6(mcast6, macA), reason: "group"},
		{name: "broadcast IPv6", frame: frame.UDP6(frame.Broadcast, macA), reason: "group"},
		{name: "broadcast ARP", frame: frame.ARPRequest(macA, frame.IP4(macA), frame.IP4(macB)), reason: "group"},
		{name: "broadcast on a trunk", in: trunk(), out: trunk(), frame: frame.UDP4(frame.Broadcast, macA, frame.OnVLAN(10)), reason: "group"},
		{name: "LLDP", frame: raw(ovs.MAC{1, 0x80, 0xc2, 0, 0, 0x0e}, macA, frame.TypeLLDP, make([]byte, 46)), reason: "group"},
		{name: "LACP", frame: raw(ovs.MAC{1, 0x80, 0xc2, 0, 0, 2}, macA, frame.TypeSlow, make([]byte, 110)), reason: "group"},
		{name: "unicast ARP", frame: frame.ARPReply(macB, macA, frame.IP4(macA), frame.IP4(macB)), reason: "not-ip"},
		{name: "unicast ARP, tagged", in: trunk(), frame: frame.ARPReply(macB, macA, frame.IP4(macA), frame.IP4(macB), frame.Tag{VID: 10}), reason: "not-ip"},
		{name: "unicast LLDP", frame: raw(macB, macA, frame.TypeLLDP, make([]byte, 46)), reason: "not-ip"},
		{name: "unicast MPLS", frame: raw(macB, macA, 0x8847, make([]byte, 46)), reason: "not-ip"},
		{name: "802.3 length", frame: raw(macB, macA, 46, make([]byte, 46)), reason: "not-ip"},
		{name: "802.3 length 0", frame: raw(macB, macA, 0, make([]byte, 46)), reason: "not-ip"},
		{name: "802.3 length, tagged", in: trunk(), frame: frame.Retag(raw(macB, macA, 46, make([]byte, 46)), frame.Tag{VID: 10}), reason: "not-ip"},
		{name: "EtherType 0xffff", frame: raw(macB, macA, 0xffff, make([]byte, 46)), reason: "not-ip"},
		{name: "obsolete tag protocol 0x9100", frame: raw(macB, macA, 0x9100, make([]byte, 46)), reason: "not-ip"},
		{name: "ND on a trunk", in: trunk(), out: trunk(), frame: frame.Retag(icmp6(macB, macA, 135), frame.Tag{VID: 10}), reason: "nd"},
		{name: "IPv6 too short to tell", frame: icmp6(macB, macA, 128)[:54], reason: "nd"},
		{name: "ICMPv6 echo", frame: icmp6(macB, macA, 128), reason: "lane"},
		{name: "ICMPv6 below ND", frame: icmp6(macB, macA, 132), reason: "lane"},
		{name: "ICMPv6 above ND", frame: icmp6(macB, macA, 138), reason: "lane"},
		{name: "UDP that looks like ND", frame: ip6(macB, macA, protoUDP, append([]byte{135}, make([]byte, 23)...)), reason: "lane"},
		{name: "ICMP", frame: ip4(macB, macA, protoICMP, make([]byte, 24)), reason: "lane"},
		{name: "TCP", frame: frame.TCP4(macB, macA), reason: "lane"},
		{name: "TCP over IPv6", frame: frame.TCP6(macB, macA), reason: "lane"},
		{name: "IPv4 fragment", frame: frame.UDP4(macB, macA, frame.Fragment(100, true)), reason: "lane"},
		{name: "nothing behind the Ethernet header", frame: raw(macB, macA, frame.TypeIPv4, nil), reason: "lane"},
		{name: "half a tag", in: trunk(), frame: tagged(frame.Tag{VID: 10})[:17], reason: "runt"},
	}
	for kind := uint8(133); kind <= 137; kind++ {
		tests = append(tests, laneTest{name: fmt.Sprintf("ND %d", kind), frame: icmp6(macB, macA, kind), reason: "nd"})
	}
	return on10(tests)
}
