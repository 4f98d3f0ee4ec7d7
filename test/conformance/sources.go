// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"net/netip"
	"strings"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// police gives a port addresses that it may use and a limit of rate.
func (g *generator) police(p *Port) {
	if g.chance(6) {
		p.PolicingRate = 8_000_000 // kbit/s
	}
	if g.chance(4) {
		p.PolicingPackets = 1000
	}
	// Towards the station of an attached-mac the lane knows more than OVS, and
	// does otherwise by intention: nobody sends to this one, and nobody is it.
	if g.chance(6) {
		p.AttachedMAC = ovs.MAC{0x52, 0x54, declared, 0, 0, byte(g.IntN(256))}.String()
	}
	if g.chance(12) {
		all := []string{
			"10.0.0.0/8", "10.0.0.0/29", "10.0.0.1", "10.0.0.2", "10.0.0.4", "192.0.2.0/24", "fd00::/8", "fd00::5254:0:1", "fd00::5254:0:2", "2001:db8::/64", "fe80::1",
		}
		p.Addresses = pick(g, all)
		for g.chance(60) {
			p.Addresses += pick(g, []string{",", " "}) + pick(g, all)
		}
		if g.chance(30) {
			p.Validate = "pass"
		}
	}
}

// declared is in the third place of addresses that are an attached-mac.
const declared = 0xff

func isDeclared(mac ovs.MAC) bool { return mac[2] == declared }

// vouches tells whether the port may use the source of a plain frame.
func (p *Port) vouches(f *Frame) bool {
	if p.AttachedMAC != "" {
		return false
	}
	if p.Addresses == "" {
		return true
	}
	parsed, err := frame.Parse(f.Data)
	if err != nil {
		return false
	}
	var src netip.Addr
	switch ip := parsed.Payload; {
	case parsed.EtherType == frame.TypeIPv4 && len(ip) >= 20:
		src, _ = netip.AddrFromSlice(ip[12:16])
	case parsed.EtherType == frame.TypeIPv6 && len(ip) >= 40:
		src, _ = netip.AddrFromSlice(ip[8:24])
	}
	for _, word := range strings.FieldsFunc(p.Addresses, func(r rune) bool { return r == ',' || r == ' ' }) {
		if prefix, err := netip.ParsePrefix(word); err == nil && prefix.Contains(src) {
			return true
		}
		if a, err := netip.ParseAddr(word); err == nil && a == src {
			return true
		}
	}
	return false
}
