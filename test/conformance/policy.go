// SPDX-License-Identifier: Apache-2.0

package conformance

import "fmt"

// Policy is what the OpenFlow table of a bridge has instead of a single NORMAL.
type Policy struct {
	Rules []FlowRule
	// Groups are what ovs-ofctl add-group takes.
	Groups []string
	// Overlaps tells that rules of one priority match the same frames. OVS may
	// count such a frame for either.
	Overlaps bool
}

// FlowRule is an OpenFlow rule.
type FlowRule struct {
	// Flow is the rule as ovs-ofctl takes it.
	Flow string
	// Foreign tells that the lane may leave to OVS what the rule matches.
	Foreign bool
	// Teaches tells that frames which the rule matches teach OVS more than where
	// their source is in their VLAN: each must go alone.
	Teaches bool
}

// words lists groups and rules.
func (p *Policy) words() (w words) {
	for _, group := range p.Groups {
		w.addIf(true, "add-group %q", group)
	}
	w.addIf(p.Overlaps, "overlaps")
	for _, r := range p.Rules {
		w.addIf(true, "add-flow %q", r.Flow)
	}
	return w
}

// foreign tells that the lane may leave frames to OVS.
func (p *Policy) foreign() bool {
	for _, r := range p.Rules {
		if r.Foreign {
			return true
		}
	}
	return p.Overlaps
}

// teaches tells that a frame may teach OVS more than its place.
func (p *Policy) teaches() bool {
	for _, r := range p.Rules {
		if r.Teaches {
			return true
		}
	}
	return false
}

// The tables that rules go on to. Nothing goes on to the last one, but a rule
// that learns adds rules to it.
var chainTables = []int{0, 10, 20}

const learnTable = 30

// policy makes the rules of a bridge.
func (g *generator) policy(bridge int) *Policy {
	p := &Policy{Overlaps: g.chance(8)}
	foreign, timeouts := g.chance(25), g.chance(8)
	tables := 1
	if g.chance(35) {
		tables += 1 + g.IntN(2)
	}
	for depth := range tables {
		last := depth == tables-1
		next := func() string {
			n := chainTables[depth+1+g.IntN(tables-depth-1)]
			return pick(g, []string{fmt.Sprintf("resubmit(,%d)", n), fmt.Sprintf("goto_table:%d", n)})
		}
		add := func(priority int, match, actions string, foreign, teaches bool) {
			head := fmt.Sprintf("table=%d,priority=%d", chainTables[depth], priority)
			p.Rules = append(p.Rules, FlowRule{join(head, match) + " actions=" + actions, foreign, teaches})
		}
		priority := 10
		for range 2 + g.IntN(12-3*tables) {
			if !p.Overlaps || g.chance(50) {
				priority += 1 + g.IntN(20)
			}
			match, actions := g.match(bridge), pick(g, []string{"drop", "NORMAL"})
			if !last && g.chance(50) {
				actions = next()
			}
			unknown, teaches := false, false
			if foreign && g.chance(25) {
				match, unknown = g.foreignMatch(match), true
			}
			if foreign && g.chance(25) {
				var a foreignAction
				a, unknown = g.foreignAction(bridge), true
				actions, teaches = a.actions, a.teaches
				if a.group != "" && len(p.Groups) == 0 {
					p.Groups = append(p.Groups, a.group)
				}
			}
			if timeouts && g.chance(30) { // frames pass now and then
				match, unknown = join(match, pick(g, []string{"idle_timeout=60", "idle_timeout=600", "hard_timeout=600"})), true
			}
			add(priority, match, actions, unknown, teaches)
		}
		switch {
		case !last && g.chance(80):
			add(0, "", next(), false, false)
		case g.chance(85):
			add(0, "", "NORMAL", false, false)
		case g.chance(40): // what no rule matches is dropped
			p.Rules[len(p.Rules)-1].Foreign = true
			add(5, "arp", "NORMAL", false, false)
		default:
			add(0, "", "drop", false, false)
			add(5, pick(g, []string{"arp", "ip", "ipv6", fmt.Sprintf("in_port=%d", g.ofport(bridge))}), "NORMAL", false, false)
		}
	}
	return p
}

// ofport is the OpenFlow number of a port of the bridge.
func (g *generator) ofport(bridge int) int {
	var all []int
	for _, p := range g.portsOf(bridge) {
		all = append(all, p+1)
	}
	for i, patch := range g.cfg.Patches {
		for end, b := range patch.Bridges {
			if b == bridge {
				all = append(all, patchPort(i, end))
			}
		}
	}
	return pick(g, all)
}

// match is a match that the lane knows: of the link, of what is behind it, or of
// both.
func (g *generator) match(bridge int) string {
	switch g.IntN(10) {
	case 0, 1:
		return g.linkMatch(bridge)
	case 2:
		return join(g.linkMatch(bridge), g.ipMatch())
	case 3, 4, 5: // a destination's own
		return join("dl_dst="+g.mac().String(), g.field(func() string { return "" }, g.broadMatch, g.broadMatch, g.ipMatch))
	case 6, 7:
		return g.broadMatch()
	}
	return g.ipMatch()
}

// broadMatch is a match that many frames have.
func (g *generator) broadMatch() string {
	return pick(g, []string{
		"tcp", "udp", "icmp", "tcp6", "udp6", "icmp6", "ip,nw_src=10.0.0.0/30", "ip,nw_dst=10.0.0.0/29", "ipv6,ipv6_dst=fd00::5254:0:0/126",
		"tcp,tp_dst=0/0x1", "udp,tp_src=0/0x1", "udp6,tp_src=0/0x1", "tcp6,tp_dst=80/0xfffe", "ip,nw_frag=no", "ip,nw_frag=yes", "ip,nw_frag=not_later",
		"ip,nw_frag=first", "ip,nw_frag=not_later", "ipv6,nw_frag=no", "ipv6,nw_frag=first", "ipv6,nw_frag=not_later", "ip,nw_tos=0", "ipv6,nw_tos=184", "ip,nw_ttl=64",
	})
}

// linkMatch is a match on addresses, tags, and where a frame comes from.
func (g *generator) linkMatch(bridge int) string {
	return g.field(
		func() string { return fmt.Sprintf("in_port=%d", g.ofport(bridge)) },
		func() string { return fmt.Sprintf("in_port=%d,dl_dst=%s", g.ofport(bridge), g.macMatch()) },
		func() string { return "dl_src=" + g.macMatch() },
		func() string { return "dl_dst=" + g.macMatch() },
		func() string { return "dl_dst=" + g.mac().String() },
		func() string { return fmt.Sprintf("dl_src=%s,dl_dst=%s", g.macMatch(), g.macMatch()) },
		func() string { return "dl_dst=01:00:00:00:00:00/01:00:00:00:00:00" },
		func() string { return "dl_dst=ff:ff:ff:ff:ff:ff" },
		func() string { return fmt.Sprintf("dl_vlan=%d", pick(g, g.vlans[1:])) },
		func() string { return "dl_vlan=0xffff" },
		func() string { return fmt.Sprintf("dl_vlan_pcp=%d", g.IntN(8)) },
		func() string { return "vlan_tci=0" },
		func() string { return fmt.Sprintf("vlan_tci=0x%x", 0x1000|pick(g, g.vlans[1:])) },
		func() string {
			return pick(g, []string{"vlan_tci=0x1000/0x1000", "vlan_tci=0/0x1000", "vlan_tci=0x9000/0x9000", "vlan_tci=0x2/0x2"})
		},
	)
}

// ipMatch is a match on what is behind the link's header.
func (g *generator) ipMatch() string {
	v6 := g.chance(45)
	name := func(v4 string) string { return map[bool]string{true: v4 + "6", false: v4}[v6] }
	ip := map[bool]string{true: "ipv6", false: "ip"}[v6]
	ports := func() string {
		return g.field(
			func() string { return "tp_dst=" + g.word16(pick(g, l4Ports)) },
			func() string { return "tp_src=" + g.word16(pick(g, l4Ports)) },
			func() string { return fmt.Sprintf("tp_src=%d,tp_dst=%s", pick(g, l4Ports), g.word16(pick(g, l4Ports))) },
			func() string { return "" },
		)
	}
	about := func(frags ...string) string {
		src, dst := "nw_src=", "nw_dst="
		if v6 {
			src, dst = "ipv6_src=", "ipv6_dst="
		}
		return g.field(
			func() string { return src + g.prefix(v6) },
			func() string { return dst + g.prefix(v6) },
			func() string { return join(src+g.prefix(v6), dst+g.prefix(v6)) },
			func() string { return fmt.Sprintf("nw_tos=%d", pick(g, trafficClasses)&^3) },
			func() string { return fmt.Sprintf("nw_ecn=%d", pick(g, trafficClasses)&3) },
			func() string { return fmt.Sprintf("nw_ttl=%d", pick(g, hopLimits)) },
			func() string {
				return pick(g, []string{"nw_frag=", "ip_frag="}) + pick(g, append(frags, "no", "yes", "first", "not_later"))
			},
		)
	}
	types := map[bool][]uint8{true: append(icmp6Types, 135, 136), false: icmpTypes}[v6]
	return g.field(
		func() string { return join(name("tcp"), ports()) },
		func() string { return join(name("tcp"), ports(), about()) },
		func() string { return join(name("udp"), ports()) },
		func() string { return join(name("udp"), ports(), about()) },
		func() string { return join(name("sctp"), ports()) },
		func() string { return join(name("icmp"), fmt.Sprintf("icmp_type=%d", pick(g, types))) },
		func() string {
			return join(name("icmp"), fmt.Sprintf("icmp_type=%d,icmp_code=%d", pick(g, types), g.IntN(3)))
		},
		func() string { return join(name("icmp"), about("later")) },
		func() string {
			return join(name("tcp"), "tcp_flags="+pick(g, []string{"+syn-ack", "+syn+ack", "-syn", "+rst", "0x12/0xfff", "ack", "+psh+ack", "0/0x3f", "+ece+cwr"}))
		},
		func() string { return join(ip, about("later", "later")) },
		func() string { return join(ip, about("later", "later")) },
		func() string { return join(ip, fmt.Sprintf("nw_proto=%d", pick(g, protocols))) },
		func() string { return ip },
		func() string {
			return pick(g, []string{"arp", "rarp", "dl_type=0x88b5", "dl_type=0x88cc", "dl_type=0x05ff", "mpls"})
		},
	)
}
