// SPDX-License-Identifier: Apache-2.0

package rulestest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/sync/plan/rules"
)

// EtherTypes and protocols (IANA) that frames have.
const (
	ipv4, arp, ipv6, lldp            = 0x0800, 0x0806, 0x86dd, 0x88cc
	icmp, igmp, tcp, udp, gre        = 1, 2, 6, 17, 47
	ipv6Fragment, icmp6, sctp        = 44, 58, 132
	tagPresent                       = 0x1000
	anyFragment, laterFragment       = 1, 3 // values of Fields.Frag
	Ports                            = 4
	dscp, ecn                  uint8 = 0xfc, 0x03
)

// Frame is a frame that comes from an OpenFlow port.
type Frame struct {
	Port uint32
	rules.Fields
	// HiddenSrc and HiddenDst are the ports in the first fragment of a datagram,
	// which OVS does not let rules see.
	HiddenSrc, HiddenDst uint16
}

// Frame returns a random frame; one that matches a rule of the table, or nearly,
// most of the time.
func (g *Generator) Frame(table []Rule) Frame {
	f := g.anyFrame()
	for range g.IntN(3) {
		if len(table) == 0 {
			break
		}
		fitted := f
		for _, field := range table[g.IntN(len(table))].Fields {
			if field.fit != nil && !g.odds(25) {
				field.fit(g.Rand, &fitted)
			}
		}
		f = fitted
	}
	return g.consistent(f)
}

func (g *Generator) anyFrame() Frame {
	var f Frame
	f.Port = uint32(1 + g.IntN(Ports))
	if g.odds(10) {
		f.Port = ovs.LocalPort
	}
	f.Dst, f.Src = g.mac(), g.mac()
	if g.odds(6) {
		f.Dst = pick(g, ovs.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, ovs.MAC{1, 0, 0x5e, 0, 0, 1}, ovs.MAC{1, 0x80, 0xc2, 0, 0, 0x0e})
	}
	if g.odds(3) {
		f.TCI = uint16(g.IntN(8))<<13 | tagPresent | g.vid()
	}
	f.EtherType = pick(g, uint16(ipv4), ipv4, ipv4, ipv6, ipv6, arp, lldp)
	f.Proto = pick(g, uint8(tcp), tcp, udp, icmp, icmp6, sctp, igmp, gre)
	if f.EtherType == ipv6 {
		f.IPSrc, f.IPDst = g.addr6(), g.addr6()
	} else {
		f.IPSrc, f.IPDst = g.addr4(), g.addr4()
	}
	f.TOS, f.TTL = pick(g, uint8(0), 0xb8, 0xbb, 3), pick(g, uint8(64), 64, 1, 255)
	f.Frag = pick(g, uint8(0), 0, 0, anyFragment, laterFragment)
	f.TPSrc, f.TPDst = g.port(), g.port()
	f.TCPFlags = pick(g, uint16(2), 2, 0x12, 0x10, 0x18, 0, 0x1c2, 0xfff)
	return f
}

// consistent makes a frame one that there can be: a field that it does not have is 0.
func (g *Generator) consistent(f Frame) Frame {
	if f.EtherType != ipv4 && f.EtherType != ipv6 {
		f.IPSrc, f.IPDst = [16]byte{}, [16]byte{}
		f.Proto, f.TOS, f.TTL, f.Frag = 0, 0, 0, 0
	}
	if f.EtherType == ipv4 {
		f.IPSrc, f.IPDst = [16]byte(append(f.IPSrc[:4:4], make([]byte, 12)...)), [16]byte(append(f.IPDst[:4:4], make([]byte, 12)...))
	}
	if f.EtherType == ipv6 && (f.Frag == laterFragment || f.Proto == ipv6Fragment) {
		f.Frag, f.Proto = laterFragment, ipv6Fragment
	}
	later := f.Frag == laterFragment
	switch {
	case f.isICMP() && !later:
		f.TPSrc, f.TPDst = f.TPSrc&0xff, f.TPDst&0xff
	case !f.hasPorts() || later:
		f.TPSrc, f.TPDst = 0, 0
	}
	if !f.isTCP() || later {
		f.TCPFlags = 0
	}
	if f.Frag == anyFragment {
		f.HiddenSrc, f.HiddenDst = f.TPSrc, f.TPDst
		f.TPSrc, f.TPDst = 0, 0
	}
	return f
}

func (f *Frame) isIP() bool  { return f.EtherType == ipv4 || f.EtherType == ipv6 }
func (f *Frame) isTCP() bool { return f.isIP() && f.Proto == tcp }
func (f *Frame) isICMP() bool {
	return f.EtherType == ipv4 && f.Proto == icmp || f.EtherType == ipv6 && f.Proto == icmp6
}
func (f *Frame) hasPorts() bool {
	return f.isIP() && (f.Proto == tcp || f.Proto == udp || f.Proto == sctp)
}

// addr returns one of the addresses as what it is.
func (f *Frame) addr(a [16]byte) netip.Addr {
	if f.EtherType == ipv6 {
		return netip.AddrFrom16(a)
	}
	return netip.AddrFrom4([4]byte(a[:4]))
}

// String returns the frame as ofproto/trace takes it after the bridge's name.
func (f Frame) String() string {
	var b strings.Builder
	add := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	add("in_port=%s,dl_src=%s,dl_dst=%s", portName(f.Port), f.Src, f.Dst)
	if f.TCI != 0 {
		add(",vlan_tci=%#04x", f.TCI)
	}
	add(",dl_type=%#04x", f.EtherType)
	if !f.isIP() {
		return b.String()
	}
	family := map[uint16]string{ipv4: "nw", ipv6: "ipv6"}[f.EtherType]
	add(",%s_src=%s,%s_dst=%s", family, f.addr(f.IPSrc), family, f.addr(f.IPDst))
	add(",nw_proto=%d,nw_tos=%d,nw_ecn=%d,nw_ttl=%d", f.Proto, f.TOS&dscp, f.TOS&ecn, f.TTL)
	add(",nw_frag=%s", map[uint8]string{0: "no", anyFragment: "first", laterFragment: "later"}[f.Frag])
	if f.Frag == laterFragment {
		return b.String()
	}
	src, dst := f.TPSrc|f.HiddenSrc, f.TPDst|f.HiddenDst
	switch {
	case f.hasPorts():
		name := map[uint8]string{tcp: "tcp", udp: "udp", sctp: "sctp"}[f.Proto]
		add(",%s_src=%d,%s_dst=%d", name, src, name, dst)
	case f.isICMP():
		name := map[uint16]string{ipv4: "icmp", ipv6: "icmpv6"}[f.EtherType]
		add(",%s_type=%d,%s_code=%d", name, src, name, dst)
	}
	if f.isTCP() {
		add(",tcp_flags=%#x", f.TCPFlags)
	}
	return b.String()
}

func portName(port uint32) string {
	if port == ovs.LocalPort {
		return "LOCAL"
	}
	return fmt.Sprint(port)
}

// Generator makes tables and frames of few values, so that they meet.
type Generator struct{ *rand.Rand }

// New returns a Generator; the same seed makes the same.
func New(seed uint64) *Generator { return &Generator{rand.New(rand.NewPCG(seed, 0))} }

// odds is true once in n times.
func (g *Generator) odds(n int) bool { return g.IntN(n) == 0 }

func pick[T any](g *Generator, list ...T) T { return list[g.IntN(len(list))] }

func (g *Generator) mac() ovs.MAC {
	return pick(g, ovs.MAC{2, 0, 0, 0, 0, 1}, ovs.MAC{2, 0, 0, 0, 0, 2}, ovs.MAC{2, 0, 0, 0, 1, 2}, ovs.MAC{0x52, 0x54, 0, 0, 0, 1})
}

func (g *Generator) vid() uint16 { return pick(g, uint16(0), 5, 10, 11, 4094) }
func (g *Generator) port() uint16 {
	return pick(g, uint16(0), 22, 53, 80, 443, 1024, 1025, 4096, 65535)
}

func (g *Generator) addr4() [16]byte {
	return [16]byte{10, byte(g.IntN(2)), byte(g.IntN(3)), byte(g.IntN(4))}
}

func (g *Generator) addr6() [16]byte {
	return [16]byte{0xfd, 0, byte(g.IntN(2)), 15: byte(g.IntN(4))}
}
