// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// A pipeline is what a cloud makes of two bridges and a patch between them: VMs
// on the first one, an uplink on the second. No frame has to take the lane, but
// for those of networks that are free of anything but L2.

// network is one that the cloud has made.
type network struct {
	// local is its VLAN on the bridge of the VMs, provider that of the uplink, 0
	// for a flat one.
	local, provider ovs.VLAN
}

// GeneratePipeline makes the case of a seed, with about that many frames.
func GeneratePipeline(seed uint64, frames int) *Case {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0x7069706c696e65))}
	kind := pick(g, []func(nets []network){g.neutron, g.neutron, g.ovn, g.ovn, g.anything})
	g.cfg.Bridges = []Bridge{{Mode: "on"}, {Mode: "on"}}
	g.cfg.Patches = []Patch{{Bridges: [2]int{0, 1}}}
	g.vlans = []ovs.VLAN{0}
	var nets []network
	for i := range 1 + g.IntN(3) {
		n := network{local: ovs.VLAN(i + 1), provider: []ovs.VLAN{10, 100, 4000}[i]}
		if i == 0 && g.chance(20) {
			n.provider = 0
		}
		g.vlans = append(g.vlans, n.local, max(n.provider, 1))
		nets = append(nets, n)
	}
	vms, uplinks := 3+g.IntN(4), 1
	if g.chance(25) {
		uplinks = 2
	}
	for i := range vms + uplinks {
		p := Port{Bridge: 0, Tag: int(nets[i%len(nets)].local)}
		if i >= vms {
			p = Port{Bridge: 1, Tag: noTag}
		}
		if g.chance(5) {
			p.Offload = pick(g, []string{"off", "target"})
		}
		g.cfg.Ports = append(g.cfg.Ports, p)
	}
	if g.chance(8) {
		g.cfg.Bridges[g.IntN(2)].Mode = pick(g, []string{"off", "observe"})
	}
	g.occupy(nets)
	kind(nets)
	if p := g.cfg.Bridges[0].Policy; p != nil && g.chance(50) { // a firewall that keeps no state
		match := pick(g, []string{"ip", "ipv6"}) + ",nw_frag=" + pick(g, []string{"yes", "first", "later"})
		if g.chance(50) {
			match = fmt.Sprintf("in_port=%d,%s", 1+g.IntN(vms), g.broadMatch())
		}
		p.Rules = append(p.Rules, FlowRule{"table=0,priority=300," + match + " actions=drop", true, false})
	}
	c := &Case{Seed: seed, Config: g.cfg.Clone()}
	g.traffic(nets, frames)
	c.Events = g.events
	return c
}

// occupy puts a station or two on each port of a network.
func (g *generator) occupy(nets []network) {
	n := byte(0)
	for i, p := range g.cfg.Ports {
		for _, net := range nets {
			if p.Bridge == 0 && p.Tag != int(net.local) {
				continue
			}
			for range 1 + g.IntN(2) {
				n++
				g.stations = append(g.stations, g.at(net, i, ovs.MAC{0x52, 0x54, 0, 0, 0, n}))
			}
		}
	}
}

// at is a station of a network on a port.
func (g *generator) at(net network, port int, mac ovs.MAC) station {
	s := station{mac: mac, port: port, vlan: net.local}
	if g.cfg.Ports[port].Bridge == 1 && net.provider != 0 {
		s.tags = []frame.Tag{{VID: net.provider}}
	}
	return s
}

// neutron makes bridges as the Open vSwitch agent of OpenStack Neutron does.
func (g *generator) neutron(nets []network) {
	in, ex := &Policy{}, &Policy{}
	rule := func(p *Policy, format string, args ...any) {
		p.Rules = append(p.Rules, FlowRule{fmt.Sprintf(format, args...), true, false})
	}
	guard, firewall := g.chance(40), g.chance(25)
	for i, p := range g.cfg.Ports {
		if p.Bridge != 0 {
			continue
		}
		if guard && g.chance(70) { // port security
			rule(in, "table=0,priority=10,arp,in_port=%d actions=resubmit(,24)", i+1)
			rule(in, "table=0,priority=9,in_port=%d actions=resubmit(,25)", i+1)
			for _, s := range g.stations {
				if s.port == i {
					rule(in, "table=24,priority=2,arp,in_port=%d,arp_spa=%s actions=resubmit(,25)", i+1, frame.IP4(s.mac))
					rule(in, "table=25,priority=2,in_port=%d,dl_src=%s actions=resubmit(,60)", i+1, s.mac)
				}
			}
		}
		if firewall && g.chance(60) { // security groups
			rule(in, "table=60,priority=%d,ip,in_port=%d actions=ct(table=81)", 90+i, i+1)
			rule(in, "table=60,priority=%d,udp,in_port=%d actions=%s", 100+i, i+1, pick(g, []string{"drop", "NORMAL", "resubmit(,94)"}))
		}
	}
	rule(in, "table=24,priority=0 actions=drop")
	rule(in, "table=25,priority=0 actions=drop")
	rule(in, "table=81,priority=10,ct_state=+trk actions=NORMAL")
	rule(in, "table=94,priority=1 actions=NORMAL")
	rule(in, "table=60,priority=3 actions=NORMAL")
	rule(in, "table=0,priority=2,in_port=%d actions=drop", patchPort(0, 0))
	rule(in, "table=0,priority=0 actions=resubmit(,60)")
	rule(ex, "table=0,priority=2,in_port=%d actions=drop", patchPort(0, 1))
	rule(ex, "table=0,priority=0 actions=NORMAL")
	for _, net := range nets {
		if g.chance(90) {
			match := fmt.Sprintf("dl_vlan=%d", net.provider)
			if net.provider == 0 {
				match = "vlan_tci=0x0000/0x1fff"
			}
			rule(in, "table=0,priority=3,in_port=%d,%s actions=mod_vlan_vid:%d,resubmit(,60)", patchPort(0, 0), match, net.local)
		}
		if g.chance(90) {
			tag := fmt.Sprintf("mod_vlan_vid:%d", net.provider)
			if net.provider == 0 {
				tag = "strip_vlan"
			}
			rule(ex, "table=0,priority=4,in_port=%d,dl_vlan=%d actions=%s,NORMAL", patchPort(0, 1), net.local, tag)
		}
	}
	g.cfg.Bridges[0].Policy, g.cfg.Bridges[1].Policy = in, ex
}

// ovn makes bridges as ovn-controller does: what is sent where is written down,
// nothing is learned but on the bridge of the uplink.
func (g *generator) ovn(nets []network) {
	p := &Policy{}
	rule := func(format string, args ...any) {
		p.Rules = append(p.Rules, FlowRule{fmt.Sprintf(format, args...), true, false})
	}
	acl, security := g.chance(30), g.chance(40)
	all := make(map[ovs.VLAN][]int) // ports by network
	for i := range g.cfg.Ports {
		if g.cfg.Ports[i].Bridge == 0 {
			net := ovs.VLAN(g.cfg.Ports[i].Tag)
			g.cfg.Ports[i].Tag = noTag
			all[net] = append(all[net], i+1)
			rule("table=0,priority=100,in_port=%d actions=load:%d->OXM_OF_METADATA[],load:%d->NXM_NX_REG14[],resubmit(,8)", i+1, net, i+1)
			if security && g.chance(60) {
				for _, s := range g.stations {
					if s.port == i {
						rule("table=8,priority=50,reg14=%d,metadata=%d,dl_src=%s actions=resubmit(,14)", i+1, net, s.mac)
					}
				}
				continue
			}
			rule("table=8,priority=50,reg14=%d,metadata=%d actions=resubmit(,14)", i+1, net)
		}
	}
	rule("table=8,priority=100,vlan_tci=0x1000/0x1000 actions=drop")
	rule("table=8,priority=100,dl_src=01:00:00:00:00:00/01:00:00:00:00:00 actions=drop")
	if acl {
		rule("table=14,priority=%d,%s actions=%s", 1000, g.broadMatch(), pick(g, []string{"drop", "resubmit(,27)", "ct(table=15)"}))
		rule("table=15,priority=1,ct_state=+trk actions=resubmit(,27)")
	}
	rule("table=14,priority=0 actions=resubmit(,27)")
	for _, net := range nets {
		pop, push := "strip_vlan,", fmt.Sprintf("mod_vlan_vid:%d,", net.provider)
		match := fmt.Sprintf("dl_vlan=%d", net.provider)
		if net.provider == 0 {
			pop, push, match = "", "", "vlan_tci=0x0000/0x1000"
		}
		rule("table=0,priority=150,in_port=%d,%s actions=%sload:%d->OXM_OF_METADATA[],load:100->NXM_NX_REG14[],resubmit(,27)", patchPort(0, 0), match, pop, net.local)
		rule("table=27,priority=70,metadata=%d,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00 actions=load:0x8000->NXM_NX_REG15[],resubmit(,38)", net.local)
		for _, s := range g.stations {
			if s.vlan == net.local && g.cfg.Ports[s.port].Bridge == 0 {
				rule("table=27,priority=50,metadata=%d,dl_dst=%s actions=load:%d->NXM_NX_REG15[],resubmit(,38)", net.local, s.mac, s.port+1)
			}
		}
		rule("table=27,priority=0,metadata=%d actions=load:100->NXM_NX_REG15[],resubmit(,38)", net.local)
		out := ""
		for _, n := range append(all[net.local], 100) {
			out += fmt.Sprintf(",load:%d->NXM_NX_REG15[],resubmit(,38)", n)
		}
		rule("table=38,priority=100,reg15=0x8000,metadata=%d actions=%s", net.local, out[1:])
		rule("table=38,priority=50,reg15=100,metadata=%d actions=%soutput:%d", net.local, push, patchPort(0, 0))
	}
	for _, ports := range all {
		for _, n := range ports {
			rule("table=38,priority=50,reg15=%d actions=output:%d", n, n)
		}
	}
	slices.SortFunc(p.Rules, func(a, b FlowRule) int { return slices.Compare([]byte(a.Flow), []byte(b.Flow)) })
	g.cfg.Bridges[0].Policy = p
}

// anything makes random rules for both bridges, which go beyond NORMAL.
func (g *generator) anything([]network) {
	for i := range g.cfg.Bridges {
		if g.chance(80) {
			g.cfg.Bridges[i].Policy = g.policy(i)
		}
	}
}

// talk is a frame from one station to another.
func (g *generator) talk(k kind, src, dst station) *Frame {
	return &Frame{Port: src.port, Kind: k.name, Data: k.make(g, src, dst)}
}

// piece is a fragment from one station to another, of the type of what it has said.
func (g *generator) piece(of *Frame, src, dst station) *Frame {
	for {
		f := g.talk(pick(g, fragments), src, dst)
		whole, err := frame.Parse(of.Data)
		piece, err2 := frame.Parse(f.Data)
		if err != nil || err2 != nil || whole.EtherType == piece.EtherType || whole.EtherType != frame.TypeIPv4 && whole.EtherType != frame.TypeIPv6 {
			return f
		}
	}
}

// peers are two stations of a network on two ports.
func (g *generator) peers() (src, dst station) {
	for range 200 {
		src, dst = g.any(), g.any()
		if src.port != dst.port && src.vlan == dst.vlan {
			break
		}
	}
	return src, dst
}

// traffic has stations talk: once, so that OVS learns; again, so that it has flows
// for that; then, when the lane has taken them up, once more, and something else.
// Then something changes.
func (g *generator) traffic(nets []network, frames int) {
	const rounds = 3
	for round := range rounds {
		g.hello(-1)
		var said []*Frame
		var pairs [][2]station
		for range frames / rounds / 8 {
			src, dst := g.peers()
			pairs = append(pairs, [2]station{src, dst})
			said = append(said, g.talk(pick(g, plainKinds), src, dst), g.talk(pick(g, plainKinds), dst, src))
			if g.chance(40) {
				said = append(said, g.piece(said[len(said)-2], src, dst))
			}
		}
		for range frames / rounds / 20 {
			src, dst := g.peers()
			said = append(said, g.talk(pick(g, oddKinds), src, dst))
		}
		say := func() {
			for _, f := range said {
				g.add(Event{Frame: f})
			}
		}
		say() // OVS learns
		say() // and no more
		say() // flows stay
		g.add(Event{Converge: true})
		for range 5 { // by the lane
			say()
		}
		for range frames / rounds / 8 { // something else, of which OVS has shown nothing
			pair := pick(g, pairs)
			g.add(Event{Frame: g.talk(pick(g, plainKinds), pair[0], pair[1])})
		}
		for range 2 {
			g.migrate(nets, said)
		}
		if round < rounds-1 {
			g.alter(nets)
		}
	}
}

// migrate has a station show up elsewhere, after which the same is said to it.
func (g *generator) migrate(nets []network, said []*Frame) {
	i := g.IntN(len(g.stations))
	was := g.stations[i]
	var ports []int
	for p := range g.cfg.Ports {
		if p != was.port && (g.cfg.Ports[p].Bridge == 1 || slices.ContainsFunc(g.stations, func(s station) bool { return s.port == p && s.vlan == was.vlan })) {
			ports = append(ports, p)
		}
	}
	if len(ports) == 0 {
		return
	}
	net := nets[slices.IndexFunc(nets, func(n network) bool { return n.local == was.vlan })]
	now := g.at(net, pick(g, ports), was.mac)
	g.add(Event{Frame: g.talk(pick(g, hellos), now, g.any())})
	for _, f := range said {
		if dst := ovs.MAC(f.Data[:6]); dst == was.mac {
			g.add(Event{Frame: f})
		}
	}
	if g.chance(50) { // it is back
		g.add(Event{Frame: g.talk(pick(g, hellos), was, g.any())})
	} else {
		g.stations[i] = now
	}
	if g.chance(25) {
		g.add(Event{Converge: true})
	}
}

// alter changes rules, a port or a bridge.
func (g *generator) alter(nets []network) {
	switch n := g.IntN(10); {
	case n < 5: // a rule more, or one less
		i := g.IntN(2)
		b := g.cfg.Bridges[i]
		p := &Policy{}
		if b.Policy != nil {
			*p = *b.Policy
			p.Rules = slices.Clone(p.Rules)
		} else {
			p.Rules = []FlowRule{{"priority=0 actions=NORMAL", true, false}}
		}
		if g.chance(40) && len(p.Rules) > 1 {
			n := g.IntN(len(p.Rules))
			p.Rules = slices.Delete(p.Rules, n, n+1)
		} else {
			match := join(g.linkMatch(i), pick(g, []string{"", "", g.broadMatch()}))
			p.Rules = append(p.Rules, FlowRule{join(fmt.Sprintf("table=0,priority=%d", 200+g.IntN(50)), match) + " actions=" +
				pick(g, []string{"drop", "NORMAL", fmt.Sprintf("output:%d", g.ofport(i))}), true, false})
		}
		b.Policy = p
		g.cfg.Bridges[i] = b
		g.add(Event{Bridge: &BridgeChange{Index: i, Bridge: b}})
	case n < 6:
		i := g.IntN(2)
		b := g.cfg.Bridges[i]
		b.Mode = pick(g, []string{"on", "off", "observe"})
		g.cfg.Bridges[i] = b
		g.add(Event{Bridge: &BridgeChange{Index: i, Bridge: b}})
	case n < 7:
		i := g.IntN(2)
		g.add(Event{Flush: &i})
	default:
		i := g.IntN(len(g.cfg.Ports))
		p := g.cfg.Ports[i]
		switch g.IntN(4) {
		case 0:
			p.LinkDown = !p.LinkDown
		case 1:
			p.NoForward = !p.NoForward
		case 2:
			p.Offload = pick(g, []string{"", "off", "target"})
		default:
			if p.Bridge == 0 && p.Tag != noTag {
				p.Tag = int(pick(g, nets).local)
			}
		}
		g.change(i, p)
	}
}
