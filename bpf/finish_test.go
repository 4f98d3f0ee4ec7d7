// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// The longest L4 packet whose checksum is finished, and header lengths.
const (
	finishMax = 1480
	tcpHeader = 20
	udpHeader = 8
)

// bare is the rule of a port whose checksums are finished.
func bare(r Rule) Rule { return r.with(func(r *Rule) { r.Checksum, r.Finish = true, true }) }

// finishTests come from a port whose unfinished checksums may be finished.
func finishTests() []laneTest {
	partial := frame.PartialChecksum()
	vid := func(v ovs.VLAN) frame.Option { return frame.Tagged(frame.Tag{VID: v, PCP: 5}) }
	sized := func(n int) frame.Option { return frame.Payload(bytes.Repeat([]byte{0xfe}, n)) }
	udp4, udp6 := frame.UDP4(macB, macA), frame.UDP6(macB, macA)
	udp4p, udp6p := frame.UDP4(macB, macA, partial), frame.UDP6(macB, macA, partial)
	tcp4p, tcp6, tcp6p := frame.TCP4(macB, macA, partial), frame.TCP6(macB, macA), frame.TCP6(macB, macA, partial)
	options := frame.IPOptions(bytes.Repeat([]byte{1}, 40))
	pad := func(b []byte) []byte { return append(slices.Clone(b), 0xff, 0xfe, 0xfd, 0xfc, 0xfb) }
	wide := func(r Rule) Rule { return r.with(func(r *Rule) { r.MaxFrame, r.Scattered = 9014, true }) }
	in, out := bare(access(10)), access(10)

	// Each length is even or odd, a whole number of steps or not.
	var tests []laneTest
	for _, n := range []int{0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 32, 43, 44, 45, 56, 63, 64, 65, 100, 255, 256, 511, 512, 1000, 1399, 1439, 1440, 1452, 1459, 1460} {
		for name, build := range map[string]func(dst, src ovs.MAC, opts ...frame.Option) []byte{
			"UDP over IPv4": frame.UDP4, "UDP over IPv6": frame.UDP6, "TCP over IPv4": frame.TCP4, "TCP over IPv6": frame.TCP6,
		} {
			tests = append(tests, laneTest{name: fmt.Sprintf("%s, %d bytes", name, n), in: wide(in), out: wide(out),
				frame: build(macB, macA, sized(n), partial), leaves: build(macB, macA, sized(n)), reason: "lane"})
		}
	}
	tests = append(tests, []laneTest{
		{name: "longest UDP", in: wide(in), out: wide(out), frame: frame.UDP4(macB, macA, sized(finishMax-udpHeader), partial), leaves: frame.UDP4(macB, macA, sized(finishMax-udpHeader)), reason: "lane"},
		{name: "UDP one longer", in: wide(in), out: wide(out), frame: frame.UDP4(macB, macA, sized(finishMax-udpHeader+1), partial), reason: "checksum"},
		{name: "longest TCP over IPv6", in: wide(in), out: wide(out), frame: frame.TCP6(macB, macA, sized(finishMax-tcpHeader), partial), leaves: frame.TCP6(macB, macA, sized(finishMax-tcpHeader)), reason: "lane"},
		{name: "TCP over IPv6 one longer", in: wide(in), out: wide(out), frame: frame.TCP6(macB, macA, sized(finishMax-tcpHeader+1), partial), reason: "checksum"},
		{name: "longest of an MTU of 1500", in: in, out: out, frame: frame.TCP4(macB, macA, partial, frame.Length(1514)), leaves: frame.TCP4(macB, macA, frame.Length(1514)), reason: "lane"},
		{name: "finished", in: in, out: out, frame: udp4, reason: "lane"},
		{name: "popped", in: bare(trunk()), out: out, frame: frame.TCP4(macB, macA, partial, vid(10)), leaves: frame.TCP4(macB, macA), reason: "lane"},
		{name: "popped, UDP over IPv6", in: bare(trunk()), out: out, frame: frame.UDP6(macB, macA, partial, vid(10)), leaves: udp6, reason: "lane"},
		{name: "pushed", in: in, out: trunk(), frame: udp4p, leaves: frame.UDP4(macB, macA, frame.OnVLAN(10)), reason: "lane"},
		{name: "pushed, TCP over IPv6", in: in, out: trunk(), frame: tcp6p, leaves: frame.TCP6(macB, macA, frame.OnVLAN(10)), reason: "lane"},
		{name: "kept", in: bare(trunk()), out: trunk(), frame: frame.TCP4(macB, macA, partial, vid(10)), leaves: frame.TCP4(macB, macA, vid(10)), reason: "lane"},
		{name: "padded", in: in, out: out, frame: pad(udp4p), leaves: pad(udp4), reason: "lane"},
		{name: "padded, TCP over IPv6", in: in, out: out, frame: pad(tcp6p), leaves: pad(tcp6), reason: "lane"},
		{name: "IP options", in: in, out: out, frame: frame.TCP4(macB, macA, partial, options), leaves: frame.TCP4(macB, macA, options), reason: "lane"},
		{name: "IP options, pushed", in: in, out: trunk(), frame: frame.UDP4(macB, macA, partial, options), leaves: frame.UDP4(macB, macA, options, frame.OnVLAN(10)), reason: "lane"},
		{name: "hop-by-hop options", in: in, out: out, frame: extended(udp6p, protoHopByHop, 8), leaves: extended(udp6, protoHopByHop, 8), reason: "lane"},
		{name: "both extension headers", in: in, out: out, frame: extended(extended(tcp6p, protoDstOpts, 24), protoHopByHop, 16), leaves: extended(extended(tcp6, protoDstOpts, 24), protoHopByHop, 16), reason: "lane"},
		{name: "largest extension header, pushed", in: wide(in), out: wide(trunk()), frame: extended(udp6p, protoDstOpts, 1024), leaves: frame.Retag(extended(udp6, protoDstOpts, 1024), frame.Tag{VID: 10}), reason: "lane"},
		{name: "largest extension header, popped", in: wide(bare(trunk())), out: wide(out), frame: frame.Retag(extended(tcp6p, protoDstOpts, 1024), frame.Tag{VID: 10}), leaves: extended(tcp6, protoDstOpts, 1024), reason: "lane"},
		{name: "six extension headers", in: in, out: out, frame: extensions(udp6p, 6), leaves: extensions(udp6, 6), reason: "lane"},
		{name: "seven extension headers", in: in, out: out, frame: extensions(udp6p, 7), reason: "checksum"},
		{name: "routing header", in: in, out: out, frame: extended(udp6p, protoRouting, 24), reason: "checksum"},
		{name: "IPv4 fragment", in: in, out: out, frame: frame.UDP4(macB, macA, partial, frame.Fragment(0, true)), reason: "checksum"},
		{name: "IPv6 fragment", in: in, out: out, frame: frame.TCP6(macB, macA, partial, frame.Fragment(0, true)), reason: "checksum"},
		{name: "VXLAN", in: in, out: out, frame: frame.UDP4(macB, macA, partial, frame.Ports(4789, 50000)), reason: "checksum"},
		{name: "Geneve", in: in, out: out, frame: frame.UDP6(macB, macA, partial, frame.Ports(6081, 50000)), reason: "checksum"},
		{name: "UDP without checksum", in: in, out: out, frame: frame.UDP4(macB, macA, frame.NoChecksum()), reason: "checksum"},
		{name: "SCTP", in: in, out: out, frame: ip4(macB, macA, protoSCTP, make([]byte, 24)), reason: "checksum"},
		{name: "to be segmented", in: in, out: out, frame: lengthless(tcp4p), reason: "checksum"},
		{name: "UDP length is another", in: in, out: out, frame: changed(udp4p, 14+20+4, 0, 25), reason: "checksum"},
		{name: "TCP shorter than its header", in: in, out: out, frame: shortTCP(), reason: "checksum"},
		{name: "end cut off", in: in, out: out, frame: tcp4p[:len(tcp4p)-1], reason: "checksum"},
		{name: "end cut off, UDP over IPv6", in: in, out: out, frame: udp6p[:len(udp6p)-1], reason: "checksum"},
		{name: "sum of 0xffff, UDP", in: in, out: out, frame: zeroSum(frame.UDP4, udpHeader, partial), leaves: zeroSum(frame.UDP4, udpHeader), reason: "lane"},
		{name: "sum of 0xffff, TCP", in: in, out: out, frame: zeroSum(frame.TCP6, tcpHeader, partial), leaves: zeroSum(frame.TCP6, tcpHeader), reason: "lane"},
		{name: "port that may carry socket buffers", in: access(10).with(func(r *Rule) { r.Checksum = true }), out: out, frame: udp4p, reason: "checksum"},
		{name: "without the guard", in: access(10).with(func(r *Rule) { r.Finish = true }), out: out, frame: udp4p, reason: "lane", leaves: udp4p},
		{name: "observed", in: in.with(func(r *Rule) { r.Observe = true }), out: out, frame: udp4p, reason: "would"},
		{name: "observed, one longer", in: wide(in.with(func(r *Rule) { r.Observe = true })), out: wide(out), frame: frame.UDP4(macB, macA, sized(finishMax-udpHeader+1), partial), reason: "checksum"},
		{name: "target lost", in: in, out: out, frame: udp4p, reason: "no-device", edit: func(w *world) {
			slot, _ := w.lane.ports.slotOf(w.dev[1])
			w.must(w.lane.coll.Maps[laneMapTargets].Delete(uint32(slot)))
		}},
	}...)
	if lab.TellsFeatures() {
		const full = 216 // see failureTests
		tests = append(tests,
			laneTest{name: "no room for a tag", in: in, out: trunk(), frame: tcp4p, meta: full, reason: "no-headroom"},
			laneTest{name: "no room, none needed", in: in, out: out, frame: udp6p, leaves: udp6, meta: full, reason: "lane"},
			// The L4 packet lies in the first of two buffers.
			laneTest{name: "in several buffers", in: wide(in), out: wide(out), frame: append(slices.Clone(udp4p), make([]byte, 5000)...), reason: "checksum"},
		)
	}
	for i := range tests {
		c := &tests[i]
		c.name, c.finished = "finish: "+c.name, c.leaves != nil && c.in.Checksum
	}
	return on10(tests)
}

// lengthless takes the length out of the unfinished checksum of an untagged TCP
// or UDP frame without options, as some systems leave what is to be segmented.
func lengthless(b []byte) []byte {
	l4, proto := 14+20, b[14+9]
	if b[14]>>4 == 6 {
		l4, proto = 14+40, b[14+6]
	}
	field := l4 + map[byte]int{protoTCP: 16, protoUDP: 6}[proto]
	sum := int(binary.BigEndian.Uint16(b[field:])) + 0xffff - (len(b) - l4)
	return changed(b, field, be16(uint16((sum-1)%0xffff+1))...)
}

// shortTCP says in its IPv4 header that the TCP packet has 19 bytes, its
// checksum being that of such a pseudo-header; all of the header is there.
func shortTCP() []byte {
	b := frame.TCP4(macB, macA, frame.Payload(nil), frame.PartialChecksum())
	const field = 14 + 20 + 16
	return changed(changed(b, field, be16(binary.BigEndian.Uint16(b[field:])-1)...), 16, 0, 20+19)
}

func be16(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }

// zeroSum is a frame whose finished checksum computes to 0, which UDP sends as
// 0xffff.
func zeroSum(build func(dst, src ovs.MAC, opts ...frame.Option) []byte, header int, opts ...frame.Option) []byte {
	payload := make([]byte, 2)
	b := build(macB, macA, frame.Payload(payload))
	field := len(b) - len(payload) - header + map[int]int{udpHeader: 6, tcpHeader: 16}[header]
	// The checksum is the complement of a sum: so much is missing to 0xffff.
	copy(payload, b[field:field+2])
	return build(macB, macA, append(opts, frame.Payload(payload))...)
}

// What looks unfinished is finished, byte for byte, and nothing else is changed;
// on ports where it may not be all is as without, and without the flag everywhere.
func TestFinish(t *testing.T) {
	w := newWorld(t, 4, Config{FinishChecksums: true})
	for _, c := range slices.Concat(finishTests(), checksumTests(), jumboTests()) {
		t.Run(c.name, func(t *testing.T) { c.run(w.enter(t)) })
	}
	off := newWorld(t, 4, Config{})
	for _, c := range finishTests() {
		if c.finished || c.reason != "lane" {
			c.reason, c.leaves, c.finished = "checksum", nil, false
		}
		t.Run("off: "+c.name, func(t *testing.T) { c.run(off.enter(t)) })
	}
}

// Random frames, and such as are broken at random, are finished as the reference
// says, and no others.
func TestRandomFinish(t *testing.T) {
	w := newWorld(t, 2, Config{FinishChecksums: true})
	rng := seeded(t)
	wide := func(r *Rule) { r.MaxFrame = 9014 }
	seen := make(map[string]int)
	for n := range 6000 {
		if n%1500 == 0 { // each way that tags are kept, pushed, popped
			w.reset()
			w.port(0, bare(trunk()).with(wide))
			if n/1500%2 == 1 {
				w.rule(0, bare(access(10)).with(wide))
			}
			w.port(1, trunk().with(wide))
			if n/1500 > 1 {
				w.rule(1, access(10).with(wide))
			}
			w.row(keyA, 0, true)
			w.row(keyB, 1, true)
		}
		b := randomIP(rng)
		whole := rng.IntN(2) == 0
		if !whole {
			b = broken(rng, b)
		}
		reason, right := reference(b)
		in, out := b, right
		if n/1500%2 == 0 {
			in = retagged(b, frame.Tag{VID: 10})
		}
		want := uint32(xdpPass)
		if reason == "checksum" || reason == "nd" {
			out = in
		} else {
			want = xdpRedirect
			if n/1500 < 2 {
				out = retagged(right, frame.Tag{VID: 10})
			}
		}
		before := w.counters(0)
		verdict, leaves := w.run(0, in, 0)
		after := w.counters(0)
		counted := "lane"
		if want == xdpPass {
			counted = reason
		}
		finished := after.Finished - before.Finished
		if verdict != want || !bytes.Equal(leaves, out) || after.Frames[counted] != before.Frames[counted]+1 || (finished == 1) != (reason == "finished") {
			t.Fatalf("frame %d: verdict %d, %d finished, counted %v; want it %s\n in % x\nout % x\nnot % x", n, verdict, finished, after.Frames, reason, in, out, leaves)
		}
		seen[reason]++
		if whole && reason == "finished" {
			seen["confirmed"] += confirmed(t, leaves)
		}
	}
	t.Logf("%v", seen)
	for _, reason := range []string{"finished", "confirmed", "lane", "checksum"} {
		if seen[reason] < 100 {
			t.Errorf("%q came %d times", reason, seen[reason])
		}
	}
}

// confirmed asks an independent implementation for the checksums in a frame, and
// tells how many L4 ones there were that it could read. The IPv4 header's own
// is none of ours.
func confirmed(t *testing.T, b []byte) int {
	t.Helper()
	p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
	if p.NetworkLayer() == nil {
		return 0
	}
	l4, ok := p.TransportLayer().(interface {
		SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
	})
	if !ok || l4.SetNetworkLayerForChecksum(p.NetworkLayer()) != nil {
		return 0
	}
	err, wrong := p.VerifyChecksums()
	if err != nil {
		return 0
	}
	for _, c := range wrong {
		if c.Layer == p.TransportLayer() {
			t.Errorf("gopacket wants %#x in the checksum, not %#x: % x", c.Correct, c.Actual, b)
		}
	}
	return 1
}

// retagged puts a tag into an untagged frame, whatever it carries.
func retagged(b []byte, tag frame.Tag) []byte {
	return slices.Insert(slices.Clone(b), 12, append(be16(frame.TypeVLAN), be16(tag.TCI())...)...)
}

// randomIP returns an untagged frame from A to B of any kind and length, its
// checksum unfinished as a rule.
func randomIP(rng *rand.Rand) []byte {
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return b
	}
	build := []func(dst, src ovs.MAC, opts ...frame.Option) []byte{frame.UDP4, frame.TCP4, frame.UDP6, frame.TCP6}[rng.IntN(4)]
	size := rng.IntN(1600)
	if rng.IntN(2) == 0 {
		size = rng.IntN(200)
	}
	opts := []frame.Option{frame.Payload(noise(size)), frame.Ports(uint16(rng.IntN(4000)), uint16(rng.Uint32()))}
	if rng.IntN(8) > 0 {
		opts = append(opts, frame.PartialChecksum())
	}
	if rng.IntN(4) == 0 {
		opts = append(opts, frame.IPOptions(noise(4*rng.IntN(11))))
	}
	b := build(macB, macA, opts...)
	if binary.BigEndian.Uint16(b[12:]) == frame.TypeIPv6 {
		for range max(0, rng.IntN(6)-3) {
			b = extended(b, []uint8{protoHopByHop, protoDstOpts}[rng.IntN(2)], 8*(1+rng.IntN(4)))
		}
	}
	if rng.IntN(4) == 0 {
		b = append(b, noise(rng.IntN(30))...)
	}
	return b
}

// broken changes a frame at random behind its Ethernet header, mostly in its
// other headers, or cuts off its end.
func broken(rng *rand.Rand, b []byte) []byte {
	b = slices.Clone(b)
	if rng.IntN(4) == 0 {
		return b[:14+rng.IntN(len(b)-13)]
	}
	for range 1 + rng.IntN(2) {
		at := 14 + rng.IntN(min(len(b)-14, 70))
		b[at] = []byte{byte(rng.Uint32()), b[at] ^ 1<<rng.IntN(8), 0, b[at] + 1, b[at] - 1}[rng.IntN(5)]
	}
	return b
}

// reference tells what becomes of an untagged IP frame from a port whose
// checksums are finished: it is finished, takes the lane as it is, or passes,
// and for what reason.
func reference(b []byte) (reason string, out []byte) {
	ip := b[14:]
	var (
		proto, l4, length int
		pseudo            []byte
	)
	if binary.BigEndian.Uint16(b[12:]) == frame.TypeIPv6 {
		if len(ip) < 41 || ip[6] == protoICMPv6 && ip[40] >= 133 && ip[40] <= 137 {
			return "nd", b
		}
		proto, l4, length = int(ip[6]), 40, int(binary.BigEndian.Uint16(ip[4:]))
		for range 6 {
			if proto != protoHopByHop && proto != protoDstOpts {
				break
			}
			if len(ip) < l4+2 {
				return "checksum", b
			}
			size := 8 * (int(ip[l4+1]) + 1)
			if proto = int(ip[l4]); l4+size > 40+1024 {
				return "checksum", b
			}
			l4, length = l4+size, length-size
		}
		if ip[0]>>4 != 6 || length < 0 {
			return "checksum", b
		}
		pseudo = ip[8:40]
	} else {
		if len(ip) < 20 || ip[0]>>4 != 4 || ip[0]&15 < 5 || binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 {
			return "checksum", b
		}
		proto, l4 = int(ip[9]), 4*int(ip[0]&15)
		if length = int(binary.BigEndian.Uint16(ip[2:])) - l4; length < 0 {
			return "checksum", b
		}
		pseudo = ip[12:20]
	}
	field, header := 6, udpHeader
	switch proto {
	case protoICMP, protoICMPv6:
		return "lane", b
	case 6:
		field, header = 16, tcpHeader
	case protoUDP:
	default:
		return "checksum", b
	}
	if len(ip) < l4+header {
		return "checksum", b
	}
	check := binary.BigEndian.Uint16(ip[l4+field:])
	sum := func(b []byte, n int) uint16 { // RFC 1071, from n on
		for i, octet := range b {
			n += int(octet) << (8 * (1 - i%2))
		}
		for n > 0xffff {
			n = n&0xffff + n>>16
		}
		return uint16(n)
	}
	if proto == protoUDP {
		switch binary.BigEndian.Uint16(ip[l4+2:]) {
		case 4789, 8472, 6081:
			return "checksum", b
		}
		if check == 0 {
			return "checksum", b
		}
	}
	switch check {
	case sum(pseudo, proto+length):
	case sum(pseudo, proto):
		return "checksum", b
	default:
		return "lane", b
	}
	if length < header || length > finishMax || len(ip) < l4+length ||
		proto == protoUDP && int(binary.BigEndian.Uint16(ip[l4+4:])) != length {
		return "checksum", b
	}
	out = changed(b, 14+l4+field, 0, 0)
	check = ^sum(out[14+l4:][:length], int(sum(pseudo, proto+length)))
	if check == 0 && proto == protoUDP {
		check = 0xffff
	}
	return "finished", changed(out, 14+l4+field, be16(check)...)
}
