// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"errors"
	"maps"

	"github.com/ovs-xdp/ovs-xdp/bpf"
	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// tagActions gives those of the plan in the words of the tables.
var tagActions = map[plan.TagAction]bpf.TagAction{
	plan.KeepTag: bpf.TagKeep, plan.PopTag: bpf.TagPop, plan.PushTag: bpf.TagPush, plan.SetTag: bpf.TagSet,
}

// tci packs a tag.
func tci(vid ovs.VLAN, pcp uint8) uint16 { return uint16(vid) | uint16(pcp)<<13 }

func classOf(k plan.FlowKey) bpf.FlowKey {
	return bpf.FlowKey{IfIndex: k.IfIndex, Tagged: k.Tagged, TCI: tci(k.FromVID, k.FromPCP), Type: k.EtherType, Src: k.Src, Dst: k.Dst}
}

// flowOf is a flow of the kernel's in the words of the plan.
func flowOf(f bpf.Flow) plan.Flow {
	of := plan.Flow{
		FlowKey: plan.FlowKey{
			IfIndex: f.IfIndex, Tagged: f.Tagged, FromVID: ovs.VLAN(f.TCI & 0xfff), FromPCP: uint8(f.TCI >> 13),
			EtherType: f.Type, Src: f.Src, Dst: f.Dst,
		},
		Egress: f.Egress, VID: ovs.VLAN(f.PushTCI & 0xfff), PCP: uint8(f.PushTCI >> 13), KeepAlive: f.KeepAlive,
	}
	for action, number := range tagActions {
		if number == f.Tag {
			of.Tag = action
		}
	}
	return of
}

func (in *installer) putFlow(f plan.Flow, out *outcome) error {
	err := in.lane.PutFlow(bpf.Flow{
		FlowKey: classOf(f.FlowKey), Egress: f.Egress, Tag: tagActions[f.Tag], PushTCI: tci(f.VID, f.PCP), KeepAlive: f.KeepAlive,
	})
	switch {
	case errors.Is(err, bpf.ErrFull):
		out.fullFlows++
		return nil
	case err != nil:
		return err
	}
	in.flows[f.FlowKey] = f
	return nil
}

func (in *installer) deleteFlow(k plan.FlowKey) {
	in.lane.DeleteFlow(classOf(k))
	delete(in.flows, k)
}

// dropFlowsOf forgets the flows from and to a device, which go with it.
func (in *installer) dropFlowsOf(ifindex int) {
	maps.DeleteFunc(in.flows, func(k plan.FlowKey, f plan.Flow) bool { return k.IfIndex == ifindex || f.Egress == ifindex })
}

// adoptFlows reads back what another process has written.
func (in *installer) adoptFlows() {
	clear(in.flows)
	for _, f := range in.lane.Flows() {
		of := flowOf(f)
		in.flows[of.FlowKey] = of
	}
}

// usesFlows tells whether the domain of this number is one of bridges that use
// flows.
func (in *installer) usesFlows(number uint8) bool {
	for _, p := range in.ports {
		if p.Rule.Flows && in.numbers[p.Rule.InDomain()] == number {
			return true
		}
	}
	return false
}

// Flows returns what is in the kernel's table of flows.
func (d *Daemon) Flows() []plan.Flow {
	var flows []plan.Flow
	for _, f := range d.lane.Flows() {
		flows = append(flows, flowOf(f))
	}
	return flows
}
