// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// Frame is what a decision depends on, but for the payload: the frame is taken
// for IPv4 or IPv6 with a finished checksum.
type Frame struct {
	// IfIndex is the device that the frame came from.
	IfIndex int
	// VID and PCP are those of the frame's 802.1Q tag; VID 0 when it has none.
	VID      ovs.VLAN
	PCP      uint8
	Src, Dst ovs.MAC
	// Len is in bytes, Ethernet header included, tag not.
	Len int
	// Bucket is what its addresses and ports hash to, for a bond: 0 to Legs-1.
	Bucket int
	// Carries holds what it carries, EtherType (0: IPv4) and up; Any tells that it
	// stands for frames that carry any IPv4 or IPv6.
	Carries ovs.Fields
	Any     bool
}

// Verdict is what the lane does with a frame.
type Verdict struct {
	// IfIndex is the device that the frame is redirected to; 0 passes it.
	IfIndex int
	// VID is the tag that it leaves with, 0 for none, and PCP its priority.
	VID ovs.VLAN
	PCP uint8
	// Reason names the branch as the program counts it: "lane", "would", or
	// why the frame passed.
	Reason string
	// Drops tells that the frame is dropped.
	Drops bool
	// Depends tells that it depends on what the frame carries (Frame.Any).
	Depends bool
}

func pass(reason string) Verdict { return Verdict{Reason: reason} }

// Decide walks the program's decision (lane_decide in bpf/src/lane.bpf.c) over
// the tables, keep-alive frames and the lease left out.
func (t *Tables) Decide(f Frame) Verdict {
	in := t.Port(f.IfIndex)
	if in == nil || in.Mode == Target || !in.Rule.Watch {
		return pass("port-closed")
	}
	bundle := f.IfIndex
	if in.Rule.Bundle != 0 {
		bundle = in.Rule.Bundle
	}
	left := t.ruling(in.Rule, f)
	if left.drops && in.Rule.Observe {
		return pass("would")
	} else if left.drops {
		return Verdict{Reason: left.reason, Drops: true}
	}
	vlan, ok := vlanOf(in.Rule, f)
	if !ok {
		return pass("vlan")
	}
	if f.Src.IsGroup() {
		return pass("group-source")
	}
	src := t.Row(Key{in.Rule.InDomain(), vlan, f.Src})
	switch {
	case src == nil:
		return pass("new-source")
	case src.IfIndex != bundle && in.Rule.Reflects:
		return pass("reflected")
	case src.IfIndex != bundle && src.Declared && in.Rule.Declared:
		return pass("spoofed-source")
	case src.IfIndex != bundle || src.Moved:
		return pass("moved-source")
	case left.reason != "":
		return Verdict{Reason: left.reason, Depends: left.depends}
	case in.Rule.Declared && !in.Rule.MAC.IsZero() && f.Src != in.Rule.MAC:
		return pass("foreign-address")
	case f.Dst.IsGroup():
		return pass("group")
	case !in.Rule.Ingress:
		return pass("port-closed")
	case src.Mirrored:
		return pass("mirrored")
	}
	var flow *Flow
	if in.Rule.Flows {
		if flow = t.Flow(f.class(bundle)); flow == nil {
			return pass("no-flow")
		}
	}
	dst := t.Row(Key{in.Rule.InDomain(), vlan, f.Dst})
	switch {
	case dst == nil || !dst.Target:
		return pass("unknown")
	case dst.Moved:
		return pass("moved")
	case dst.IfIndex == bundle:
		return pass("hairpin")
	case flow != nil && flow.Egress != dst.IfIndex:
		return pass("stale-flow")
	}
	out := t.Port(dst.IfIndex)
	if out != nil && out.Rule.Legs != [Legs]int{} {
		out = t.Port(out.Rule.Legs[f.Bucket%Legs])
	}
	switch {
	case out == nil:
		return pass("no-device")
	case !out.Rule.Egress || out.Rule.InDomain() != in.Rule.InDomain():
		return pass("egress-closed")
	case out.Loses:
		return pass("loses-frames")
	case in.Rule.Protected && out.Rule.Protected:
		return pass("protected")
	case f.Len > out.Rule.MaxFrame || f.Len > in.Rule.MaxFrame:
		return pass("too-long")
	case in.Rule.Observe, flow != nil && out.Rule.Observe:
		return pass("would")
	}
	v := Verdict{IfIndex: out.IfIndex, VID: vlan, PCP: f.PCP, Reason: "lane"}
	if flow != nil {
		if v.VID = f.VID; flow.Tag != KeepTag {
			v.VID, v.PCP = flow.VID, flow.PCP
		}
		return v
	}
	if out.Rule.VLANMode == Access || (out.Rule.VLANMode == NativeUntagged && vlan == out.Rule.VID) {
		v.VID, v.PCP = 0, 0
	}
	return v
}

// vlanOf is the VLAN that the stations of a frame are looked for in; false when
// the frame passes.
func vlanOf(in Rule, f Frame) (ovs.VLAN, bool) {
	if in.Flows {
		return 0, true
	}
	vlan := f.VID
	if vlan == 0 {
		vlan = in.VID
	}
	return vlan, (in.VLANMode != Access || f.VID == 0) && in.VLANs.Has(vlan)
}

// class is the key of the frame's flow, from a port whose rows name bundle.
func (f Frame) class(bundle int) FlowKey {
	return FlowKey{
		IfIndex: bundle, Tagged: f.VID != 0, FromVID: f.VID, FromPCP: f.PCP,
		EtherType: cmp.Or(f.Carries.EtherType, typeIPv4), Src: f.Src, Dst: f.Dst,
	}
}
