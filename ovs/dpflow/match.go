// SPDX-License-Identifier: Apache-2.0

package dpflow

import (
	"strings"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// attribute is one of the match that must be wildcarded: a value, or fields.
type attribute struct {
	reason Reason // of one that is not
	value  syntax
	fields map[string]syntax
}

// split takes an attribute's content apart.
func (a attribute) split(content string) []string {
	if a.value != nil {
		return []string{content}
	}
	return strings.Split(content, ",")
}

var (
	ports = map[string]syntax{"src": number(16), "dst": number(16)}
	types = map[string]syntax{"type": number(8), "code": number(8)}
)

// metadata are the attributes that stand before eth, as ovs_key_attr_to_string in
// lib/odp-util.c names them; headers are those behind eth_type, which with a tag
// are inside of encap.
var (
	metadata = map[string]attribute{
		"skb_priority": {reason: Mark, value: number(32)},
		"skb_mark":     {reason: Mark, value: number(32)},
		"dp_hash":      {reason: DPHash, value: number(32)},
		"ct_state":     {reason: Conntrack, value: number(32)},
		"ct_zone":      {reason: Conntrack, value: number(16)},
		"ct_mark":      {reason: Conntrack, value: number(32)},
		"ct_label":     {reason: Conntrack, value: hex128},
		"ct_tuple4": {reason: Conntrack, fields: map[string]syntax{"src": ip4, "dst": ip4, "proto": number(8),
			"tp_src": number(16), "tp_dst": number(16)}},
		"ct_tuple6": {reason: Conntrack, fields: map[string]syntax{"src": ip6, "dst": ip6, "proto": number(8),
			"src_port": number(16), "dst_port": number(16)}},
	}
	headers = map[string]attribute{
		"ipv4": {reason: L3Match, fields: map[string]syntax{"src": ip4, "dst": ip4, "proto": number(8),
			"tos": number(8), "ttl": number(8)}},
		"ipv6": {reason: L3Match, fields: map[string]syntax{"src": ip6, "dst": ip6, "label": number(20), "proto": number(8),
			"tclass": number(8), "hlimit": number(8)}},
		"tcp":       {reason: L4Match, fields: ports},
		"udp":       {reason: L4Match, fields: ports},
		"sctp":      {reason: L4Match, fields: ports},
		"tcp_flags": {reason: L4Match, value: tcpFlags},
		"icmp":      {reason: L4Match, fields: types},
		"icmpv6":    {reason: L4Match, fields: types},
		// OVS_KEY_ATTR_IPV6_EXTHDRS, which Linux has since 5.18 and OVS has no name for.
		"key32": {reason: L3Match, value: octets(2)},
		"nd":    {reason: L4Match, fields: map[string]syntax{"target": ip6, "sll": mac, "tll": mac}},
	}
)

// never are attributes that no flow of the lane has, whatever their mask.
var never = map[string]Reason{
	"tunnel": Tunnel,
	"nd_ext": L4Match, // printed without the mask of nd_reserved
	"arp":    EtherType,
	"mpls":   EtherType,
	"nsh":    EtherType,
}

// readMatch reads the attributes of a match.
func (r *reading) readMatch(attributes []string) {
	var seen []string
	for _, text := range attributes {
		name, content, ok := cutParens(text)
		if !ok || has(seen, name) {
			r.refuse(UnknownMatch, text)
			return
		}
		seen = append(seen, name)
		a, isMetadata := metadata[name]
		switch {
		case isMetadata:
			r.wildcarded(a, name, a.split(content)...)
		case name == "recirc_id":
			if r.again = content != "0"; r.again {
				r.refuse(Recirculated, text)
			}
		case name == "in_port":
			if r.lane.InPort = content; !PlainName(content) {
				r.refuse(PortName, text)
			}
		case name == "packet_type":
			if content != "ns=0,id=0" {
				r.refuse(PacketType, text)
			}
		case name == "eth":
			r.readEth(text, content)
		case name == "vlan":
			r.readTag(text, content)
		case name == "encap":
			if !r.lane.Tag.Present {
				r.refuse(VLANMatch, text)
			}
			r.readInner(text, content)
		case name == "eth_type" && content == "0x8100":
			// vlan and encap follow.
		default:
			r.readHeader(name, text, content)
		}
	}
	for _, must := range []string{"recirc_id", "in_port", "eth", "eth_type"} {
		if !has(seen, must) {
			r.refuse(UnknownMatch, "no "+must)
		}
	}
	// A tag's TPID is the outer type, and there is nothing behind it but encap.
	if tagged := has(attributes, "eth_type(0x8100)"); tagged != r.lane.Tag.Present || tagged != has(seen, "encap") {
		r.refuse(VLANMatch, "a tag of which a part is missing")
	}
	if r.lane.EtherType == 0 {
		r.refuse(EtherType, "no type of the payload")
	}
	for _, name := range seen {
		if _, isHeader := headers[name]; isHeader && r.lane.Tag.Present {
			r.refuse(UnknownMatch, name+" outside of encap")
		}
	}
}

// readInner reads what is inside of encap.
func (r *reading) readInner(text, content string) {
	attributes, err := split(content)
	if err != nil {
		r.refuse(UnknownMatch, text)
		return
	}
	var seen []string
	for _, text := range attributes {
		name, content, ok := cutParens(text)
		if !ok || has(seen, name) {
			r.refuse(UnknownMatch, text)
			return
		}
		seen = append(seen, name)
		if name == "vlan" || name == "encap" || name == "eth_type" && content == "0x8100" {
			r.refuse(VLANMatch, text)
		}
		r.readHeader(name, text, content)
	}
}

// readHeader reads an attribute behind the addresses and the tag.
func (r *reading) readHeader(name, text, content string) {
	if why, ok := never[name]; ok {
		r.refuse(why, text)
		return
	}
	if name == "eth_type" {
		switch content {
		case "0x0800":
			r.lane.EtherType = IPv4
		case "0x86dd":
			r.lane.EtherType = IPv6
		case "0x88a8":
			r.refuse(VLANMatch, text)
		default:
			r.refuse(EtherType, text)
		}
		return
	}
	a, ok := headers[name]
	six := name == "ipv6" || name == "key32"
	if !ok || r.lane.EtherType == 0 || name == "ipv4" && r.lane.EtherType != IPv4 || six && r.lane.EtherType != IPv6 {
		r.refuse(UnknownMatch, text)
		return
	}
	fields := a.split(content)
	if last := len(fields) - 1; a.reason == L3Match && strings.HasPrefix(fields[last], "frag=") {
		switch fields[last] {
		case "frag=no":
			r.lane.FragNo = true
		case "frag=first", "frag=later":
			r.refuse(Fragments, name+"("+fields[last]+")")
		default:
			r.refuse(UnknownMatch, name+"("+fields[last]+")")
		}
		if fields = fields[:last]; last == 0 {
			return
		}
	}
	r.wildcarded(a, name, fields...)
}

// wildcarded demands that nothing in an attribute counts.
func (r *reading) wildcarded(a attribute, name string, fields ...string) {
	var seen []string
	for _, field := range fields {
		form, value := a.value, field
		if form == nil {
			var key string
			key, value, _ = strings.Cut(field, "=")
			if form = a.fields[key]; form == nil || has(seen, key) {
				r.refuse(UnknownMatch, name+"("+field+")")
				return
			}
			seen = append(seen, key)
		}
		if zero, ok := form.wildcarded(value); !ok {
			r.refuse(UnknownMatch, name+"("+field+")")
		} else if !zero {
			r.refuse(a.reason, name+"("+field+")")
		}
	}
}

// readEth reads "src=52:54:00:00:00:01,dst=52:54:00:00:00:02".
func (r *reading) readEth(text, content string) {
	src, dst, _ := strings.Cut(content, ",")
	for _, side := range []struct {
		prefix, field string
		into          *ovs.MAC
	}{{"src=", src, &r.lane.Src}, {"dst=", dst, &r.lane.Dst}} {
		address, ok := strings.CutPrefix(side.field, side.prefix)
		address, mask, masked := strings.Cut(address, "/")
		_, isMAC := mac(address)
		if masked {
			_, isMask := mac(mask)
			isMAC = isMAC && isMask
		}
		if !ok || !isMAC {
			r.refuse(UnknownMatch, text)
			return
		}
		if masked {
			r.refuse(MaskedMAC, text)
			return
		}
		*side.into, _ = ovs.ParseMAC(address)
		if side.into.IsGroup() {
			r.refuse(GroupMAC, text)
		}
	}
}

// readTag reads "vid=10,pcp=0", each perhaps with a mask as "/0x0". Of a tag
// without its CFI bit OVS prints cfi=0: that is no tag.
func (r *reading) readTag(text, content string) {
	vid, pcp, _ := strings.Cut(content, ",")
	vid, okV := strings.CutPrefix(vid, "vid=")
	pcp, okP := strings.CutPrefix(pcp, "pcp=")
	v, vMask, okV2 := masked(vid, 12)
	p, pMask, okP2 := masked(pcp, 3)
	if !okV || !okP || !okV2 || !okP2 {
		r.refuse(VLANMatch, text)
		return
	}
	r.lane.Tag = TagMatch{Tag: Tag{Present: true, VID: ovs.VLAN(v & vMask), PCP: uint8(p & pMask)},
		VIDMask: ovs.VLAN(vMask), PCPMask: uint8(pMask)}
}
