// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// What rules match on and what frames carry is drawn from the same few values,
// so that they meet often.

// l4Ports has both ends of ranges that masks make. None is a tunnel's.
var l4Ports = []uint16{0, 22, 80, 81, 443, 65535}

// protocols has all that the kernel's or OVS's parser has code for, and others.
var protocols = []uint8{0, protoICMP, protoIGMP, 4, protoTCP, protoUDP, 41, protoRouting, protoFragment, protoGRE, 50, protoAH,
	protoICMPv6, 59, protoDstOpts, 89, protoSCTP, 135, 136, 255}

var (
	trafficClasses = []uint8{0, 0, 0, 1, 3, 0x10, 0xb8, 0xff}
	hopLimits      = []uint8{64, 64, 64, 255, 1, 0}
	icmpTypes      = []uint8{0, 3, 8, 11}
	icmp6Types     = []uint8{1, 128, 129, 143}
	tcpFlagWords   = []uint16{0x002, 0x012, 0x010, 0x018, 0x011, 0x004, 0x000, 0x0c2, 0x152, 0xfff}
)

// port is an L4 port.
func (g *generator) port16() uint16 {
	if g.chance(85) {
		return pick(g, l4Ports)
	}
	return uint16(1000 + g.IntN(3000))
}

// mac is an address that a station may have.
func (g *generator) mac() ovs.MAC {
	return ovs.MAC{0x52, 0x54, 0, 0, 0, byte(1 + g.IntN(3*len(g.cfg.Ports)))}
}

// address is that of a station, as package frame makes it, or another.
func (g *generator) address(mac ovs.MAC, v6 bool) netip.Addr {
	own := frame.IP4(mac)
	if v6 {
		own = frame.IP6(mac)
	}
	if g.chance(70) {
		return own
	}
	if v6 {
		return pick(g, []netip.Addr{
			frame.IP6(g.mac()), netip.IPv6Unspecified(), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8:0:1::ffff"), netip.MustParseAddr("fe80::1"),
		})
	}
	return pick(g, []netip.Addr{
		frame.IP4(g.mac()), netip.IPv4Unspecified(), netip.AddrFrom4([4]byte{192, 0, 2, byte(g.IntN(256))}), netip.AddrFrom4([4]byte{10, 1, 0, 1}),
	})
}

// prefix is an address as a rule has it: whole, with a prefix length, or with any
// mask.
func (g *generator) prefix(v6 bool) string {
	a := g.address(g.mac(), v6)
	if !v6 {
		switch g.IntN(4) {
		case 0:
			return a.String()
		case 1:
			return a.String() + "/" + pick(g, []string{"255.255.0.3", "0.0.0.1", "255.0.255.255", "128.0.0.1"})
		}
		return fmt.Sprintf("%s/%d", a, pick(g, []int{1, 8, 16, 24, 28, 30, 31}))
	}
	switch g.IntN(4) {
	case 0:
		return a.String()
	case 1:
		return a.String() + "/" + pick(g, []string{"::3", "ffff::ffff", "::ffff:0:0:1", "f000::1"})
	}
	return fmt.Sprintf("%s/%d", a, pick(g, []int{1, 7, 8, 32, 64, 96, 120, 126, 127}))
}

// word16 is a value of 16 bits as a rule has it.
func (g *generator) word16(n uint16) string {
	if g.chance(60) {
		return fmt.Sprint(n)
	}
	mask := pick(g, []uint16{0xfff0, 0xff00, 0xfffe, 0x8000, 0x0001, 0xffff, 0x5555})
	return fmt.Sprintf("0x%x/0x%x", n&mask, mask)
}

// macMatch is an address as a rule has it.
func (g *generator) macMatch() string {
	return pick(g, []func() string{
		func() string { return g.mac().String() },
		func() string { return g.mac().String() },
		func() string { return g.mac().String() + "/ff:ff:ff:ff:ff:fc" },
		func() string { return g.mac().String() + "/00:00:00:00:00:01" },
		func() string { return "52:54:00:00:00:00/ff:ff:ff:00:00:00" },
	})()
}

// field gives a random one of some texts, each made when it is chosen.
func (g *generator) field(of ...func() string) string { return pick(g, of)() }

// join joins what is not empty.
func join(fields ...string) string {
	var some []string
	for _, f := range fields {
		if f != "" {
			some = append(some, f)
		}
	}
	return strings.Join(some, ",")
}
