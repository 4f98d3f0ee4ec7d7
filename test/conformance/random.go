// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"
	"slices"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// isVeth tells which ports of the pool are veth pairs.
func isVeth(port int) bool { return port == 2 || port == 5 }

// configure makes the first configuration.
func (g *generator) configure() {
	g.vlans = []ovs.VLAN{0}
	for range 1 + g.IntN(3) {
		g.vlans = append(g.vlans, pick(g, []ovs.VLAN{1, 2, 10, 20, 30, 100, 4000, 4094}))
	}
	bridges := 1
	ports := 2 + g.IntN(maxPorts-1)
	if ports >= 4 && g.chance(30) {
		bridges = 2
	}
	for range bridges {
		g.cfg.Bridges = append(g.cfg.Bridges, Bridge{})
	}
	for i := range ports {
		g.cfg.Ports = append(g.cfg.Ports, g.port(i, i%bridges))
	}
	for i := range bridges {
		g.cfg.Bridges[i] = g.bridge(i)
	}
}

// vids is a random list of the case's VLANs.
func (g *generator) vids() []ovs.VLAN {
	var vs []ovs.VLAN
	for _, v := range g.vlans {
		if g.chance(60) && !slices.Contains(vs, v) {
			vs = append(vs, v)
		}
	}
	if len(vs) == 0 {
		vs = append(vs, g.vlans[len(g.vlans)-1])
	}
	return vs
}

func (g *generator) port(i, bridge int) Port {
	p := Port{Bridge: bridge, Tag: noTag}
	tag := func() int { return int(g.vlans[1+g.IntN(len(g.vlans)-1)]) }
	switch n := g.IntN(100); {
	case n < 20:
		p.Tag = tag()
	case n < 30:
		p.VLANMode, p.Tag = "access", tag()
	case n < 48: // trunk of all VLANs
	case n < 55:
		p.VLANMode = "trunk"
	case n < 66:
		p.Trunks = g.vids()
	case n < 69: // the tag of a trunk means nothing
		p.VLANMode, p.Tag = "trunk", tag()
	case n < 80:
		p.VLANMode, p.Tag = "native-tagged", tag()
	case n < 92:
		p.VLANMode, p.Tag = "native-untagged", tag()
	case n < 94:
		p.VLANMode = "native-tagged"
	case n < 96:
		p.VLANMode = "native-untagged"
	case n < 97:
		p.VLANMode = "access"
	default:
		p.VLANMode, p.Tag = "dot1q-tunnel", tag()
		if g.chance(50) {
			p.CVLANs = g.vids()
		}
	}
	if p.VLANMode != "" && p.VLANMode != "dot1q-tunnel" && g.chance(30) {
		p.Trunks = g.vids()
	}
	p.Protected = g.chance(15)
	if g.chance(4) {
		p.PriorityTags = pick(g, []string{"if-nonzero", "always", "never", "true"})
	}
	if g.chance(12) {
		p.Offload = pick(g, []string{"off", "target", "target", "on"})
		p.OnInterface = g.chance(50)
	}
	if g.chance(12) && !isVeth(i) {
		p.MTU = pick(g, []int{1280, 1400, 1496, 1501, 2000, 9000})
	}
	g.police(&p)
	p.LinkDown = g.chance(2)
	p.NoReceive = g.chance(2)
	p.NoForward = g.chance(2)
	p.OFDown = g.chance(1)
	return p
}

func (g *generator) bridge(i int) Bridge {
	b := Bridge{Mode: "on"}
	if g.chance(4) {
		b.Mode = "observe"
	}
	if g.chance(15) {
		b.Lane = pick(g, []string{"flows", "flows", "flows", "fdb", "auto"})
	}
	if g.chance(8) {
		b.Canary = fmt.Sprint(g.IntN(101))
	}
	if g.chance(8) {
		b.XDPVLANs = list(g.vids())
	}
	if g.chance(8) {
		b.FloodVLANs = g.vids()
	}
	b.Snooping = g.chance(5)
	b.ForwardBPDU = g.chance(5)
	if g.chance(3) {
		b.MACTableSize = 3*maxPorts + 40 // OVS evicts at random unless one port has most
	}
	// What keeps bridges, or much of them, off the lane.
	switch n := g.IntN(1000); {
	case n < 60:
		b.Mirrors = append(b.Mirrors, g.mirror(i))
		if g.chance(20) {
			// Which of two is first, OVS's UUIDs tell; that matters where one copies to
			// a VLAN, and the port of the other is in it.
			if m := g.mirror(i); m.OutputVLAN == 0 && b.Mirrors[0].OutputVLAN == 0 {
				b.Mirrors = append(b.Mirrors, m)
			}
		}
	case n < 66:
		b.STP = true
	case n < 72:
		b.RSTP = true
	case n < 85:
		b.Secure = true
	case n < 105:
		b.FragMode = pick(g, []string{"drop", "nx-match"})
	}
	if g.chance(70) {
		b.Policy = g.policy(i)
	}
	return b
}

// portsOf are the ports of a bridge.
func (g *generator) portsOf(bridge int) []int {
	var ports []int
	for i := range g.cfg.Ports {
		if g.cfg.Ports[i].Bridge == bridge {
			ports = append(ports, i)
		}
	}
	return ports
}

func (g *generator) mirror(bridge int) Mirror {
	ports := g.portsOf(bridge)
	some := func() []int {
		var ps []int
		for _, p := range ports {
			if g.chance(40) {
				ps = append(ps, p)
			}
		}
		return ps
	}
	// One destination: of a flooded frame a mirror copies what the first port
	// that it selects is sent, and which is first depends on devices' names.
	m := Mirror{Output: pick(g, ports)}
	if g.chance(25) {
		m.Output, m.OutputVLAN = -1, pick(g, []ovs.VLAN{100, 999})
	}
	switch g.IntN(5) {
	case 0:
		m.SelectAll = true
	case 1:
		m.Src = some()
	case 2:
		m.Dst = []int{pick(g, ports)}
	case 3:
		m.Src, m.Dst = some(), []int{pick(g, ports)}
	}
	if g.chance(30) {
		m.VLANs = g.vids()
	}
	return m
}

// reconfigure changes a port or a bridge, or the MAC table.
func (g *generator) reconfigure() {
	if g.chance(15) {
		i := g.IntN(len(g.cfg.Bridges))
		g.add(Event{Flush: &i})
		return
	}
	if g.chance(35) {
		i := g.IntN(len(g.cfg.Bridges))
		b := g.bridge(i)
		if g.chance(50) { // nothing but the rules
			b = g.cfg.Bridges[i]
			b.Policy = g.policy(i)
		}
		b.STP, b.RSTP = g.cfg.Bridges[i].STP, g.cfg.Bridges[i].RSTP
		b.MACTableSize = g.cfg.Bridges[i].MACTableSize
		g.cfg.Bridges[i] = b
		g.add(Event{Bridge: &BridgeChange{Index: i, Bridge: b}})
		return
	}
	i := g.IntN(len(g.cfg.Ports))
	p := g.cfg.Ports[i]
	switch g.IntN(7) {
	case 0:
		p.Protected = !p.Protected
	case 1:
		p.Offload = pick(g, []string{"", "off", "target"})
	case 2:
		p.LinkDown = !p.LinkDown
	case 3:
		p.NoReceive, p.NoForward = g.chance(40), g.chance(40)
	default:
		bridge := p.Bridge
		p = g.port(i, bridge)
		p.LinkDown, p.OFDown = false, false
	}
	g.change(i, p)
	if g.chance(20) {
		gone := p
		gone.Bridge = -1
		g.change(i, gone)
		g.hello(i) // nobody hears
		g.change(i, p)
	}
	for n := range g.stations {
		if s := &g.stations[n]; s.port == i && !g.cfg.Ports[i].carries(s.vlan) {
			g.home(s)
		}
	}
}

func (g *generator) change(i int, p Port) {
	g.cfg.Ports[i] = p
	g.add(Event{Port: &PortChange{Index: i, Port: p}})
}
