// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"slices"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// readMatch reads what a rule matches. When that is not exact, the rule has a
// part that is not modelled, and the pattern matches more than it.
func readMatch(r *ovs.Rule) (p pattern, exact bool) {
	known := func(m ovs.Match) bool {
		return slices.ContainsFunc(layers[:], func(layer map[string]field) bool { return layer[m.Field].read != nil })
	}
	exact = len(r.Unknown) == 0
	for _, m := range r.Match {
		exact = exact && known(m)
	}
	// A field depends on those of the layer below, which may come behind it.
	for _, layer := range layers {
		for _, m := range r.Match {
			if f := layer[m.Field]; f.read != nil && !f.add(&p, m.Value) {
				exact = false
			}
		}
	}
	return p, exact
}

// field is a match field, as match_format in lib/match.c of OVS prints it.
type field struct {
	// read understands its value; ok is false when it does not.
	read func(text string) (part pattern, ok bool)
	// needs tells what a pattern must have for the field to mean anything; nil
	// when that is nothing.
	needs func(p *pattern) bool
}

// add adds the field to p. It reports false, and leaves p as it is, when it does
// not understand the value, when p lacks what the field needs, or when nothing
// could match any more.
func (f field) add(p *pattern, text string) bool {
	part, ok := f.read(text)
	if !ok || f.needs != nil && !f.needs(p) || !p.meets(&part) {
		return false
	}
	*p = p.and(&part)
	return true
}

// EtherTypes and protocols (IANA).
const (
	etherIPv4  = 0x0800
	etherARP   = 0x0806
	etherRARP  = 0x8035
	etherIPv6  = 0x86dd
	etherMPLS  = 0x8847
	etherMPLSM = 0x8848

	protoICMP   = 1
	protoIGMP   = 2
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
	protoSCTP   = 132
)

// layers are the fields that are modelled: of the frame, of IP, and of what IP
// carries. Those of ARP, MPLS and neighbour discovery are not, nor is anything
// that a frame does not carry: registers, connections, tunnels.
var layers = [...]map[string]field{
	{
		"in_port":     {read: readPort},
		"dl_src":      {read: macs(func(f *Fields) *ovs.MAC { return &f.Src })},
		"dl_dst":      {read: macs(func(f *Fields) *ovs.MAC { return &f.Dst })},
		"dl_vlan":     {read: readVLAN},
		"dl_vlan_pcp": {read: readPCP},
		"vlan_tci":    {read: masked(16, func(f *Fields, n uint16) { f.TCI = n })},
		"dl_type":     {read: exact(16, func(f *Fields, n uint16) { f.EtherType = n })},
		"packet_type": {read: only("(0,0)", Match{})}, // Ethernet
		"eth":         {read: only("", Match{})},
		"ip":          {read: protocol(etherIPv4, 0)},
		"icmp":        {read: protocol(etherIPv4, protoICMP)},
		"igmp":        {read: protocol(etherIPv4, protoIGMP)},
		"tcp":         {read: protocol(etherIPv4, protoTCP)},
		"udp":         {read: protocol(etherIPv4, protoUDP)},
		"sctp":        {read: protocol(etherIPv4, protoSCTP)},
		"ipv6":        {read: protocol(etherIPv6, 0)},
		"icmp6":       {read: protocol(etherIPv6, protoICMPv6)},
		"tcp6":        {read: protocol(etherIPv6, protoTCP)},
		"udp6":        {read: protocol(etherIPv6, protoUDP)},
		"sctp6":       {read: protocol(etherIPv6, protoSCTP)},
		"arp":         {read: protocol(etherARP, 0)},
		"rarp":        {read: protocol(etherRARP, 0)},
		"mpls":        {read: protocol(etherMPLS, 0)},
		"mplsm":       {read: protocol(etherMPLSM, 0)},
	}, {
		"nw_src":   {read: prefixes4(func(f *Fields) *[16]byte { return &f.IPSrc }), needs: isIPv4},
		"nw_dst":   {read: prefixes4(func(f *Fields) *[16]byte { return &f.IPDst }), needs: isIPv4},
		"ipv6_src": {read: prefixes6(func(f *Fields) *[16]byte { return &f.IPSrc }), needs: isIPv6},
		"ipv6_dst": {read: prefixes6(func(f *Fields) *[16]byte { return &f.IPDst }), needs: isIPv6},
		"nw_proto": {read: exact(8, func(f *Fields, n uint16) { f.Proto = uint8(n) }), needs: isIP},
		"nw_tos":   {read: readDSCP, needs: isIP},
		"nw_ecn":   {read: exact(2, func(f *Fields, n uint16) { f.TOS = uint8(n) }), needs: isIP},
		"nw_ttl":   {read: exact(8, func(f *Fields, n uint16) { f.TTL = uint8(n) }), needs: isIP},
		"nw_frag":  {read: readFrag, needs: isIP},
		"ip_frag":  {read: readFrag, needs: isIP},
	}, {
		"tp_src":    {read: masked(16, func(f *Fields, n uint16) { f.TPSrc = n }), needs: hasPorts},
		"tp_dst":    {read: masked(16, func(f *Fields, n uint16) { f.TPDst = n }), needs: hasPorts},
		"icmp_type": {read: readICMP(func(f *Fields) *uint16 { return &f.TPSrc }), needs: isICMP},
		"icmp_code": {read: readICMP(func(f *Fields) *uint16 { return &f.TPDst }), needs: isICMP},
		"tcp_flags": {read: readTCPFlags, needs: isTCP},
	},
}

// fixes tells whether p matches these alone.
func (p *pattern) fixes(value, mask Fields) bool {
	q := newPattern(value, mask)
	return p.meets(&q) && p.and(&q) == *p
}

func (p *pattern) isEtherType(n uint16) bool {
	return p.fixes(Fields{EtherType: n}, Fields{EtherType: 0xffff})
}

func (p *pattern) isProto(n uint8) bool { return p.fixes(Fields{Proto: n}, Fields{Proto: 0xff}) }

func isIPv4(p *pattern) bool { return p.isEtherType(etherIPv4) }
func isIPv6(p *pattern) bool { return p.isEtherType(etherIPv6) }
func isIP(p *pattern) bool   { return isIPv4(p) || isIPv6(p) }
func isTCP(p *pattern) bool  { return isIP(p) && p.isProto(protoTCP) }

func hasPorts(p *pattern) bool {
	return isIP(p) && (p.isProto(protoTCP) || p.isProto(protoUDP) || p.isProto(protoSCTP))
}

func isICMP(p *pattern) bool {
	return isIPv4(p) && p.isProto(protoICMP) || isIPv6(p) && p.isProto(protoICMPv6)
}
