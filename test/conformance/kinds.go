// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"encoding/binary"
	"slices"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// kind is a way to make a frame from one station to another.
type kind struct {
	name string
	make func(g *generator, src, dst station) []byte
}

// plainKinds are the lane's own.
var plainKinds = slices.Concat(aimedPlain, []kind{
	{"udp4", func(g *generator, src, dst station) []byte {
		return frame.UDP4(dst.mac, src.mac, frame.Tagged(src.tags...), g.body(42), g.ports())
	}},
	{"udp6", func(g *generator, src, dst station) []byte {
		return frame.UDP6(dst.mac, src.mac, frame.Tagged(src.tags...), g.body(62), g.ports())
	}},
	{"tcp4", func(g *generator, src, dst station) []byte {
		return frame.TCP4(dst.mac, src.mac, frame.Tagged(src.tags...), g.body(54), g.ports())
	}},
	{"tcp6", func(g *generator, src, dst station) []byte {
		return frame.TCP6(dst.mac, src.mac, frame.Tagged(src.tags...), g.body(74), g.ports())
	}},
	{"icmp4", func(g *generator, src, dst station) []byte {
		return ip4(dst.mac, src.mac, src.tags, protoICMP, icmp4(8, g.bytes(38)))
	}},
	{"icmp6", func(g *generator, src, dst station) []byte {
		return ip6(dst.mac, src.mac, src.tags, protoICMPv6, icmp6(dst.mac, src.mac, 128, g.bytes(58)))
	}},
	{"pcp", func(g *generator, src, dst station) []byte {
		return frame.UDP4(dst.mac, src.mac, frame.Tagged(g.priority(src, false)...), g.body(42))
	}},
	{"longest", func(g *generator, src, dst station) []byte {
		return frame.TCP4(dst.mac, src.mac, frame.Tagged(src.tags...), frame.Payload(g.fill(g.leastMTU()-40)))
	}},
})

// oddKinds teach nothing that is not known, but are not plain.
var oddKinds = slices.Concat(aimedOdd, fragments, []kind{
	{"ip-options", func(g *generator, src, dst station) []byte {
		return frame.UDP4(dst.mac, src.mac, frame.Tagged(src.tags...), frame.IPOptions([]byte{1, 1, 1, 0}), g.body(46))
	}},
	{"hop-by-hop", func(g *generator, src, dst station) []byte {
		return ip6(dst.mac, src.mac, src.tags, protoHopOpts, append(extension(protoUDP), udp6(dst.mac, src.mac, g.bytes(70))...))
	}},
	{"two-extensions", func(g *generator, src, dst station) []byte {
		two := append(extension(protoDstOpts), extension(protoUDP)...)
		return ip6(dst.mac, src.mac, src.tags, protoHopOpts, append(two, udp6(dst.mac, src.mac, g.bytes(78))...))
	}},
	{"routing-header", func(g *generator, src, dst station) []byte {
		return ip6(dst.mac, src.mac, src.tags, protoRouting, append(extension(protoUDP), udp6(dst.mac, src.mac, g.bytes(70))...))
	}},
	{"many-extensions", func(g *generator, src, dst station) []byte {
		var all []byte
		for range 7 {
			all = append(all, extension(protoDstOpts)...)
		}
		all = append(all, extension(protoUDP)...)
		return ip6(dst.mac, src.mac, src.tags, protoDstOpts, append(all, udp6(dst.mac, src.mac, g.bytes(126))...))
	}},
	{"hidden-nd", func(g *generator, src, dst station) []byte {
		return ip6(dst.mac, src.mac, src.tags, protoHopOpts, append(extension(protoICMPv6), icmp6(dst.mac, src.mac, 136, g.bytes(66))...))
	}},
	{"sctp", func(g *generator, src, dst station) []byte {
		return ip4(dst.mac, src.mac, src.tags, protoSCTP, g.bytes(34))
	}},
	{"gre", func(g *generator, src, dst station) []byte {
		return ip4(dst.mac, src.mac, src.tags, protoGRE, g.bytes(34))
	}},
	{"no-checksum", func(g *generator, src, dst station) []byte {
		return frame.UDP4(dst.mac, src.mac, frame.Tagged(src.tags...), frame.NoChecksum(), g.body(42))
	}},
	{"partial-checksum", func(g *generator, src, dst station) []byte {
		build := []func(dst, src ovs.MAC, opts ...frame.Option) []byte{frame.UDP4, frame.UDP6, frame.TCP4, frame.TCP6}[g.IntN(4)]
		return build(dst.mac, src.mac, frame.Tagged(src.tags...), frame.PartialChecksum(), g.body(74))
	}},
	{"tunnel-port", func(g *generator, src, dst station) []byte {
		return frame.UDP4(dst.mac, src.mac, frame.Tagged(src.tags...), frame.Ports(4789, 40000), g.body(42))
	}},
	{"not-ip-inside", func(g *generator, src, dst station) []byte {
		types := []uint16{frame.TypeIPv4, frame.TypeIPv6}
		return frame.Frame{Dst: dst.mac, Src: src.mac, Tags: src.tags, EtherType: types[g.IntN(2)], Payload: g.bytes(14)}.Bytes()
	}},
	{"arp-request", func(g *generator, src, dst station) []byte {
		return frame.ARPRequest(src.mac, frame.IP4(src.mac), frame.IP4(dst.mac), src.tags...)
	}},
	{"arp-reply", func(g *generator, src, dst station) []byte {
		return frame.ARPReply(dst.mac, src.mac, frame.IP4(src.mac), frame.IP4(dst.mac), src.tags...)
	}},
	{"nd", func(g *generator, src, dst station) []byte {
		return ip6(dst.mac, src.mac, src.tags, protoICMPv6, icmp6(dst.mac, src.mac, uint8(133+g.IntN(5)), g.bytes(58)))
	}},
	{"802.3", func(g *generator, src, dst station) []byte {
		body := g.bytes(14)
		return frame.Frame{Dst: dst.mac, Src: src.mac, Tags: src.tags, EtherType: uint16(min(len(body), 1500)), Payload: body}.Bytes()
	}},
	{"ethertype", func(g *generator, src, dst station) []byte {
		return frame.Frame{Dst: dst.mac, Src: src.mac, Tags: src.tags, EtherType: 0x88b5, Payload: g.bytes(14)}.Bytes()
	}},
	{"broadcast", toward(frame.Broadcast)},
	{"multicast", func(g *generator, src, dst station) []byte {
		group := []ovs.MAC{{0x01, 0x00, 0x5e, 0x7f, 0, 1}, {0x33, 0x33, 0, 0, 0, 1}, {0x01, 0x80, 0xc2, 0, 0, 0x21}}[g.IntN(3)]
		return toward(group)(g, src, dst)
	}},
	{"reserved-group", func(g *generator, src, dst station) []byte {
		return toward(ovs.MAC{0x01, 0x80, 0xc2, 0, 0, byte(g.IntN(16))})(g, src, dst)
	}},
	{"lldp", func(g *generator, src, dst station) []byte {
		return frame.Frame{Dst: ovs.MAC{0x01, 0x80, 0xc2, 0, 0, 0x0e}, Src: src.mac, Tags: src.tags, EtherType: frame.TypeLLDP, Payload: g.bytes(14)}.Bytes()
	}},
	{"lacp", func(g *generator, src, dst station) []byte {
		return frame.Frame{Dst: ovs.MAC{0x01, 0x80, 0xc2, 0, 0, 2}, Src: src.mac, Tags: src.tags, EtherType: frame.TypeSlow, Payload: g.bytes(14)}.Bytes()
	}},
	{"reserved-unicast", func(g *generator, src, dst station) []byte {
		return toward(ovs.MAC{0x00, 0xe0, 0x2b, 0, 0, []byte{0, 4, 6}[g.IntN(3)]})(g, src, dst)
	}},
	{"unknown", func(g *generator, src, dst station) []byte {
		return toward(ovs.MAC{0x52, 0x54, 0xee, 0, 0, byte(g.IntN(256))})(g, src, dst)
	}},
	{"zero-destination", toward(ovs.MAC{})},
	{"bridge-destination", toward(ovs.MAC{2, 0, 0, 0, 0, 1})},
	{"to-itself", func(g *generator, src, dst station) []byte { return toward(src.mac)(g, src, dst) }},
	{"hairpin", func(g *generator, src, dst station) []byte {
		for _, s := range g.stations {
			if s.port == src.port && s.mac != src.mac {
				return toward(s.mac)(g, src, dst)
			}
		}
		return toward(src.mac)(g, src, dst)
	}},
	{"dei", func(g *generator, src, dst station) []byte {
		return frame.UDP4(dst.mac, src.mac, frame.Tagged(g.priority(src, true)...), g.body(42))
	}},
	{"group-source", func(g *generator, src, dst station) []byte {
		src.mac[0] |= 1
		return g.plain(src, dst)
	}},
	{"runt", func(g *generator, src, dst station) []byte {
		b := frame.UDP4(dst.mac, src.mac, frame.Tagged(src.tags...), frame.Payload(g.fill(18)))
		return b[:14+4*len(src.tags)+g.IntN(46)]
	}},
})

func toward(mac ovs.MAC) func(g *generator, src, dst station) []byte {
	return func(g *generator, src, _ station) []byte { return g.plain(src, station{mac: mac}) }
}

var fragments = []kind{
	{"first-fragment", fragment(0, true)},
	{"middle-fragment", fragment(100, true)},
	{"last-fragment", fragment(185, false)},
}

func fragment(offset uint16, more bool) func(g *generator, src, dst station) []byte {
	return func(g *generator, src, dst station) []byte {
		build := []func(dst, src ovs.MAC, opts ...frame.Option) []byte{frame.UDP4, frame.UDP6, frame.TCP4, frame.TCP6}[g.IntN(4)]
		return build(dst.mac, src.mac, frame.Tagged(src.tags...), frame.Fragment(offset, more), g.body(90))
	}
}

// body is a payload that makes a frame with headers of this length, tags left
// out, 60 bytes long or more.
func (g *generator) body(headers int) frame.Option { return frame.Payload(g.bytes(headers)) }

func (g *generator) bytes(headers int) []byte {
	least := max(60-headers, 8)
	most := max(g.leastMTU()+14-headers, least)
	if g.IntN(3) > 0 {
		most = min(most, least+100)
	}
	return g.fill(least + g.IntN(most-least+1))
}

// fill returns n bytes that tell this frame from all others of the case, as
// far as they go.
func (g *generator) fill(n int) []byte {
	b := make([]byte, n, n+4)
	for i := range b {
		b[i] = byte(g.Uint32())
	}
	g.frames++
	if n >= 4 {
		binary.BigEndian.PutUint32(b, g.frames)
	}
	return b
}

func (g *generator) ports() frame.Option {
	return frame.Ports(uint16(1000+g.IntN(3000)), uint16(20000+g.IntN(40000)))
}

// plain makes a frame of any of the plain kinds but the last two.
func (g *generator) plain(src, dst station) []byte {
	return plainKinds[g.IntN(len(plainKinds)-2)].make(g, src, dst)
}

// priority gives the station's tag a priority.
func (g *generator) priority(s station, dei bool) []frame.Tag {
	if len(s.tags) == 0 {
		return nil
	}
	t := s.tags[0]
	t.PCP, t.DEI = uint8(g.IntN(8)), dei
	return []frame.Tag{t}
}
