// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
	"slices"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// IP protocol numbers and IPv6 extension headers.
const (
	protoHopByHop = 0
	protoICMP     = 1
	protoIPIP     = 4
	protoTCP      = 6
	protoUDP      = 17
	protoRouting  = 43
	protoGRE      = 47
	protoESP      = 50
	protoICMPv6   = 58
	protoDstOpts  = 60
	protoSCTP     = 132
)

// raw returns an untagged frame of any EtherType.
func raw(dst, src ovs.MAC, etherType uint16, payload []byte) []byte {
	return frame.Frame{Dst: dst, Src: src, EtherType: etherType, Payload: payload}.Bytes()
}

// ip4 returns an IPv4 packet of any protocol.
func ip4(dst, src ovs.MAC, proto uint8, l4 []byte) []byte {
	h := make([]byte, 20, 20+len(l4))
	h[0], h[8], h[9] = 0x45, 64, proto
	binary.BigEndian.PutUint16(h[2:], uint16(20+len(l4)))
	copy(h[12:], frame.IP4(src).AsSlice())
	copy(h[16:], frame.IP4(dst).AsSlice())
	return raw(dst, src, frame.TypeIPv4, append(h, l4...))
}

// ip6 returns an IPv6 packet of any next header.
func ip6(dst, src ovs.MAC, next uint8, l4 []byte) []byte {
	h := make([]byte, 40, 40+len(l4))
	h[0], h[6], h[7] = 0x60, next, 64
	binary.BigEndian.PutUint16(h[4:], uint16(len(l4)))
	copy(h[8:], frame.IP6(src).AsSlice())
	copy(h[24:], frame.IP6(dst).AsSlice())
	return raw(dst, src, frame.TypeIPv6, append(h, l4...))
}

// icmp6 returns an ICMPv6 packet of a type.
func icmp6(dst, src ovs.MAC, kind uint8) []byte {
	return ip6(dst, src, protoICMPv6, append([]byte{kind}, make([]byte, 23)...))
}

// extended puts an extension header of size bytes in front of the rest of an
// untagged IPv6 frame.
func extended(b []byte, header uint8, size int) []byte {
	ext := make([]byte, size)
	ext[0], ext[1] = b[20], uint8(size/8-1)
	b = slices.Insert(slices.Clone(b), 54, ext...)
	b[20] = header
	binary.BigEndian.PutUint16(b[18:], uint16(len(b)-54))
	return b
}

// changed returns the frame with some bytes replaced.
func changed(b []byte, at int, with ...byte) []byte {
	b = slices.Clone(b)
	copy(b[at:], with)
	return b
}
