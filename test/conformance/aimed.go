// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"encoding/binary"
	"slices"

	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// The kinds of this file are aimed at rules: what they carry is drawn from the
// values that rules match on.

// aimedPlain are plain, as plainKinds.
var aimedPlain = []kind{
	{"aimed-tcp", func(g *generator, src, dst station) []byte { return g.aimed(src, dst, protoTCP).finish().bytes() }},
	{"aimed-udp", func(g *generator, src, dst station) []byte { return g.aimed(src, dst, protoUDP).finish().bytes() }},
	{"aimed-icmp", func(g *generator, src, dst station) []byte { return g.aimed(src, dst, protoICMP).finish().bytes() }},
}

// aimedOdd are odd, as oddKinds.
var aimedOdd = []kind{
	{"aimed-sctp", func(g *generator, src, dst station) []byte { return g.aimed(src, dst, protoSCTP).bytes() }},
	{"aimed-fragment", aimedFragment},
	{"aimed-fragment", aimedFragment},
	{"aimed-fragment", aimedFragment},
	{"aimed-fragment", aimedFragment},
	{"aimed-extensions", func(g *generator, src, dst station) []byte {
		p := g.aimed6(src, dst, pick(g, []uint8{protoTCP, protoUDP, protoICMP, protoSCTP}))
		for range 1 + g.IntN(4) {
			p.extensions = append(p.extensions, g.extension())
		}
		p.offset = pick(g, []uint16{0, 0, 100})
		return p.finish().bytes()
	}},
	{"aimed-extensions-known", func(g *generator, src, dst station) []byte {
		p := g.aimed6(src, dst, pick(g, []uint8{protoTCP, protoUDP, protoICMP}))
		for range 1 + g.IntN(3) {
			p.extensions = append(p.extensions, option(pick(g, []uint8{protoHopOpts, protoRouting, protoDstOpts}), 1+g.IntN(3)))
		}
		return p.finish().bytes()
	}},
	{"aimed-protocol", func(g *generator, src, dst station) []byte {
		p := g.aimed(src, dst, protoSCTP)
		p.proto, p.l4 = pick(g, protocols), g.bytes(34)
		return p.bytes()
	}},
	{"aimed-cut", func(g *generator, src, dst station) []byte {
		b := g.aimedAny(src, dst).finish().bytes()
		l3 := 14 + 4*len(src.tags)
		return b[:l3+g.IntN(min(70, len(b)-l3))]
	}},
	{"aimed-short", aimedShort},
	{"aimed-short", aimedShort},
	{"aimed-short", aimedShort},
	{"aimed-padded", func(g *generator, src, dst station) []byte {
		b := g.aimedAny(src, dst).finish().bytes()
		return append(b, make([]byte, 1+g.IntN(8))...)
	}},
	{"aimed-lengths", func(g *generator, src, dst station) []byte {
		b := g.aimedAny(src, dst).finish().bytes()
		l3 := b[14+4*len(src.tags):]
		length, other := l3[2:4], []byte{0x40, 0x44, 0x4f, 0x55, 0x46}
		if l3[0]>>4 == 6 {
			length, other = l3[4:6], []byte{0x40, 0x50, 0x70}
		}
		switch g.IntN(5) {
		case 0:
			l3[0] = pick(g, other)
		case 1:
			binary.BigEndian.PutUint16(length, uint16(g.IntN(48)))
		case 2:
			binary.BigEndian.PutUint16(length, binary.BigEndian.Uint16(length)+1)
		case 3:
			binary.BigEndian.PutUint16(length, binary.BigEndian.Uint16(length)-1)
		case 4:
			binary.BigEndian.PutUint16(length, 0)
		}
		return b
	}},
	{"aimed-l4-lengths", func(g *generator, src, dst station) []byte {
		p := g.aimed(src, dst, pick(g, []uint8{protoTCP, protoUDP}))
		if p.proto == protoTCP {
			p.l4[12] = uint8(g.IntN(16))<<4 | p.l4[12]&15
		} else {
			binary.BigEndian.PutUint16(p.l4[4:], uint16(g.IntN(16)))
		}
		return p.finish().bytes()
	}},
	{"aimed-arp", func(g *generator, src, dst station) []byte {
		b := frame.ARPReply(dst.mac, src.mac, g.address(src.mac, false), g.address(dst.mac, false), src.tags...)
		l3 := b[14+4*len(src.tags):]
		switch g.IntN(6) {
		case 0:
			l3[7] = byte(g.IntN(6)) // the operation
		case 1:
			l3[4], l3[5] = 6, 16 // lengths of addresses
		case 2:
			l3[8+g.IntN(6)] ^= 1 // the sender's hardware address
		case 3:
			b = b[:14+4*len(src.tags)+g.IntN(29)]
		}
		return b
	}},
	{"aimed-nd", func(g *generator, src, dst station) []byte {
		p := g.aimed6(src, dst, protoICMP)
		target := g.address(src.mac, true).As16()
		p.l4 = append([]byte{uint8(135 + g.IntN(2)), 0, 0, 0, 0, 0, 0, 0}, target[:]...)
		if g.chance(50) {
			p.l4 = append(append(p.l4, uint8(1+g.IntN(2)), 1), src.mac[:]...)
		}
		return p.finish().bytes()
	}},
	{"aimed-ethertype", func(g *generator, src, dst station) []byte {
		types := []uint16{0x88b5, 0x8847, 0x8848, 0x8863, 0x05ff, 0x0600, 0x894f, 0x8035}
		return frame.Frame{Dst: dst.mac, Src: src.mac, Tags: src.tags, EtherType: pick(g, types), Payload: g.bytes(14)}.Bytes()
	}},
}

// aimedShort has less behind the IP header than its protocol's header takes, and
// the IP header says so.
func aimedShort(g *generator, src, dst station) []byte {
	p := g.aimed(src, dst, pick(g, []uint8{protoUDP, protoUDP, protoSCTP, protoTCP, protoICMP}))
	p.l4 = p.l4[:g.IntN(min(len(p.l4), pick(g, []int{9, 24})))]
	b := p.finish().bytes()
	if g.chance(60) { // as cards do
		b = append(b, g.fill(max(60-len(b), 0))...)
	}
	return b
}

func aimedFragment(g *generator, src, dst station) []byte {
	p := g.aimedAny(src, dst)
	p.finish()
	p.offset, p.more = pick(g, []uint16{0, 0, 1, 185}), g.chance(70)
	if !p.dstIP.Is4() {
		if g.chance(20) {
			p.extensions = append(p.extensions, option(protoHopOpts, 1))
		}
		p.extensions = append(p.extensions, option(protoFragment, 1))
		if g.chance(20) {
			p.extensions = append(p.extensions, option(protoDstOpts, 1))
		}
	}
	return p.bytes()
}

// option is an extension header of so many times 8 bytes, with PadN inside.
func option(number uint8, size int) extensionHeader {
	b := make([]byte, 8*size)
	if number != protoFragment {
		b[1], b[2], b[3] = uint8(size-1), 1, uint8(8*size-4)
	}
	return extensionHeader{number, b}
}

// extension is any extension header.
func (g *generator) extension() extensionHeader {
	e := option(pick(g, []uint8{protoHopOpts, protoRouting, protoDstOpts, protoDstOpts, protoFragment, protoAH, 50, 59, 135, 140}), 1)
	switch {
	case e.number == protoAH:
		e.bytes = make([]byte, 24)
		e.bytes[1] = 4
	case e.number != protoFragment && g.chance(30):
		e = option(e.number, 1+g.IntN(40))
	case e.number != protoFragment && g.chance(10):
		e.bytes[1] = uint8(g.IntN(256)) // longer than it is
	}
	return e
}

// aimedAny is of any protocol that has ports or types.
func (g *generator) aimedAny(src, dst station) *packet {
	return g.aimed(src, dst, pick(g, []uint8{protoTCP, protoUDP, protoICMP, protoSCTP}))
}

// aimed is a packet of a protocol over IPv4 or IPv6; ICMP stands for that of
// the version.
func (g *generator) aimed(src, dst station, proto uint8) *packet {
	if g.chance(50) {
		return g.aimed6(src, dst, proto)
	}
	return g.packet(src, dst, proto, false)
}

func (g *generator) aimed6(src, dst station, proto uint8) *packet {
	if proto == protoICMP {
		proto = protoICMPv6
	}
	return g.packet(src, dst, proto, true)
}

func (g *generator) packet(src, dst station, proto uint8, v6 bool) *packet {
	p := &packet{
		dst: dst.mac, src: src.mac, tags: src.tags, dstIP: g.address(dst.mac, v6), srcIP: g.address(src.mac, v6),
		tos: pick(g, trafficClasses), ttl: pick(g, hopLimits), proto: proto,
	}
	if g.chance(30) {
		p.tags = g.priority(src, false)
	}
	if !v6 && g.chance(15) {
		p.options = slices.Repeat([]byte{1, 1, 1, 0}, 1+g.IntN(3))
	}
	to, from := g.port16(), g.port16()
	switch proto {
	case protoTCP:
		p.l4 = tcp(to, from, pick(g, tcpFlagWords), g.bytes(54))
	case protoUDP:
		p.l4 = udp(to, from, g.bytes(42))
	case protoSCTP:
		p.l4 = sctp(to, from, g.bytes(46))
	case protoICMP:
		p.l4 = icmp(pick(g, icmpTypes), uint8(g.IntN(3)), g.bytes(42))
	case protoICMPv6:
		p.l4 = icmp(pick(g, icmp6Types), uint8(g.IntN(3)), g.bytes(62))
	}
	return p
}
