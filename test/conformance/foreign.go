// SPDX-License-Identifier: Apache-2.0

package conformance

import "fmt"

// What the lane does not model: it has to leave to OVS what it may be about.

// foreignMatch adds a field that the lane does not know to a match, or takes one
// in its place.
func (g *generator) foreignMatch(match string) string {
	if g.chance(40) {
		return pick(g, []string{
			"arp,arp_op=1", "arp,arp_spa=10.0.0.0/29", "arp,arp_tpa=10.0.0.2", "arp,arp_sha=52:54:00:00:00:02", "arp,arp_op=2,arp_tha=52:54:00:00:00:01",
			"icmp6,icmp_type=135,icmp_code=0,nd_target=fd00::5254:0:1", "icmp6,icmp_type=136,icmp_code=0", "ipv6,ipv6_label=0", "ipv6,ipv6_label=0x1",
			"in_port=LOCAL", "mpls,mpls_label=0", "ip,nw_proto=2,nw_ecn=0",
		})
	}
	return join(match, pick(g, []string{
		"ct_state=-trk", "ct_state=+trk", "ct_state=+est+trk", "ct_mark=0", "ct_zone=0", "reg0=0", "reg0=5", "reg1=0/0x1", "metadata=0", "metadata=1",
		"tun_id=0", "pkt_mark=0", "pkt_mark=1", "tun_src=192.0.2.1",
	}))
}

// foreignAction is what a rule does that the lane does not know, and the group that
// it uses.
type foreignAction struct {
	actions, group string
	teaches        bool // as in FlowRule
}

func (g *generator) foreignAction(bridge int) foreignAction {
	out := func() int { return g.ofport(bridge) }
	vid := func() int { return int(pick(g, g.vlans[1:])) }
	plain := func(format string, args ...any) foreignAction {
		return foreignAction{actions: fmt.Sprintf(format, args...)}
	}
	// That OVS learns in another VLAN, or a rule, makes each frame go alone:
	// these are fewer.
	if g.chance(15) {
		teaching := []foreignAction{
			plain("mod_vlan_vid:%d,NORMAL", vid()),
			plain("load:0->NXM_OF_VLAN_TCI[],NORMAL"),
			plain("mod_dl_src:%s,NORMAL", g.mac()),
			plain("resubmit(%d,)", out()),
			plain("learn(table=%d,priority=3,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[]),NORMAL", learnTable),
			plain("learn(table=0,priority=3,dl_type=0x800,NXM_OF_ETH_SRC[],load:0->NXM_NX_REG0[]),NORMAL"),
		}
		a := pick(g, teaching)
		a.teaches = true
		return a
	}
	if g.chance(20) { // what looks most like NORMAL
		return plain("NORMAL,output:%d", out())
	}
	return pick(g, []func() foreignAction{
		func() foreignAction { return plain("output:%d", out()) },
		func() foreignAction { return plain("output:%d,output:%d", out(), out()) },
		func() foreignAction { return plain("output:%d,NORMAL", out()) },
		func() foreignAction { return plain("load:0->NXM_OF_VLAN_TCI[],output:%d", out()) },
		func() foreignAction { return plain("mod_vlan_vid:%d,output:%d", vid(), out()) },
		func() foreignAction {
			return plain("push_vlan:0x8100,set_field:%d->vlan_vid,output:%d", 4096+vid(), out())
		},
		func() foreignAction { return plain("mod_dl_dst:%s,NORMAL", g.mac()) },
		func() foreignAction {
			return plain("mod_dl_dst:%s,resubmit(,%d)", g.mac(), chainTables[len(chainTables)-1])
		},
		func() foreignAction { return plain("mod_vlan_pcp:3,output:%d", out()) },
		func() foreignAction { return plain("load:5->NXM_NX_REG0[],resubmit(,%d)", chainTables[1]) },
		func() foreignAction { return plain("resubmit(,%d),resubmit(,%d)", chainTables[1], chainTables[2]) },
		func() foreignAction { return plain("resubmit(,%d),NORMAL", learnTable) },
		func() foreignAction { return plain("set_queue:1,NORMAL") },
		func() foreignAction { return plain("note:00.01.02,NORMAL") },
		func() foreignAction { return plain("FLOOD") },
		func() foreignAction { return plain("ALL") },
		func() foreignAction { return plain("LOCAL") },
		func() foreignAction { return plain("IN_PORT") },
		func() foreignAction { return plain("NORMAL,CONTROLLER:64") },
		func() foreignAction { return plain("NORMAL,NORMAL") },
		func() foreignAction {
			a := plain("group:1")
			a.group = fmt.Sprintf("group_id=1,type=all,bucket=actions=output:%d,bucket=actions=output:%d", out(), out())
			return a
		},
		func() foreignAction {
			a := plain("group:1")
			a.group = fmt.Sprintf("group_id=1,type=indirect,bucket=actions=output:%d", out())
			return a
		},
	})()
}
