// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// More IP protocols and extension headers.
const (
	protoIGMP     = 2
	protoFragment = 44
	protoAH       = 51
	protoNone     = 59
)

// reading is what one datapath takes from a frame; ok tells that it did not give
// up on the way.
type reading struct {
	ovs.Fields
	ok bool
}

// datapath tells how datapaths differ in what they make of IP. In all of them the
// ports of a fragment are hidden from OpenFlow rules (rule_dpif_lookup_from_table
// in ofproto/ofproto-dpif.c, get-frags=normal).
type datapath struct {
	// byLength tells that a packet ends where its header says, and is given up
	// when that can't be: lib/flow.c of OVS does, the kernel's flow.c does not look.
	byLength bool
	// tcpLength tells that a TCP header whose own length is wrong is not read.
	tcpLength bool
	// nextOfLater tells that a later fragment of IPv6 is given up when an extension
	// header is next.
	nextOfLater bool
}

// datapaths are those of userspace, up to OVS 2.17 and later, and the kernel's.
var datapaths = []datapath{{byLength: true}, {byLength: true, tcpLength: true}, {tcpLength: true, nextOfLater: true}}

// referenceKey is what all datapaths take from a frame. sure tells that they
// agree, and that it is nothing that the lane leaves out on purpose.
func referenceKey(b []byte) (key ovs.Fields, sure bool) {
	f := ovs.Fields{Dst: ovs.MAC(b[0:6]), Src: ovs.MAC(b[6:12]), EtherType: word(b, 12)}
	l3 := b[14:]
	if f.EtherType == frame.TypeVLAN || f.EtherType == frame.TypeQinQ {
		if len(l3) < 4 {
			return f, false
		}
		tci := word(l3, 0)
		if f.EtherType == frame.TypeQinQ || tci&0xfff == 0 || tci&0x1000 != 0 {
			return f, false
		}
		f.TCI, f.EtherType, l3 = tci|ovs.TagPresent, word(l3, 2), l3[4:]
	}
	switch f.EtherType {
	case frame.TypeVLAN, frame.TypeQinQ:
		return f, false
	case frame.TypeIPv4, frame.TypeIPv6:
		first := datapaths[0].read(f, l3)
		sure := first.ok
		for _, d := range datapaths[1:] {
			sure = sure && d.read(f, l3) == first
		}
		return first.Fields, sure && !leftOut(f.EtherType, l3)
	case frame.TypeARP, 0x8035:
		if len(l3) < 28 || word(l3, 0) != 1 || word(l3, 2) != frame.TypeIPv4 || l3[4] != 6 || l3[5] != 4 {
			return f, false
		}
		copy(f.IPSrc[:], l3[14:18])
	}
	return f, f.EtherType >= 0x600
}

func word(b []byte, at int) uint16 { return binary.BigEndian.Uint16(b[at:]) }

func (d datapath) read(f ovs.Fields, ip []byte) reading {
	if f.EtherType == frame.TypeIPv6 {
		return d.read6(f, ip)
	}
	if len(ip) < 20 || int(ip[0]&15)*4 < 20 || len(ip) < int(ip[0]&15)*4 {
		return reading{f, false}
	}
	header, total := int(ip[0]&15)*4, int(word(ip, 2))
	if d.byLength {
		if total > len(ip) || total < header || len(ip)-total > 255 {
			return reading{f, false}
		}
		ip = ip[:total]
	}
	copy(f.IPSrc[:], ip[12:16])
	copy(f.IPDst[:], ip[16:20])
	f.TOS, f.TTL, f.Proto = ip[1], ip[8], ip[9]
	if word(ip, 6)&0x3fff != 0 {
		f.Frag = ovs.FragAny
	}
	if word(ip, 6)&0x1fff != 0 {
		f.Frag |= ovs.FragLater
	}
	return d.read4(f, ip[header:])
}

func (d datapath) read6(f ovs.Fields, ip []byte) reading {
	if len(ip) < 40 {
		return reading{f, false}
	}
	rest := ip[40:]
	if d.byLength {
		n := int(word(ip, 4))
		if n > len(rest) || len(rest)-n > 255 {
			return reading{f, false}
		}
		rest = rest[:n]
	}
	copy(f.IPSrc[:], ip[8:24])
	copy(f.IPDst[:], ip[24:40])
	f.TOS, f.TTL, f.Proto = uint8(word(ip, 0)>>4), ip[7], ip[6]
	for isExtension(f.Proto) {
		if len(rest) < 8 {
			return reading{f, false}
		}
		next, size := rest[0], 8*(int(rest[1])+1)
		switch f.Proto {
		case protoAH:
			size = 4 * (int(rest[1]) + 2)
		case protoFragment:
			size = 8
			if offset := word(rest, 2); offset != 0 {
				f.Frag = ovs.FragAny
				if offset&0xfff8 != 0 {
					f.Frag |= ovs.FragLater
					return reading{f, !d.nextOfLater || !isExtension(next)}
				}
			}
		}
		if len(rest) < size {
			return reading{f, false}
		}
		f.Proto, rest = next, rest[size:]
	}
	return d.read4(f, rest)
}

func isExtension(proto uint8) bool {
	switch proto {
	case protoHopByHop, protoRouting, protoFragment, protoAH, protoDstOpts:
		return true
	}
	return false
}

// read4 reads the L4 header.
func (d datapath) read4(f ovs.Fields, l4 []byte) reading {
	if f.Frag != 0 {
		return reading{f, true}
	}
	need := map[uint8]int{protoTCP: 20, protoUDP: 8, protoSCTP: 12, protoICMP: 8, protoICMPv6: 8}[f.Proto]
	if len(l4) < need {
		return reading{f, false}
	}
	switch f.Proto {
	case protoTCP:
		if n := int(l4[12]>>4) * 4; d.tcpLength && (n < 20 || n > len(l4)) {
			return reading{f, false}
		}
		f.TCPFlags = word(l4, 12) & 0xfff
		fallthrough
	case protoUDP, protoSCTP:
		f.TPSrc, f.TPDst = word(l4, 0), word(l4, 2)
	case protoICMP, protoICMPv6:
		f.TPSrc, f.TPDst = uint16(l4[0]), uint16(l4[1])
	}
	return reading{f, true}
}

// leftOut tells what the lane does not read although those datapaths agree: versions that contradict the EtherType, TCP flags of a
// first fragment, protocols of the other IP, IGMP, packets that seem to be empty,
// the authentication header, fragments of one piece, and long chains of headers.
func leftOut(etherType uint16, ip []byte) bool {
	if etherType == frame.TypeIPv4 {
		if ip[0]>>4 != 4 {
			return true
		}
		first := word(ip, 6)&0x3fff != 0 && word(ip, 6)&0x1fff == 0
		switch ip[9] {
		case protoIGMP, protoICMPv6:
			return word(ip, 6)&0x3fff == 0
		case protoTCP:
			return first
		}
		return false
	}
	if ip[0]>>4 != 6 || word(ip, 4) == 0 {
		return true
	}
	proto, at, headers := ip[6], 40, 0
	for ; isExtension(proto); headers++ {
		if proto == protoAH || headers == 6 || at > 40+1024 || len(ip) < at+8 {
			return true
		}
		next := ip[at]
		if proto == protoFragment {
			if offset := word(ip, at+2); offset&0xfff8 != 0 {
				return false
			} else if offset&1 == 0 {
				return true
			}
			return next != protoUDP && next != protoICMPv6
		}
		proto, at = next, at+8*(int(ip[at+1])+1)
	}
	return at > 40+1024 || proto == protoIGMP || proto == protoICMP
}
