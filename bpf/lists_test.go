// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

var (
	rulesOf0  = ListKey{Kind: PortRules, Bridge: 1, Port: 1}
	rulesOfB  = ListKey{Kind: DestinationRules, Bridge: 1, Dst: macB}
	addressA  = ListKey{Kind: Addresses, Bridge: 1, Port: 1}
	macMask   = ovs.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	matchAll  = ListRule{}
	allNormal = ListRule{Verdict: VerdictNormal, Order: 1000}
)

// matching makes a rule that matches what the function sets, in the bits that it
// sets in the mask.
func matching(v Verdict, order uint32, set func(value, mask *ovs.Fields)) ListRule {
	r := ListRule{Verdict: v, Order: order}
	set(&r.Value, &r.Mask)
	return r
}

func toPort(v Verdict, order uint32, proto uint8, port uint16) ListRule {
	return matching(v, order, func(value, mask *ovs.Fields) {
		value.EtherType, mask.EtherType = frame.TypeIPv4, 0xffff
		value.Proto, mask.Proto = proto, 0xff
		value.TPDst, mask.TPDst = port, 0xffff
	})
}

// decidedBy puts rules on device 0: those of the port, and of destination B.
func decidedBy(port, destination []ListRule) func(w *world) {
	return func(w *world) {
		w.Helper()
		r := access(10)
		if len(port) > 0 {
			w.must(w.lane.PutList(rulesOf0, port))
			r.Rules = rulesOf0
		}
		if len(destination) > 0 {
			w.must(w.lane.PutList(rulesOfB, destination))
			r.Scoped = true
		}
		w.rule(0, r)
	}
}

func listTests() []laneTest {
	udp := frame.UDP4(macB, macA, frame.Ports(53, 4000))
	drop53, normal53 := toPort(VerdictDrop, 1, protoUDP, 53), toPort(VerdictNormal, 1, protoUDP, 53)
	idle := allNormal
	idle.Idle = time.Hour
	fromC := frame.UDP4(macB, macC)
	counts := func(k ListKey, want ...uint64) func(w *world) {
		return func(w *world) {
			w.Helper()
			var frames []uint64
			for _, c := range w.lane.ListCounts(k) {
				frames = append(frames, c.Frames)
				if c.Bytes != c.Frames*uint64(len(udp)) {
					w.Errorf("%d frames counted as %d bytes", c.Frames, c.Bytes)
				}
			}
			if d := cmp.Diff(want, frames); d != "" {
				w.Errorf("counts (-want +got):\n%s", d)
			}
		}
	}
	tests := []laneTest{
		{name: "dropped", frame: udp, edit: decidedBy([]ListRule{drop53, allNormal}, nil), reason: "dropped", then: counts(rulesOf0, 1, 0)},
		{name: "the rule behind", frame: frame.UDP4(macB, macA, frame.Ports(54, 4000)), edit: decidedBy([]ListRule{drop53, allNormal}, nil),
			reason: "lane", then: counts(rulesOf0, 0, 1)},
		{name: "left to OVS", frame: udp, edit: decidedBy([]ListRule{toPort(VerdictPass, 1, protoUDP, 53), allNormal}, nil), reason: "rule", then: counts(rulesOf0, 0, 0)},
		{name: "no rule", frame: udp, edit: decidedBy([]ListRule{toPort(VerdictNormal, 1, protoUDP, 54)}, nil), reason: "rule"},
		{name: "no list", frame: udp, edit: decidedBy(nil, nil), reason: "lane"},
		{name: "nothing but rules of another destination", frame: udp, reason: "rule", edit: func(w *world) {
			w.rule(0, access(10).with(func(r *Rule) { r.Scoped = true }))
		}},
		{name: "destination first", frame: udp, edit: decidedBy([]ListRule{toPort(VerdictDrop, 2, protoUDP, 53), allNormal}, []ListRule{normal53}),
			reason: "lane", then: counts(rulesOfB, 1)},
		{name: "port first", frame: udp, edit: decidedBy([]ListRule{drop53, allNormal}, []ListRule{toPort(VerdictNormal, 2, protoUDP, 53)}),
			reason: "dropped", then: counts(rulesOf0, 1, 0)},
		{name: "destination drops", frame: udp, edit: decidedBy([]ListRule{allNormal}, []ListRule{drop53}), reason: "dropped", then: counts(rulesOfB, 1)},
		{name: "destination has none that matches", frame: udp, edit: decidedBy([]ListRule{allNormal}, []ListRule{toPort(VerdictDrop, 1, protoTCP, 53)}),
			reason: "lane", then: counts(rulesOf0, 1)},
		{name: "destination of another bridge", frame: udp, reason: "lane", edit: func(w *world) {
			decidedBy([]ListRule{allNormal}, nil)(w)
			w.must(w.lane.PutList(ListKey{Kind: DestinationRules, Bridge: 2, Dst: macB}, []ListRule{drop53}))
			w.rule(0, access(10).with(func(r *Rule) { r.Rules, r.Scoped = rulesOf0, true }))
		}},
		{name: "the last of 256", frame: udp, edit: decidedBy(append(slices.Repeat([]ListRule{toPort(VerdictDrop, 1, protoUDP, 99)}, MaxList-1), allNormal), nil), reason: "lane"},
		{name: "what is dropped is not learned from", frame: frame.UDP4(macB, macNew), edit: decidedBy([]ListRule{{Verdict: VerdictDrop}}, nil), reason: "dropped"},
		{name: "what is dropped marks no row", frame: frame.UDP4(macA, macB), edit: decidedBy([]ListRule{{Verdict: VerdictDrop}}, nil), reason: "dropped",
			then: func(w *world) {
				if r := w.lane.FindRow(keyB); r == nil || r.Moved {
					w.Errorf("row of B: %+v", r)
				}
			}},
		{name: "what is left to OVS is learned from", frame: frame.UDP4(macB, macNew), edit: decidedBy([]ListRule{{Verdict: VerdictPass}}, nil),
			reason: "new-source", event: &Event{Key: Key{1, 10, macNew}}},
		{name: "what is left to OVS marks its row", frame: frame.UDP4(macA, macB), edit: decidedBy([]ListRule{{Verdict: VerdictPass}}, nil),
			reason: "moved-source", event: &Event{Key: keyB, Moved: true}},
		{name: "NORMAL, but its source is new", frame: frame.UDP4(macB, macNew), edit: decidedBy([]ListRule{allNormal}, nil),
			reason: "new-source", event: &Event{Key: Key{1, 10, macNew}}, then: counts(rulesOf0, 0)},
		{name: "NORMAL, but its destination is unknown", frame: frame.UDP4(macNew, macA), edit: decidedBy([]ListRule{allNormal}, nil),
			reason: "unknown", then: counts(rulesOf0, 0)},
		{name: "broadcast dropped", frame: frame.UDP4(frame.Broadcast, macA), edit: decidedBy([]ListRule{{Verdict: VerdictDrop}}, nil), reason: "dropped"},
		{name: "ARP dropped", frame: frame.ARPReply(macB, macA, frame.IP4(macA), frame.IP4(macB)), reason: "dropped",
			edit: decidedBy([]ListRule{matching(VerdictDrop, 1, func(v, m *ovs.Fields) { v.EtherType, m.EtherType = frame.TypeARP, 0xffff }), allNormal}, nil)},
		{name: "LACP is not dropped", frame: raw(ovs.MAC{1, 0x80, 0xc2, 0, 0, 2}, macA, 0x8809, make([]byte, 46)), edit: decidedBy([]ListRule{{Verdict: VerdictDrop}}, nil), reason: "rule"},
		{name: "observed, would be dropped", frame: udp, reason: "would", edit: func(w *world) {
			decidedBy([]ListRule{{Verdict: VerdictDrop}}, nil)(w)
			w.rule(0, access(10).with(func(r *Rule) { r.Rules, r.Observe = rulesOf0, true }))
		}},
		{name: "a rule with idle_timeout shows itself to OVS", frame: udp, edit: decidedBy([]ListRule{idle}, nil), reason: "rule", then: func(w *world) {
			if v, _ := w.run(0, udp, 0); v != xdpRedirect {
				w.Errorf("the next frame: verdict %d", v)
			}
			counts(rulesOf0, 1)(w)
		}},
		{name: "odd tag", in: trunk(), frame: tagged(frame.Tag{VID: 10, DEI: true}), reason: "rule", edit: func(w *world) {
			w.must(w.lane.PutList(rulesOf0, []ListRule{allNormal}))
			w.rule(0, trunk().with(func(r *Rule) { r.Rules = rulesOf0 }))
		}},
		{name: "another port has no rules", frame: fromC, reason: "lane", to: 1, edit: func(w *world) {
			w.row(Key{1, 10, macC}, 0, true)
			w.port(2, access(10))
			w.must(w.lane.PutList(rulesOf0, []ListRule{{Verdict: VerdictDrop}}))
			w.rule(2, access(10).with(func(r *Rule) { r.Rules = rulesOf0 }))
		}},
	}
	return on10(tests)
}

// Addresses: A may use its MAC address with 10.0.0.10 alone.
func addressTests() []laneTest {
	own := frame.IP4(macA)
	other := frame.IP4(macC)
	allowed := func(ip [4]byte) ListRule {
		return matching(VerdictNormal, 1, func(v, m *ovs.Fields) {
			v.Src, m.Src = macA, macMask
			v.EtherType, m.EtherType = frame.TypeIPv4, 0xffff
			copy(v.IPSrc[:], ip[:])
			copy(m.IPSrc[:], []byte{255, 255, 255, 255})
		})
	}
	arp := func(ip [4]byte) ListRule {
		r := allowed(ip)
		r.Value.EtherType = frame.TypeARP
		return r
	}
	nd := matching(VerdictNormal, 1, func(v, m *ovs.Fields) {
		v.Src, m.Src = macA, macMask
		v.EtherType, m.EtherType = frame.TypeIPv6, 0xffff
		v.IPSrc, m.IPSrc = frame.IP6(macA).As16(), [16]byte(slices.Repeat([]byte{255}, 16))
	})
	with := func(otherwise Verdict) func(w *world) {
		return func(w *world) {
			w.must(w.lane.PutList(addressA, []ListRule{allowed(own.As4()), arp(own.As4()), nd, {Verdict: otherwise, Order: 9}}))
			w.rule(0, access(10).with(func(r *Rule) { r.Addresses = addressA }))
		}
	}
	advert := func(target ovs.MAC) []byte {
		b := make([]byte, 24)
		b[0] = 136
		t := frame.IP6(target).As16()
		copy(b[8:], t[:])
		return ip6(macB, macA, protoICMPv6, b)
	}
	var tests []laneTest
	for _, c := range []struct {
		name  string
		frame []byte
		// good is the reason for a frame whose addresses are A's.
		good string
	}{
		{"own address", frame.UDP4(macB, macA), "lane"},
		{"own IPv6 address", frame.UDP6(macB, macA), "lane"},
		{"another IP address", frame.UDP4(macB, macA, frame.IPs(frame.IP4(macB), other)), ""},
		{"another IPv6 address", frame.UDP6(macB, macA, frame.IPs(frame.IP6(macB), frame.IP6(macC))), ""},
		{"another address in a fragment", frame.UDP4(macB, macA, frame.IPs(frame.IP4(macB), other), frame.Fragment(185, true)), ""},
		{"own address in a fragment", frame.UDP4(macB, macA, frame.Fragment(185, true)), "lane"},
		{"own address, extension headers that are not walked", extended(frame.UDP6(macB, macA), 51, 24), "lane"},
		{"another MAC address", frame.UDP4(macB, macNew, frame.IPs(frame.IP4(macB), own)), ""},
		{"ARP", frame.ARPReply(macB, macA, own, frame.IP4(macB)), "not-ip"},
		{"ARP for another", frame.ARPReply(macB, macA, other, frame.IP4(macB)), ""},
		{"ARP with another's hardware address", changed(frame.ARPReply(macB, macA, own, frame.IP4(macB)), 14+8, macC[:]...), ""},
		{"ARP cut off", frame.ARPReply(macB, macA, own, frame.IP4(macB))[:14+20], ""},
		{"neighbour advertisement", advert(macA), "nd"},
		{"neighbour advertisement for another", advert(macC), ""},
		{"no IP", raw(macB, macA, frame.TypeLLDP, make([]byte, 46)), ""},
		{"IP header cut off", frame.UDP4(macB, macA)[:14+19], ""},
	} {
		for verdict, reason := range map[Verdict]string{VerdictPass: "foreign-address", VerdictDrop: "dropped-address"} {
			t := laneTest{name: c.name + ": " + reason, frame: c.frame, edit: with(verdict), reason: reason}
			if c.good != "" {
				t.reason = c.good
			} else if src, _ := frame.Parse(c.frame); verdict == VerdictPass && src.Src == macNew {
				t.reason, t.event = "new-source", &Event{Key: Key{1, 10, macNew}}
			}
			tests = append(tests, t)
		}
	}
	return on10(tests)
}

func policeTests() []laneTest {
	udp := frame.UDP4(macB, macA)
	limit := func(bytes, frames Rate) func(w *world) {
		return func(w *world) {
			w.rule(0, access(10).with(func(r *Rule) { r.PoliceBytes, r.PoliceFrames = bytes, frames }))
		}
	}
	size := uint64(len(udp) - 14)
	again := func(want uint32, n int) func(w *world) {
		return func(w *world) {
			for range n {
				if v, _ := w.run(0, udp, 0); v != want {
					w.Errorf("verdict of the next frame is %d, want %d", v, want)
				}
			}
		}
	}
	tests := []laneTest{
		{name: "within the burst", frame: udp, edit: limit(Rate{1, 3 * size}, Rate{}), reason: "lane", then: func(w *world) {
			again(xdpRedirect, 2)(w)
			again(xdpDrop, 3)(w)
		}},
		{name: "over the burst", frame: udp, edit: limit(Rate{1, size - 1}, Rate{}), reason: "policed"},
		{name: "frames within the burst", frame: udp, edit: limit(Rate{}, Rate{1, 2}), reason: "lane", then: func(w *world) {
			again(xdpRedirect, 1)(w)
			again(xdpDrop, 1)(w)
		}},
		{name: "both limits", frame: udp, edit: limit(Rate{1, 3 * size}, Rate{1, 1}), reason: "lane", then: again(xdpDrop, 1)},
		{name: "a frame for OVS takes its share", frame: frame.UDP4(frame.Broadcast, macA), edit: limit(Rate{1, size}, Rate{}), reason: "group", then: again(xdpDrop, 1)},
		{name: "a high rate", frame: udp, edit: limit(Rate{12_500_000_000, 1_000_000}, Rate{10_000_000, 1000}), reason: "lane", then: again(xdpRedirect, 100)},
	}
	return on10(tests)
}

// A list is replaced at once, places are used again, and none is left over.
func TestListsComeAndGo(t *testing.T) {
	w := newWorld(t, 2, Config{Rules: 40})
	udp := frame.UDP4(macB, macA)
	w.reset()
	w.port(0, access(10))
	w.port(1, access(10))
	w.row(keyA, 0, true)
	w.row(keyB, 1, true)
	for n := range 100 {
		verdict, want := VerdictNormal, uint32(xdpRedirect)
		if n%2 == 1 {
			verdict, want = VerdictDrop, xdpDrop
		}
		list := append(slices.Repeat([]ListRule{toPort(VerdictPass, 1, protoTCP, 1)}, n%15), ListRule{Verdict: verdict, Order: 2})
		w.must(w.lane.PutList(rulesOf0, list))
		w.rule(0, access(10).with(func(r *Rule) { r.Rules = rulesOf0 }))
		if v, _ := w.run(0, udp, 0); v != want {
			t.Fatalf("list %d: verdict %d, want %d", n, v, want)
		}
		if c := w.lane.ListCounts(rulesOf0); c[len(c)-1].Frames != 1 {
			t.Fatalf("list %d: counts %v", n, c)
		}
	}
	if err := w.lane.PutList(rulesOfB, make([]ListRule, 41)); !errors.Is(err, ErrNoRoom) {
		t.Errorf("a list larger than the table: %v", err)
	}
	if err := w.lane.PutList(rulesOfB, make([]ListRule, MaxList+1)); err == nil {
		t.Error("a list longer than the program walks is not refused")
	}
	w.rule(0, access(10))
	w.must(w.lane.DeleteList(rulesOf0))
	w.must(w.lane.SettleLists())
	if err := w.lane.PutList(rulesOfB, make([]ListRule, 40)); err != nil {
		t.Errorf("the whole table: %v", err)
	}
	if err := w.lane.SetRule(w.dev[0], access(10).with(func(r *Rule) { r.Rules = rulesOf0 })); err == nil {
		t.Error("a rule that names a list that is not there is not refused")
	}
}

// Frames get the rate, by the clock of the kernel, and no more.
func TestPoliceKeepsRate(t *testing.T) {
	w := newWorld(t, 2, Config{})
	w.reset()
	const rate = 100_000
	w.port(0, access(10).with(func(r *Rule) { r.PoliceBytes = Rate{PerSecond: rate, Burst: rate} }))
	w.port(1, access(10))
	w.row(keyA, 0, true)
	w.row(keyB, 1, true)
	udp := frame.UDP4(macB, macA, frame.Length(1000))
	began := time.Now()
	for time.Since(began) < time.Second {
		for range 50 { // far over the rate
			w.run(0, udp, 0)
		}
	}
	took := time.Since(began).Seconds()
	c := w.counters(0)
	got := float64(c.Lane) * 986
	if want := rate*took + rate; got > 1.01*want || got < 0.9*want || c.Frames["policed"] == 0 {
		t.Errorf("%.0f bytes in %.3f s, want %.0f; %v", got, took, want, c.Frames)
	}
}
