// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"math/rand/v2"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// station is a machine as the generator thinks of it.
type station struct {
	mac  ovs.MAC
	port int
	// vlan is where the port puts its frames when they carry these tags.
	vlan ovs.VLAN
	tags []frame.Tag
}

// generator makes a case from a seed. It follows its own changes of the
// configuration, but not what Open vSwitch learns.
type generator struct {
	*rand.Rand
	events   []Event
	cfg      Config
	vlans    []ovs.VLAN
	stations []station
	frames   uint32 // made so far
}

// Generate makes the case of a seed, with about that many frames.
func Generate(seed uint64, frames int) *Case {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0x6f76732d786470))}
	g.configure()
	c := &Case{Seed: seed, Config: g.cfg.Clone()}
	g.settle()
	g.sequence(frames)
	c.Events = g.events
	return c
}

func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

// any is any station.
func (g *generator) any() station { return g.stations[g.IntN(len(g.stations))] }

// pair is two stations: mostly of one VLAN and bridge, on two ports.
func (g *generator) pair() (src, dst station) {
	if g.chance(90) {
		for range 200 {
			src, dst = g.any(), g.any()
			if src.port != dst.port && src.vlan == dst.vlan && g.cfg.Ports[src.port].Bridge == g.cfg.Ports[dst.port].Bridge {
				return src, dst
			}
		}
	}
	return g.any(), g.any()
}

func (g *generator) leastMTU() int { return min(g.cfg.leastMTU(), 2000) }

// settle puts stations on all ports. Addresses are few, so that one is in
// several VLANs and bridges, on a port of its own in each.
func (g *generator) settle() {
	type key struct {
		bridge int
		vlan   ovs.VLAN
		mac    ovs.MAC
	}
	taken := make(map[key]bool)
	per := 1 + g.IntN(3)
	for i := range g.cfg.Ports {
		for range per {
			s := station{port: i, mac: ovs.MAC{0x52, 0x54, 0, 0, 0, byte(1 + g.IntN(3*len(g.cfg.Ports)))}}
			g.home(&s)
			k := key{g.cfg.Ports[i].Bridge, s.vlan, s.mac}
			if taken[k] {
				continue
			}
			taken[k] = true
			g.stations = append(g.stations, s)
		}
	}
	if len(g.stations) == 1 {
		g.stations = append(g.stations, g.stations[0])
	}
}

// home gives a station a VLAN and tags that its port takes.
func (g *generator) home(s *station) {
	p := &g.cfg.Ports[s.port]
	s.vlan, s.tags = p.native(), nil
	if p.mode() == "access" || p.mode() == "dot1q-tunnel" {
		return
	}
	for range 10 {
		v := g.vlans[g.IntN(len(g.vlans))]
		switch {
		case !p.carries(v):
			continue
		case v == p.native() && (v == 0 || g.chance(50)):
			s.vlan, s.tags = v, nil
		case v != 0:
			s.vlan, s.tags = v, []frame.Tag{{VID: v}}
		default:
			continue
		}
		return
	}
}

func (g *generator) add(e Event) { g.events = append(g.events, e) }

func (g *generator) send(port int, k kind, src, dst station, plain, alone bool) {
	g.add(Event{Frame: &Frame{Port: port, Kind: k.name, Data: k.make(g, src, dst), Plain: plain, Alone: alone}})
}

func pick[T any](g *generator, from []T) T { return from[g.IntN(len(from))] }

// hello has all stations, or those of one port, say something.
func (g *generator) hello(port int) {
	for _, s := range g.stations {
		if port < 0 || s.port == port {
			g.send(s.port, pick(g, hellos), s, g.any(), false, false)
		}
		// Rules may have kept OVS from learning by that.
		if b := g.cfg.Ports[s.port].Bridge; port < 0 && b >= 0 && g.cfg.Bridges[b].Policy != nil {
			g.send(s.port, pick(g, plainKinds), s, g.any(), true, false)
		}
	}
}

// sequence makes the events, with about that many frames.
func (g *generator) sequence(frames int) {
	for _, s := range g.stations {
		if g.chance(4) && g.cfg.Ports[s.port].Bridge >= 0 {
			g.add(Event{Static: &Static{Port: s.port, VLAN: s.vlan, MAC: s.mac}})
		}
	}
	g.overflow()
	rounds := 3
	for round := range rounds {
		g.hello(-1)
		g.add(Event{Converge: true})
		for range frames * 55 / 100 / rounds {
			src, dst := g.pair()
			g.send(src.port, pick(g, plainKinds), src, dst, true, false)
		}
		for range frames * 25 / 100 / rounds {
			src, dst := g.pair()
			g.send(src.port, pick(g, oddKinds), src, dst, false, false)
		}
		for range max(frames*8/100/rounds, 1) {
			src, dst := g.pair()
			g.send(src.port, pick(g, aloneKinds), src, dst, false, true)
		}
		for range 1 + g.IntN(3) {
			g.move()
		}
		if round < rounds-1 && g.chance(60) {
			g.reconfigure()
		}
	}
}

// overflow fills a small MAC table from one port, so that it is always that
// port's oldest station which is evicted.
func (g *generator) overflow() {
	for i := range g.cfg.Bridges {
		if g.cfg.Bridges[i].MACTableSize == 0 {
			continue
		}
		for p := range g.cfg.Ports {
			if g.cfg.Ports[p].Bridge != i {
				continue
			}
			for n := range g.cfg.Bridges[i].MACTableSize + 4 {
				s := station{port: p, mac: ovs.MAC{0x52, 0x54, 0xcc, 0, 0, byte(n)}}
				g.home(&s)
				g.send(p, pick(g, hellos), s, s, false, true)
			}
			break
		}
	}
}

// move has a station show up on another port, talk and be talked to, and
// perhaps go home.
func (g *generator) move() {
	i := g.IntN(len(g.stations))
	was := g.stations[i]
	to := g.IntN(len(g.cfg.Ports))
	now := was
	now.port = to
	if v, tags := g.cfg.Ports[to].native(), []frame.Tag{{VID: was.vlan}}; v == was.vlan {
		now.tags = nil
	} else {
		now.tags = tags
	}
	talk := func(s station) {
		g.send(s.port, pick(g, hellos), s, g.any(), false, false)
		for range 3 {
			other := g.any()
			g.send(other.port, pick(g, plainKinds), other, s, true, false)
		}
		g.send(s.port, pick(g, plainKinds), s, g.any(), true, false)
		if g.chance(30) {
			g.add(Event{Converge: true})
			for range 3 {
				other := g.any()
				g.send(other.port, pick(g, plainKinds), other, s, true, false)
				g.send(s.port, pick(g, plainKinds), s, other, true, false)
			}
		}
	}
	talk(now)
	switch g.IntN(3) {
	case 0:
		talk(was)
	case 1: // it stays, and the old place is spoken from once more
		g.send(was.port, pick(g, plainKinds), was, g.any(), true, false)
		talk(now)
		fallthrough
	default:
		if g.cfg.Ports[to].carries(was.vlan) && g.cfg.Ports[to].Bridge == g.cfg.Ports[was.port].Bridge {
			g.stations[i] = now
		}
	}
}
