// SPDX-License-Identifier: Apache-2.0

package frame

import (
	"encoding/binary"
	"net/netip"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// IP protocol numbers.
const (
	protoTCP  = 6
	protoUDP  = 17
	protoFrag = 44 // IPv6 fragment header
)

// packet is what the options of UDP4 and its siblings set.
type packet struct {
	tags             []Tag
	srcIP, dstIP     netip.Addr
	srcPort, dstPort uint16
	payload          []byte
	length           int // of the whole frame; 0: as the payload makes it
	sum              int
	ipOptions        []byte
	fragment         bool
	fragOffset       uint16 // in units of 8 bytes
	moreFragments    bool
}

// Kinds of L4 checksum.
const (
	sumRight = iota
	sumPartial
	sumNone
)

// Option changes one thing about a frame of UDP4, UDP6, TCP4 or TCP6.
type Option func(*packet)

// Tagged gives the frame these VLAN tags, outermost first.
func Tagged(tags ...Tag) Option { return func(p *packet) { p.tags = tags } }

// OnVLAN gives the frame one 802.1Q tag of this VLAN and priority 0.
func OnVLAN(v ovs.VLAN) Option { return Tagged(Tag{VID: v}) }

// IPs sets the addresses in place of those made from the MAC addresses.
func IPs(dst, src netip.Addr) Option { return func(p *packet) { p.dstIP, p.srcIP = dst, src } }

// Ports sets the L4 ports in place of 7 (echo) towards 40000.
func Ports(dst, src uint16) Option { return func(p *packet) { p.dstPort, p.srcPort = dst, src } }

// Payload sets what follows the L4 header in place of 18 zero bytes.
func Payload(b []byte) Option { return func(p *packet) { p.payload = b } }

// Length pads the payload with zeros so that the frame, tags included, has n
// bytes. A payload that is longer already stays as it is.
func Length(n int) Option { return func(p *packet) { p.length = n } }

// PartialChecksum leaves the L4 checksum as Linux hands it to a device that
// finishes checksums (CHECKSUM_PARTIAL): the folded sum of the pseudo-header.
func PartialChecksum() Option { return func(p *packet) { p.sum = sumPartial } }

// NoChecksum sets the L4 checksum field to 0, "none" in UDP over IPv4.
func NoChecksum() Option { return func(p *packet) { p.sum = sumNone } }

// IPOptions adds these IPv4 header options; their length must be a multiple
// of 4. IPv6 frames ignore them.
func IPOptions(b []byte) Option { return func(p *packet) { p.ipOptions = b } }

// Fragment makes the packet an IP fragment at offset (in units of 8 bytes)
// with the more-fragments flag as given. The L4 header stays where it is also
// at an offset above 0, as payload of no meaning.
func Fragment(offset uint16, more bool) Option {
	return func(p *packet) { p.fragment, p.fragOffset, p.moreFragments = true, offset, more }
}

// UDP4 returns a UDP datagram over IPv4. Without options it has 60 bytes,
// addresses made from the MAC addresses (IP4) and right checksums.
func UDP4(dst, src ovs.MAC, opts ...Option) []byte { return build(dst, src, false, protoUDP, opts) }

// UDP6 is UDP4 over IPv6; its addresses are those of IP6.
func UDP6(dst, src ovs.MAC, opts ...Option) []byte { return build(dst, src, true, protoUDP, opts) }

// TCP4 returns a TCP segment (ACK and PSH set) over IPv4; options as UDP4.
func TCP4(dst, src ovs.MAC, opts ...Option) []byte { return build(dst, src, false, protoTCP, opts) }

// TCP6 is TCP4 over IPv6.
func TCP6(dst, src ovs.MAC, opts ...Option) []byte { return build(dst, src, true, protoTCP, opts) }

// IP4 is the IPv4 address that a frame gets for this MAC address: 10 and its
// last three octets.
func IP4(m ovs.MAC) netip.Addr { return netip.AddrFrom4([4]byte{10, m[3], m[4], m[5]}) }

// IP6 is the IPv6 address that a frame gets for this MAC address: fd00:: and
// the MAC address in the last six octets.
func IP6(m ovs.MAC) netip.Addr {
	a := [16]byte{0: 0xfd}
	copy(a[10:], m[:])
	return netip.AddrFrom16(a)
}

func build(dst, src ovs.MAC, v6 bool, proto uint8, opts []Option) []byte {
	p := packet{srcPort: 40000, dstPort: 7, payload: make([]byte, 18), dstIP: IP4(dst), srcIP: IP4(src)}
	if v6 {
		p.dstIP, p.srcIP = IP6(dst), IP6(src)
	}
	for _, o := range opts {
		o(&p)
	}
	f := Frame{Dst: dst, Src: src, Tags: p.tags, EtherType: TypeIPv4, Payload: p.ip(v6, proto)}
	if v6 {
		f.EtherType = TypeIPv6
	}
	if missing := p.length - (14 + 4*len(f.Tags) + len(f.Payload)); missing > 0 {
		p.payload = append(append([]byte(nil), p.payload...), make([]byte, missing)...)
		f.Payload = p.ip(v6, proto)
	}
	return f.Bytes()
}

// ip returns the IP packet.
func (p *packet) ip(v6 bool, proto uint8) []byte {
	l4 := p.l4(proto)
	if v6 {
		return p.ip6(proto, l4)
	}
	hlen := 20 + len(p.ipOptions)
	h := make([]byte, hlen, hlen+len(l4))
	h[0] = 4<<4 | byte(hlen/4)
	binary.BigEndian.PutUint16(h[2:], uint16(hlen+len(l4)))
	binary.BigEndian.PutUint16(h[4:], 1) // identification
	flags := uint16(1 << 14)             // don't fragment
	if p.fragment {
		flags = p.fragOffset & 0x1fff
		if p.moreFragments {
			flags |= 1 << 13
		}
	}
	binary.BigEndian.PutUint16(h[6:], flags)
	h[8], h[9] = 64, proto
	copy(h[12:], p.srcIP.AsSlice())
	copy(h[16:], p.dstIP.AsSlice())
	copy(h[20:], p.ipOptions)
	binary.BigEndian.PutUint16(h[10:], ^sum(0, h))
	return append(h, l4...)
}

func (p *packet) ip6(proto uint8, l4 []byte) []byte {
	next := proto
	if p.fragment {
		ext := []byte{proto, 0, 0, 0, 0, 0, 0, 1}
		off := p.fragOffset << 3
		if p.moreFragments {
			off |= 1
		}
		binary.BigEndian.PutUint16(ext[2:], off)
		l4, next = append(ext, l4...), protoFrag
	}
	h := make([]byte, 40, 40+len(l4))
	h[0] = 6 << 4
	binary.BigEndian.PutUint16(h[4:], uint16(len(l4)))
	h[6], h[7] = next, 64
	copy(h[8:], p.srcIP.AsSlice())
	copy(h[24:], p.dstIP.AsSlice())
	return append(h, l4...)
}

// l4 returns the UDP datagram or TCP segment.
func (p *packet) l4(proto uint8) []byte {
	var h []byte
	at := 6 // of the checksum
	if proto == protoTCP {
		h = make([]byte, 20, 20+len(p.payload))
		at = 16
		binary.BigEndian.PutUint32(h[4:], 1)
		binary.BigEndian.PutUint32(h[8:], 1)
		h[12], h[13] = 5<<4, 0x18 // data offset; ACK and PSH
		binary.BigEndian.PutUint16(h[14:], 65535)
	} else {
		h = make([]byte, 8, 8+len(p.payload))
		binary.BigEndian.PutUint16(h[4:], uint16(8+len(p.payload)))
	}
	binary.BigEndian.PutUint16(h, p.srcPort)
	binary.BigEndian.PutUint16(h[2:], p.dstPort)
	h = append(h, p.payload...)

	pseudo := uint32(proto) + uint32(len(h))
	folded := sum(pseudo, append(p.srcIP.AsSlice(), p.dstIP.AsSlice()...))
	switch p.sum {
	case sumPartial:
		binary.BigEndian.PutUint16(h[at:], folded)
	case sumRight:
		check := ^sum(uint32(folded), h)
		if check == 0 && proto == protoUDP {
			check = 0xffff // RFC 768: 0 means no checksum
		}
		binary.BigEndian.PutUint16(h[at:], check)
	}
	return h
}

// sum is the ones' complement sum of RFC 1071 over b, starting from s.
func sum(s uint32, b []byte) uint16 {
	for ; len(b) > 1; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	for s > 0xffff {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}
