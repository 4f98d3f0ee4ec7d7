// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// aloneKinds may teach Open vSwitch something, or stop what follows them: each
// is sent alone.
var aloneKinds = []kind{
	{"wrong-vid", func(g *generator, src, dst station) []byte {
		src.tags = []frame.Tag{{VID: g.vid(), PCP: uint8(g.IntN(8))}}
		return g.plain(src, dst)
	}},
	{"own-vid", func(g *generator, src, dst station) []byte {
		src.tags = []frame.Tag{{VID: src.vlan}}
		return g.plain(src, dst)
	}},
	{"untagged", func(g *generator, src, dst station) []byte {
		src.tags = nil
		return g.plain(src, dst)
	}},
	{"priority-tag", func(g *generator, src, dst station) []byte {
		src.tags = []frame.Tag{{VID: 0, PCP: uint8(g.IntN(8)), DEI: g.IntN(4) == 0}}
		return g.plain(src, dst)
	}},
	{"vid-4095", func(g *generator, src, dst station) []byte {
		src.tags = []frame.Tag{{VID: 4095}}
		return g.plain(src, dst)
	}},
	{"802.1ad", func(g *generator, src, dst station) []byte {
		src.tags = []frame.Tag{{TPID: frame.TypeQinQ, VID: src.vlan}}
		return g.plain(src, dst)
	}},
	{"qinq", func(g *generator, src, dst station) []byte {
		src.tags = append(append([]frame.Tag(nil), g.outer(src)), frame.Tag{VID: g.vid(), PCP: uint8(g.IntN(8))})
		return g.plain(src, dst)
	}},
	{"qinq-802.1ad", func(g *generator, src, dst station) []byte {
		src.tags = []frame.Tag{{TPID: frame.TypeQinQ, VID: max(src.vlan, 1)}, {VID: g.vid()}}
		return g.plain(src, dst)
	}},
	{"three-tags", func(g *generator, src, dst station) []byte {
		src.tags = []frame.Tag{g.outer(src), {VID: g.vid()}, {VID: g.vid()}}
		return g.plain(src, dst)
	}},
	{"cut-tag", func(g *generator, src, dst station) []byte {
		src.tags = []frame.Tag{g.outer(src)}
		return g.plain(src, dst)[:14+g.IntN(4)]
	}},
	{"spoof", func(g *generator, src, dst station) []byte {
		// Another station's address, from here.
		return g.plain(station{mac: dst.mac, tags: src.tags}, g.any())
	}},
	{"spoof-broadcast", func(g *generator, src, dst station) []byte {
		return frame.ARPRequest(dst.mac, frame.IP4(dst.mac), frame.IP4(dst.mac), src.tags...)
	}},
	{"zero-source", func(g *generator, src, dst station) []byte {
		src.mac = ovs.MAC{}
		return g.plain(src, dst)
	}},
	{"reserved-source", func(g *generator, src, dst station) []byte {
		src.mac = ovs.MAC{0x00, 0xe0, 0x2b, 0, 0, 0}
		return g.plain(src, dst)
	}},
	{"new-source", func(g *generator, src, dst station) []byte {
		src.mac = ovs.MAC{0x52, 0x54, 0xdd, 0, 0, byte(g.IntN(8))}
		return g.plain(src, dst)
	}},
	{"over-mtu", func(g *generator, src, dst station) []byte {
		mtu := g.cfg.Ports[dst.port].mtu()
		return frame.UDP4(dst.mac, src.mac, frame.Tagged(src.tags...), frame.Payload(g.fill(mtu-28+1+g.IntN(5))))
	}},
	{"far-over-mtu", func(g *generator, src, dst station) []byte {
		mtu := g.cfg.Ports[[]int{src.port, dst.port}[g.IntN(2)]].mtu()
		return frame.TCP4(dst.mac, src.mac, frame.Tagged(src.tags...), frame.Payload(g.fill(mtu-40+5+g.IntN(600))))
	}},
	{"mtu-of-destination", func(g *generator, src, dst station) []byte {
		mtu := g.cfg.Ports[dst.port].mtu()
		return frame.UDP6(dst.mac, src.mac, frame.Tagged(src.tags...), frame.Payload(g.fill(mtu-48)))
	}},
	{"broadcast-from-any-port", func(g *generator, src, dst station) []byte {
		return toward(frame.Broadcast)(g, station{mac: ovs.MAC{0x52, 0x54, 0xdd, 0, 1, byte(g.IntN(4))}, tags: src.tags}, dst)
	}},
}

// vid is a VLAN that the case uses, or one that it doesn't.
func (g *generator) vid() ovs.VLAN {
	if g.IntN(3) == 0 {
		return []ovs.VLAN{1, 99, 4094}[g.IntN(3)]
	}
	return g.vlans[g.IntN(len(g.vlans))]
}

// outer is the tag of a station, or one that it might have.
func (g *generator) outer(s station) frame.Tag {
	if len(s.tags) > 0 {
		return s.tags[0]
	}
	return frame.Tag{VID: max(s.vlan, 1)}
}

// hellos are what a station says first at a place.
var hellos = []kind{
	{"gratuitous-arp", func(g *generator, src, dst station) []byte {
		return frame.ARPRequest(src.mac, frame.IP4(src.mac), frame.IP4(src.mac), src.tags...)
	}},
	{"rarp", func(g *generator, src, dst station) []byte {
		return frame.Frame{Dst: frame.Broadcast, Src: src.mac, Tags: src.tags, EtherType: 0x8035, Payload: g.fill(46)}.Bytes()
	}},
	{"hello-broadcast", toward(frame.Broadcast)},
	{"hello-unicast", func(g *generator, src, dst station) []byte { return g.plain(src, dst) }},
	{"hello-unknown", toward(ovs.MAC{0x52, 0x54, 0xee, 0, 0, 1})},
	{"hello-multicast", toward(ovs.MAC{0x33, 0x33, 0, 0, 0, 1})},
}
