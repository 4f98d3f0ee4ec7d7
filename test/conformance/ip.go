// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"encoding/binary"
	"net/netip"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// packet is an IP packet in a frame, with what package frame has no options
// for. Addresses of one family make it IPv4 or IPv6.
type packet struct {
	dst, src     ovs.MAC
	tags         []frame.Tag
	dstIP, srcIP netip.Addr
	tos, ttl     uint8
	options      []byte // of IPv4
	// extensions go in front of an IPv6 payload: the number and the bytes of each,
	// the first of which is for the number of the next.
	extensions []extensionHeader
	// offset, in units of 8 bytes, and more make a fragment of it; of IPv6 there
	// must be a fragment header among the extensions for them.
	offset uint16
	more   bool
	proto  uint8
	l4     []byte
}

type extensionHeader struct {
	number uint8
	bytes  []byte
}

// bytes returns the frame.
func (p *packet) bytes() []byte {
	var h []byte
	etherType := frame.TypeIPv4
	if p.dstIP.Is4() {
		h = []byte{uint8(0x45 + len(p.options)/4), p.tos, 0, 0, 0, 7, 0, 0, p.ttl, p.proto, 0, 0}
		binary.BigEndian.PutUint16(h[2:], uint16(20+len(p.options)+len(p.l4)))
		flags := p.offset
		if p.more {
			flags |= 0x2000
		}
		binary.BigEndian.PutUint16(h[6:], flags)
		h = append(append(append(h, p.srcIP.AsSlice()...), p.dstIP.AsSlice()...), p.options...)
		binary.BigEndian.PutUint16(h[10:], checksum(h))
	} else {
		etherType = frame.TypeIPv6
		next, all := p.proto, []byte(nil)
		for i := len(p.extensions) - 1; i >= 0; i-- {
			e := p.extensions[i]
			b := append([]byte{next}, e.bytes[1:]...)
			if e.number == protoFragment {
				at := p.offset << 3
				if p.more {
					at |= 1
				}
				binary.BigEndian.PutUint16(b[2:], at)
			}
			next, all = e.number, append(b, all...)
		}
		h = binary.BigEndian.AppendUint32(nil, 6<<28|uint32(p.tos)<<20)
		h = append(binary.BigEndian.AppendUint16(h, uint16(len(all)+len(p.l4))), next, p.ttl)
		h = append(append(append(h, p.srcIP.AsSlice()...), p.dstIP.AsSlice()...), all...)
	}
	return frame.Frame{Dst: p.dst, Src: p.src, Tags: p.tags, EtherType: etherType, Payload: append(h, p.l4...)}.Bytes()
}

// finish puts the right checksum into the L4 header.
func (p *packet) finish() *packet {
	at, ok := map[uint8]int{protoTCP: 16, protoUDP: 6, protoICMP: 2, protoICMPv6: 2}[p.proto]
	if !ok || len(p.l4) < at+2 {
		return p
	}
	binary.BigEndian.PutUint16(p.l4[at:], 0)
	var pseudo []byte
	if p.proto != protoICMP {
		pseudo = append(p.srcIP.AsSlice(), p.dstIP.AsSlice()...)
		pseudo = append(binary.BigEndian.AppendUint32(pseudo, uint32(len(p.l4))), 0, 0, 0, p.proto)
	}
	sum := checksum(pseudo, p.l4)
	if p.proto == protoUDP && sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(p.l4[at:], sum)
	return p
}

// tcp returns a TCP segment without its checksum; the header is of 20 bytes.
func tcp(dst, src, flags uint16, body []byte) []byte {
	h := make([]byte, 20, 20+len(body))
	binary.BigEndian.PutUint16(h, src)
	binary.BigEndian.PutUint16(h[2:], dst)
	binary.BigEndian.PutUint16(h[12:], 5<<12|flags)
	h[14] = 1
	return append(h, body...)
}

// udp returns a UDP datagram without its checksum.
func udp(dst, src uint16, body []byte) []byte {
	h := make([]byte, 8, 8+len(body))
	binary.BigEndian.PutUint16(h, src)
	binary.BigEndian.PutUint16(h[2:], dst)
	binary.BigEndian.PutUint16(h[4:], uint16(8+len(body)))
	return append(h, body...)
}

// sctp returns an SCTP packet; nobody on the way looks at its CRC.
func sctp(dst, src uint16, body []byte) []byte {
	h := make([]byte, 12, 12+len(body))
	binary.BigEndian.PutUint16(h, src)
	binary.BigEndian.PutUint16(h[2:], dst)
	return append(h, body...)
}

// icmp returns a message of ICMP or ICMPv6 without its checksum.
func icmp(kind, code uint8, body []byte) []byte {
	return append([]byte{kind, code, 0, 0, 0, 0, 0, 1}, body...)
}
