// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/dpflow"
)

// flowPort is a port of a bridge that uses flows.
type flowPort struct {
	*lanePort
	bridge string
	// domain is Rule.InDomain of its devices.
	domain string
	keys   bridgeKeys
	// tag is Port:tag, the VLAN that its untagged frames are chosen by.
	tag       ovs.VLAN
	keepAlive time.Duration
}

// admits tells whether frames from the port may take the lane.
func (p *flowPort) admits() bool {
	return slices.ContainsFunc(p.devices, func(d Port) bool { return d.Rule.Ingress })
}

// flowRule is the rule of a port whose frames flows decide: how it carries VLANs
// is in them.
func (b *builder) flowRule(r Rule) Rule {
	return Rule{Bridge: r.Bridge, Domain: b.lane.domain, Watch: r.Watch, Ingress: r.Ingress, Egress: r.Egress, Flows: true, VLANs: ovs.AllVLANs()}
}

// noteFlowPorts keeps the ports of a bridge, by OpenFlow port, for flows.
func (b *builder) noteFlowPorts(br *ovs.Bridge, keys bridgeKeys, ports map[uint32]*lanePort, keepAlive time.Duration) {
	for i := range br.Ports {
		p := &br.Ports[i]
		if len(p.Interfaces) != 1 {
			continue
		}
		lp := ports[uint32(p.Interfaces[0].OFPort)]
		if lp == nil || lp.subject != br.Name+"/"+p.Name {
			continue
		}
		fp := flowPort{lanePort: lp, bridge: br.Name, domain: b.lane.domain, keys: keys, keepAlive: keepAlive}
		if p.Tag != nil {
			fp.tag = *p.Tag
		}
		b.flowPorts[p.Interfaces[0].Name] = fp
	}
}

// flows turns megaflows into flows, and into rows of the stations that they are
// for.
func (b *builder) flows(s *ovs.Snapshot, lanes []lane) {
	domains := make(map[string][]dpflow.Flow)
	var order []string
	for i := range s.Bridges {
		if l := &lanes[i]; l.Lane == FlowLane {
			if _, ok := domains[l.domain]; !ok {
				order = append(order, l.domain)
			}
			domains[l.domain] = append(domains[l.domain], b.policy.Flows[s.Bridges[i].Name]...)
		}
	}
	for _, domain := range order {
		b.domainFlows(domain, domains[domain])
	}
	b.fitFlows()
}

// domainFlows is flows for the megaflows of one domain.
func (b *builder) domainFlows(domain string, megaflows []dpflow.Flow) {
	var all []Flow
	var unclear []FlowKey
	for i := range megaflows {
		f := &megaflows[i]
		in, ok := b.flowPorts[f.Match.InPort]
		if !ok || in.domain != domain || f.Refusal == dpflow.Fragments || f.Again {
			continue // fragments pass; what has been recirculated was decided before
		}
		flow, ok := b.flow(&in, f)
		if all = append(all, flow); !ok {
			unclear = append(unclear, flow.FlowKey)
		}
	}
	at := stationsOf(domain)
	for _, flow := range agreed(all, unclear) {
		b.Tables.Flows = append(b.Tables.Flows, flow)
		at.note(&flow)
	}
	b.Tables.Rows = append(b.Tables.Rows, at.rows()...)
}

// agreed returns flows, each once, but for those of which two do different things, or
// whose key is among those that are unclear: OVS treats a part of the class otherwise.
func agreed(all []Flow, unclear []FlowKey) []Flow {
	sortFlows(all)
	bad := make(map[FlowKey]bool, len(unclear))
	for _, k := range unclear {
		bad[k] = true
	}
	kept := all[:0]
	for i := 0; i < len(all); {
		n, same := i+1, true
		for ; n < len(all) && all[n].FlowKey == all[i].FlowKey; n++ {
			same = same && all[n] == all[i]
		}
		if same && !bad[all[i].FlowKey] {
			kept = append(kept, all[i])
		}
		i = n
	}
	return kept
}

// sortFlows sorts by key.
func sortFlows(flows []Flow) {
	slices.SortFunc(flows, func(x, y Flow) int { return x.compare(&y.FlowKey) })
}

// flow makes the flow of a megaflow from a port; false when frames of its key stay
// with OVS.
func (b *builder) flow(in *flowPort, f *dpflow.Flow) (Flow, bool) {
	m := &f.Match
	flow := Flow{KeepAlive: in.keepAlive, FlowKey: FlowKey{
		IfIndex: in.devices[0].IfIndex, Tagged: m.Tag.Present, FromVID: m.Tag.VID, FromPCP: m.Tag.PCP,
		EtherType: m.EtherType, Src: m.Src, Dst: m.Dst,
	}}
	l := f.Lane
	if l == nil {
		return flow, false
	}
	out, ok := b.flowPorts[l.Output]
	vlan, left := in.tag, flow.FromVID
	if flow.Tagged {
		vlan = flow.FromVID
	}
	switch {
	case l.Pop && l.Push.Present:
		flow.Tag, left = SetTag, l.Push.VID
	case l.Pop:
		flow.Tag, left = PopTag, 0
	case l.Push.Present:
		flow.Tag, left = PushTag, l.Push.VID
	}
	if flow.VID, flow.PCP = l.Push.VID, l.Push.PCP; left == 0 && ok {
		left = out.tag
	}
	switch {
	case !in.admits() || !ok || out.domain != in.domain || out.subject == in.subject:
	case flow.Tagged && (m.Tag.VIDMask != dpflow.ExactVID || flow.FromVID == 0), l.Push.Present && l.Push.VID == 0:
		// Tags that stand for several, and priority tags.
	case m.Src == m.Dst || m.Src.IsZero() || m.Dst.IsZero() || m.Src.IsGroup() || m.Dst.IsGroup():
	case !chosen(m.Src, in.keys, out.keys) || !chosen(m.Dst, in.keys, out.keys):
	case !in.keys.vlans.Has(vlan) || !out.keys.vlans.Has(left):
	default:
		flow.Egress = out.devices[0].IfIndex
		return flow, true
	}
	return flow, false
}

// chosen tells whether a station is one that the lane is for, on both bridges.
func chosen(m ovs.MAC, in, out bridgeKeys) bool {
	return inCanary(m, in.canary) && inCanary(m, out.canary)
}

// fitFlows leaves out flows beyond the room in the kernel's table, and counts them.
// No port takes the room of another that needs no more than its share.
func (b *builder) fitFlows() {
	room, flows := b.policy.FlowRows, b.Tables.Flows
	if room <= 0 || len(flows) <= room {
		return
	}
	sortFlows(flows)
	need := make(map[int]int)
	for _, f := range flows {
		need[f.IfIndex]++
	}
	share := shares(need, room)
	b.Tables.Flows = slices.DeleteFunc(flows, func(f Flow) bool {
		share[f.IfIndex]--
		return share[f.IfIndex] < 0
	})
	b.UnfitFlows = len(flows) - len(b.Tables.Flows)
}
