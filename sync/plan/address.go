// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/sync/plan/rules"
)

// Keys in Interface external_ids that say which addresses a VM may use, beside
// KeyAttachedMAC.
const (
	// KeyAddresses lists IP addresses and prefixes, separated by commas or blanks.
	KeyAddresses = "xdp-addresses"
	// KeyValidate says what becomes of frames with another source: "pass", the
	// default, leaves them to OVS, "drop" drops them.
	KeyValidate = "xdp-validate"
)

// validation is what the keys of a port say of its source addresses.
type validation struct {
	mac      ovs.MAC // zero: any
	prefixes []netip.Prefix
	// listed tells that KeyAddresses is set: no other IP address may be used.
	listed bool
	drop   bool
}

// readValidation reads the keys of a port with one interface, or says which can't
// be read.
func readValidation(p *ovs.Port) (v validation, bad string) {
	if len(p.Interfaces) != 1 {
		return validation{}, ""
	}
	ids := p.Interfaces[0].ExternalIDs
	if mac, ok := attachedMAC(p); ok {
		v.mac = mac
	}
	switch how := ids[KeyValidate]; how {
	case "", "pass":
	case "drop":
		v.drop = true
	default:
		return v, fmt.Sprintf("Interface external_ids:%s=%q: want pass or drop", KeyValidate, how)
	}
	if text, ok := ids[KeyAttachedMAC]; ok && v.drop && v.mac.IsZero() && p.Interfaces[0].OFPort > 0 {
		return v, fmt.Sprintf("Interface external_ids:%s=%q is no address of a machine, and %s is drop", KeyAttachedMAC, text, KeyValidate)
	}
	text, ok := ids[KeyAddresses]
	if !ok {
		return v, ""
	}
	v.listed = true
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' }) {
		prefix, err := netip.ParsePrefix(word)
		if err != nil {
			var addr netip.Addr
			if addr, err = netip.ParseAddr(word); err == nil {
				prefix, err = addr.Prefix(addr.BitLen())
			}
		}
		if err != nil || prefix.Addr().Is4In6() || strings.Contains(word, "%") { // a prefix has no zone
			return v, fmt.Sprintf("Interface external_ids:%s: %q is neither an IP address nor a prefix", KeyAddresses, word)
		}
		v.prefixes = append(v.prefixes, prefix.Masked())
	}
	if len(v.prefixes) == 0 {
		return v, fmt.Sprintf("Interface external_ids:%s=%q: want IP addresses or prefixes", KeyAddresses, text)
	}
	if n := len(v.rules()); n > DefaultRulesPerList {
		return v, fmt.Sprintf("Interface external_ids:%s has %d addresses: too many", KeyAddresses, len(v.prefixes))
	}
	return v, ""
}

// EtherTypes.
const (
	typeIPv4 = 0x0800
	typeARP  = 0x0806
	typeIPv6 = 0x86dd
	// typeUnread is that of a frame whose addresses the program can't read: cut
	// off, or behind two tags.
	typeUnread = 0
)

// rules makes the list; nil when there is nothing to check, or the attached-mac
// alone, and frames with another one pass (Rule.MAC).
func (v validation) rules() []ListRule {
	if !v.listed && (!v.drop || v.mac.IsZero()) {
		return nil
	}
	var list []ListRule
	add := func(verdict rules.Verdict, set func(m *rules.Match)) {
		r := ListRule{Verdict: verdict, Order: uint32(len(list))}
		if !v.mac.IsZero() {
			r.Value.Src, r.Mask.Src = v.mac, ovs.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
		}
		set(&r.Match)
		list = append(list, r)
	}
	of := func(verdict rules.Verdict, etherType uint16, p netip.Prefix) {
		add(verdict, func(m *rules.Match) {
			m.Value.EtherType, m.Mask.EtherType = etherType, 0xffff
			copy(m.Value.IPSrc[:], p.Addr().AsSlice())
			for n := range p.Bits() {
				m.Mask.IPSrc[n/8] |= 0x80 >> (n % 8)
			}
		})
	}
	other := rules.Pass
	if v.drop {
		other = rules.Drop
	}
	if v.listed {
		for _, p := range v.prefixes {
			if p.Addr().Is4() {
				of(rules.Normal, typeIPv4, p)
				of(rules.Normal, typeARP, p)
			} else {
				of(rules.Normal, typeIPv6, p)
			}
		}
		if !v.mac.IsZero() {
			of(rules.Normal, typeIPv6, netip.PrefixFrom(linkLocal(v.mac), 128))
		}
		// Who has no address yet: DHCP, probes of ARP (RFC 5227), duplicate
		// address detection (RFC 4862).
		of(rules.Pass, typeIPv4, netip.PrefixFrom(netip.IPv4Unspecified(), 32))
		of(rules.Pass, typeARP, netip.PrefixFrom(netip.IPv4Unspecified(), 32))
		of(rules.Pass, typeIPv6, netip.PrefixFrom(netip.IPv6Unspecified(), 128))
		// Others carry no address of IP; a RARP is a VM that has moved here.
		for _, etherType := range []uint16{typeIPv4, typeARP, typeIPv6, typeUnread} {
			of(other, etherType, netip.Prefix{})
		}
	}
	add(rules.Normal, func(*rules.Match) {})
	return append(list, ListRule{Verdict: other, Order: uint32(len(list))})
}

// linkLocal is the address that a machine makes of its MAC address (RFC 4291,
// appendix A).
func linkLocal(m ovs.MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]})
}

// validate gives the rule of a port its list of addresses.
func (b *builder) validate(bridge string, v validation, iface *ovs.Interface, rule *Rule) {
	if !rule.Watch {
		return
	}
	rule.MAC = v.mac
	if list := v.rules(); list != nil {
		rule.Addresses = ListKey{Kind: Addresses, Bridge: bridge, Port: uint32(iface.OFPort)}
		l := newList(rule.Addresses, list)
		b.Tables.Lists = append(b.Tables.Lists, l)
		rule.Lists += l.Digest
	}
}
