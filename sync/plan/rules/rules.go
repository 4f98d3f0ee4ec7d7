// SPDX-License-Identifier: Apache-2.0

// Package rules compiles the OpenFlow rules of a bridge into lists that the lane
// can run: for each frame the first rule that matches says whether OVS treats it
// as a learning switch does (Normal), drops it, or does something that the lane
// does not model (Pass).
//
// The package is pure: no I/O, no clock, and it never panics. Whatever it does
// not understand becomes Pass, with its match widened: a field that is not
// modelled is taken out of it, so that it matches at least what it did, and OVS
// decides about all of that.
package rules

import (
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// Fields holds what a rule can match on, as OVS takes it from a frame before the
// first table (flow_extract in lib/flow.c). Numbers are in host byte order; a
// field that the frame does not have is 0.
type Fields struct {
	// Dst and Src are the Ethernet addresses.
	Dst, Src ovs.MAC
	// EtherType is that behind the outer 802.1Q tag; 0x05ff (FLOW_DL_TYPE_NONE) of
	// an 802.3 frame without SNAP.
	EtherType uint16
	// TCI is that of the outer 802.1Q tag with TagPresent set; 0 when there is
	// none.
	TCI uint16
	// IPSrc and IPDst are IPv6 addresses; of IPv4 the first four bytes count.
	IPSrc, IPDst [16]byte
	// Proto is the IPv4 protocol, or the IPv6 next header behind all extension
	// headers; 44 of a later fragment of IPv6.
	Proto uint8
	// TOS is DSCP << 2 | ECN, TTL also the hop limit.
	TOS, TTL uint8
	// Frag has FragAny of any fragment, and FragLater of one with an offset.
	Frag uint8
	// TPSrc and TPDst are the ports of TCP, UDP and SCTP, or the type and code of
	// ICMP and ICMPv6; 0 of any fragment.
	TPSrc, TPDst uint16
	// TCPFlags has the twelve bits of RFC 793 and RFC 3168, FIN the lowest; those of
	// a first fragment, too.
	TCPFlags uint16
}

// Bits of Fields.
const (
	// TagPresent is VLAN_CFI of OVS's vlan_tci.
	TagPresent uint16 = 0x1000
	// FragAny and FragLater are FLOW_NW_FRAG_ANY and FLOW_NW_FRAG_LATER.
	FragAny   uint8 = 1
	FragLater uint8 = 2
)

// Match selects frames: those whose Fields are Value in the bits of Mask. Value
// has no other bits. The zero Match selects every frame.
type Match struct{ Value, Mask Fields }

// Verdict is what becomes of a frame.
type Verdict uint8

// The verdicts.
const (
	// Pass leaves the frame to OVS.
	Pass Verdict = iota
	// Normal forwards it as a learning switch does.
	Normal
	// Drop drops it.
	Drop
)

// String returns the verdict as status and logs print it.
func (v Verdict) String() string {
	switch v {
	case Normal:
		return "normal"
	case Drop:
		return "drop"
	}
	return "pass"
}

// Rule is one rule of a list.
type Rule struct {
	Match   Match
	Verdict Verdict
	// Order is the rule's place among all rules of the bridge; the lowest that
	// matches decides.
	Order uint32
	// Idle is the shortest idle_timeout of the rules behind it; 0 for none. OVS
	// must see a frame that hits the rule more often than that.
	Idle time.Duration
	// Origins holds the OpenFlow rules that a frame which it matches hits, one a
	// table, as indexes of what was compiled. Where OVS may choose between rules of
	// equal priority that do the same, it is one of them. Of a rule that passes it
	// holds those that are known to be the reason, perhaps none.
	Origins []int
}

// Table is what became of a bridge's rules. A frame from OpenFlow port p to the
// destination d is decided by the lowest Order of what matches it in General,
// ByPort[p] and ByDst[d]; each rule is in one of them, and each list is sorted by
// Order. What no rule matches passes.
type Table struct {
	// General holds rules that name no single port or destination.
	General []Rule
	// ByPort holds those that match one in_port.
	ByPort map[uint32][]Rule
	// ByDst holds those that match one dl_dst and any in_port.
	ByDst map[ovs.MAC][]Rule
}
