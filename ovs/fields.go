// SPDX-License-Identifier: Apache-2.0

package ovs

// Fields holds what an OpenFlow rule can match on, as OVS takes it from a frame
// before the first table (flow_extract in lib/flow.c). Numbers are in host byte
// order; a field that the frame does not have is 0.
type Fields struct {
	// Dst and Src are the Ethernet addresses.
	Dst, Src MAC
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
