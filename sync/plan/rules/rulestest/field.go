// SPDX-License-Identifier: Apache-2.0

package rulestest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// Field is a match field of a Rule.
type Field struct {
	// Text is the field as ovs-ofctl prints it.
	Text string
	// Matches tells whether a frame has it; nil when that is not to be told from
	// the frame.
	Matches func(*Frame) bool
	// fit makes a frame have it.
	fit func(*rand.Rand, *Frame)
}

func (g *Generator) fields(known bool) []Field {
	var list []Field
	add := func(n int, f func() Field) {
		if g.odds(n) {
			list = append(list, f())
		}
	}
	if !known {
		add(8, g.unknown)
	}
	add(3, g.inPort)
	add(5, g.vlan)
	add(5, g.dlSrc)
	add(4, g.dlDst)
	switch g.IntN(8) {
	case 0, 1:
		return list
	case 2:
		return append(list, g.otherType(known)...)
	}
	family := pick(g, uint16(ipv4), ipv4, ipv6)
	list = append(list, g.protocol(family)...)
	proto := list[len(list)-1].proto()
	add(4, func() Field { return g.prefix(family, true) })
	add(4, func() Field { return g.prefix(family, false) })
	add(12, g.tos)
	add(14, g.ecn)
	add(14, g.ttl)
	add(6, g.frag)
	if list[len(list)-1].Text == "nw_frag=later" {
		return list // OVS takes no ports beside it
	}
	isICMP := proto == icmp && family == ipv4 || proto == icmp6 && family == ipv6
	switch {
	case proto == tcp, proto == udp, proto == sctp:
		add(4, func() Field { return g.tpPort("tp_src", func(f *Frame) *uint16 { return &f.TPSrc }) })
		add(2, func() Field { return g.tpPort("tp_dst", func(f *Frame) *uint16 { return &f.TPDst }) })
	case isICMP:
		add(2, func() Field { return g.icmp("icmp_type", func(f *Frame) *uint16 { return &f.TPSrc }) })
		add(4, func() Field { return g.icmp("icmp_code", func(f *Frame) *uint16 { return &f.TPDst }) })
	}
	if proto == tcp {
		add(3, g.tcpFlags)
	}
	return list
}

// proto is the protocol that a field sets, 0 for none.
func (f Field) proto() uint8 {
	var frame Frame
	f.fit(rand.New(rand.NewPCG(0, 0)), &frame)
	return frame.Proto
}

func (g *Generator) inPort() Field {
	port := uint32(1 + g.IntN(Ports))
	if g.odds(12) {
		port = ovs.LocalPort
	}
	return Field{"in_port=" + portName(port), func(f *Frame) bool { return f.Port == port },
		func(_ *rand.Rand, f *Frame) { f.Port = port }}
}

func (g *Generator) vlan() Field {
	vid, pcp := g.vid(), uint16(g.IntN(8))
	tci := func(text string, value, mask uint16) Field {
		return Field{text, func(f *Frame) bool { return f.TCI&mask == value },
			func(r *rand.Rand, f *Frame) {
				if value&tagPresent == 0 && mask&tagPresent != 0 {
					f.TCI = 0
				} else {
					f.TCI = value | uint16(r.Uint32())&^mask | tagPresent
				}
			}}
	}
	switch g.IntN(7) {
	case 0:
		return tci("vlan_tci=0x0000/0x1fff", 0, 0x1fff)
	case 1:
		return tci("vlan_tci=0x1000/0x1000", 0x1000, 0x1000)
	case 2:
		return tci(fmt.Sprintf("dl_vlan_pcp=%d", pcp), 0x1000|pcp<<13, 0xf000)
	case 3:
		return tci(fmt.Sprintf("vlan_tci=%#04x/0x100f", 0x1000|vid&0xf), 0x1000|vid&0xf, 0x100f)
	case 4:
		return tci("vlan_tci=0x0000/0x0fff", 0, 0x0fff)
	case 5:
		return tci(fmt.Sprintf("dl_vlan=%d,dl_vlan_pcp=%d", vid, pcp), 0x1000|pcp<<13|vid, 0xffff)
	}
	return tci(fmt.Sprintf("dl_vlan=%d", vid), 0x1000|vid, 0x1fff)
}

func (g *Generator) dlSrc() Field { return g.dl("dl_src", func(f *Frame) *ovs.MAC { return &f.Src }) }
func (g *Generator) dlDst() Field { return g.dl("dl_dst", func(f *Frame) *ovs.MAC { return &f.Dst }) }

func (g *Generator) dl(name string, of func(*Frame) *ovs.MAC) Field {
	m, mask := g.mac(), ovs.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	text := fmt.Sprintf("%s=%s", name, m)
	if g.odds(4) {
		mask = pick(g, ovs.MAC{0xff, 0xff, 0xff}, ovs.MAC{1}, ovs.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
		for i := range m {
			m[i] &= mask[i]
		}
		text = fmt.Sprintf("%s=%s/%s", name, m, mask)
	}
	return Field{text,
		func(f *Frame) bool {
			for i, b := range of(f) {
				if b&mask[i] != m[i] {
					return false
				}
			}
			return true
		},
		func(_ *rand.Rand, f *Frame) {
			for i := range m {
				of(f)[i] = m[i] | of(f)[i]&^mask[i]
			}
		}}
}

// etherType returns a field that is one, whatever it is called.
func etherType(text string, n uint16) Field {
	return Field{text, func(f *Frame) bool { return f.EtherType == n }, func(_ *rand.Rand, f *Frame) { f.EtherType = n }}
}

func (g *Generator) otherType(known bool) []Field {
	if known || g.odds(2) {
		return []Field{pick(g, etherType("arp", arp), etherType("dl_type=0x88cc", lldp))}
	}
	return []Field{etherType("arp", arp), {Text: pick(g, "arp_op=1", "arp_spa=10.0.0.1", "arp_sha=02:00:00:00:00:01")}}
}

// protocol returns the fields that select IP, and perhaps what it carries; the
// last sets both.
func (g *Generator) protocol(family uint16) []Field {
	names := map[uint16]map[uint8]string{
		ipv4: {0: "ip", tcp: "tcp", udp: "udp", sctp: "sctp", icmp: "icmp"},
		ipv6: {0: "ipv6", tcp: "tcp6", udp: "udp6", sctp: "sctp6", icmp6: "icmp6"},
	}[family]
	proto := pick(g, uint8(0), 0, tcp, tcp, tcp, udp, udp, sctp, icmp, icmp6, igmp, gre, ipv6Fragment)
	sets := func(text string) Field {
		return Field{text, func(f *Frame) bool { return f.EtherType == family && (proto == 0 || f.Proto == proto) },
			func(_ *rand.Rand, f *Frame) {
				f.EtherType = family
				if proto != 0 {
					f.Proto = proto
				}
			}}
	}
	if name, ok := names[proto]; ok {
		return []Field{sets(name)}
	}
	return []Field{etherType(names[0], family), sets(fmt.Sprintf("nw_proto=%d", proto))}
}

func (g *Generator) prefix(family uint16, src bool) Field {
	name, of := "dst", func(f *Frame) *[16]byte { return &f.IPDst }
	if src {
		name, of = "src", func(f *Frame) *[16]byte { return &f.IPSrc }
	}
	addr, length := netip.AddrFrom16(g.addr6()), pick(g, 128, 128, 127, 126, 20, 8, 1)
	text := "ipv6_" + name
	if family == ipv4 {
		a := g.addr4()
		addr, length = netip.AddrFrom4([4]byte(a[:4])), pick(g, 32, 32, 32, 31, 30, 24, 16, 9, 1)
		text = "nw_" + name
		if g.odds(6) { // a mask that is no prefix
			low := a[3] & 1
			return Field{fmt.Sprintf("%s=10.0.0.%d/255.0.0.1", text, low),
				func(f *Frame) bool { return of(f)[0] == 10 && of(f)[3]&1 == low },
				func(_ *rand.Rand, f *Frame) { of(f)[0], of(f)[3] = 10, of(f)[3]&^1|low }}
		}
	}
	p := netip.PrefixFrom(addr, length).Masked()
	text += "=" + p.Addr().String()
	if !p.IsSingleIP() {
		text += fmt.Sprintf("/%d", length)
	}
	return Field{text,
		func(f *Frame) bool { return p.Contains(f.addr(*of(f))) },
		func(r *rand.Rand, f *Frame) {
			copy(of(f)[:], addr.AsSlice())
			if length < addr.BitLen() {
				of(f)[addr.BitLen()/8-1] ^= byte(r.IntN(2)) // inside
			}
		}}
}

func (g *Generator) tos() Field {
	n := pick(g, uint8(0), 0xb8)
	return Field{fmt.Sprintf("nw_tos=%d", n), func(f *Frame) bool { return f.TOS&dscp == n },
		func(_ *rand.Rand, f *Frame) { f.TOS = n | f.TOS&ecn }}
}

func (g *Generator) ecn() Field {
	n := pick(g, uint8(0), 3)
	return Field{fmt.Sprintf("nw_ecn=%d", n), func(f *Frame) bool { return f.TOS&ecn == n },
		func(_ *rand.Rand, f *Frame) { f.TOS = n | f.TOS&dscp }}
}

func (g *Generator) ttl() Field {
	n := pick(g, uint8(1), 64)
	return Field{fmt.Sprintf("nw_ttl=%d", n), func(f *Frame) bool { return f.TTL == n },
		func(_ *rand.Rand, f *Frame) { f.TTL = n }}
}

func (g *Generator) frag() Field {
	type form struct {
		text string
		of   []uint8
	}
	c := pick(g, form{"no", []uint8{0}}, form{"yes", []uint8{anyFragment, laterFragment}}, form{"first", []uint8{anyFragment}},
		form{"later", []uint8{laterFragment}}, form{"not_later", []uint8{0, anyFragment}})
	return Field{"nw_frag=" + c.text,
		func(f *Frame) bool {
			for _, n := range c.of {
				if f.Frag == n {
					return true
				}
			}
			return false
		},
		func(r *rand.Rand, f *Frame) { f.Frag = c.of[r.IntN(len(c.of))] }}
}

func (g *Generator) tpPort(name string, of func(*Frame) *uint16) Field {
	n, mask := g.port(), uint16(0xffff)
	text := fmt.Sprintf("%s=%d", name, n)
	if g.odds(3) {
		mask = pick(g, uint16(0xfffe), 0xf000, 0xff00, 1)
		n &= mask
		text = fmt.Sprintf("%s=%#x/%#x", name, n, mask)
	}
	return Field{text, func(f *Frame) bool { return *of(f)&mask == n },
		func(_ *rand.Rand, f *Frame) { *of(f) = n | *of(f)&^mask }}
}

func (g *Generator) icmp(name string, of func(*Frame) *uint16) Field {
	n := pick(g, uint16(0), 3, 8, 128, 135)
	return Field{fmt.Sprintf("%s=%d", name, n), func(f *Frame) bool { return *of(f) == n },
		func(_ *rand.Rand, f *Frame) { *of(f) = n }}
}

func (g *Generator) tcpFlags() Field {
	type form struct {
		text        string
		value, mask uint16
	}
	c := pick(g, form{"+syn-ack", 2, 0x12}, form{"syn", 2, 0xfff}, form{"syn|ack", 0x12, 0xfff}, form{"0", 0, 0xfff},
		form{"+rst", 4, 4}, form{"-syn", 0, 2}, form{"+cwr+ns", 0x180, 0x180}, form{"-[200]+[800]", 0x800, 0xa00})
	return Field{"tcp_flags=" + c.text, func(f *Frame) bool { return f.TCPFlags&c.mask == c.value },
		func(_ *rand.Rand, f *Frame) { f.TCPFlags = c.value | f.TCPFlags&^c.mask }}
}

// unknown returns a field that no compiler of stateless rules knows.
func (g *Generator) unknown() Field {
	return Field{Text: pick(g, "ct_state=+trk", "ct_state=-trk", "reg0=0", "reg0=0x1", "reg1=0x1/0x3", "metadata=0x5", "pkt_mark=0x1", "tun_id=0x5", "ct_mark=0x1")}
}
