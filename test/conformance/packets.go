// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"encoding/binary"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// Protocol numbers of IP that package frame does not build.
const (
	protoHopOpts  = 0
	protoICMP     = 1
	protoIGMP     = 2
	protoTCP      = 6
	protoUDP      = 17
	protoRouting  = 43
	protoFragment = 44
	protoGRE      = 47
	protoAH       = 51
	protoICMPv6   = 58
	protoDstOpts  = 60
	protoSCTP     = 132
)

// checksum is that of RFC 1071.
func checksum(parts ...[]byte) uint16 {
	var sum uint32
	for _, b := range parts {
		for i := 0; i < len(b); i += 2 {
			if i+1 < len(b) {
				sum += uint32(b[i+1])
			}
			sum += uint32(b[i]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// ip4 returns an IPv4 frame with any payload.
func ip4(dst, src ovs.MAC, tags []frame.Tag, proto uint8, payload []byte) []byte {
	h := make([]byte, 20, 20+len(payload))
	h[0], h[8], h[9] = 0x45, 64, proto
	binary.BigEndian.PutUint16(h[2:], uint16(20+len(payload)))
	a, b := frame.IP4(src).As4(), frame.IP4(dst).As4()
	copy(h[12:], a[:])
	copy(h[16:], b[:])
	binary.BigEndian.PutUint16(h[10:], checksum(h))
	return frame.Frame{Dst: dst, Src: src, Tags: tags, EtherType: frame.TypeIPv4, Payload: append(h, payload...)}.Bytes()
}

// ip6 returns an IPv6 frame with any payload behind the fixed header.
func ip6(dst, src ovs.MAC, tags []frame.Tag, next uint8, payload []byte) []byte {
	h := make([]byte, 40, 40+len(payload))
	h[0], h[6], h[7] = 0x60, next, 64
	binary.BigEndian.PutUint16(h[4:], uint16(len(payload)))
	a, b := frame.IP6(src).As16(), frame.IP6(dst).As16()
	copy(h[8:], a[:])
	copy(h[24:], b[:])
	return frame.Frame{Dst: dst, Src: src, Tags: tags, EtherType: frame.TypeIPv6, Payload: append(h, payload...)}.Bytes()
}

// pseudo6 is the pseudo-header of IPv6.
func pseudo6(dst, src ovs.MAC, proto uint8, length int) []byte {
	a, b := frame.IP6(src).As16(), frame.IP6(dst).As16()
	p := append(a[:], b[:]...)
	p = binary.BigEndian.AppendUint32(p, uint32(length))
	return append(p, 0, 0, 0, proto)
}

// icmp6 returns an ICMPv6 message with its checksum.
func icmp6(dst, src ovs.MAC, kind uint8, body []byte) []byte {
	m := append([]byte{kind, 0, 0, 0}, body...)
	binary.BigEndian.PutUint16(m[2:], checksum(pseudo6(dst, src, protoICMPv6, len(m)), m))
	return m
}

// icmp4 returns an ICMP message with its checksum.
func icmp4(kind uint8, body []byte) []byte {
	m := append([]byte{kind, 0, 0, 0}, body...)
	binary.BigEndian.PutUint16(m[2:], checksum(m))
	return m
}

// udp6 returns a UDP datagram in IPv6 with its checksum.
func udp6(dst, src ovs.MAC, body []byte) []byte {
	m := binary.BigEndian.AppendUint16([]byte{0x9c, 0x40, 0, 7}, uint16(8+len(body)))
	m = append(append(m, 0, 0), body...)
	binary.BigEndian.PutUint16(m[6:], checksum(pseudo6(dst, src, protoUDP, len(m)), m))
	return m
}

// extension returns an IPv6 extension header of 8 bytes (PadN inside).
func extension(next uint8) []byte { return []byte{next, 0, 1, 4, 0, 0, 0, 0} }
