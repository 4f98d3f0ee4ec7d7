// SPDX-License-Identifier: Apache-2.0

package report

import (
	"context"
	"fmt"
	"strings"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/dpflow"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
	"github.com/ovs-xdp/ovs-xdp/sync/reconcile"
)

// Megaflow is what OVS's datapath has for a frame of offload/why on a bridge that
// uses flows, where the lane has nothing.
type Megaflow struct {
	// Reason is why it stays with OVS (ovs/dpflow: conntrack, l4-match, …), "" when
	// it could be on the lane; Detail is the part of its text that is to blame, or
	// its text.
	Reason string `json:"reason"`
	Detail string `json:"detail"`
	// Also has further reasons.
	Also []string `json:"also,omitempty"`
}

// flowFrame makes the frame that Why is about on a bridge that uses flows: from a
// station on the port that has a flow to dst, or else from any.
func flowFrame(t *plan.Tables, in *ovs.Port, lp *plan.Port, vlan ovs.VLAN, dst ovs.MAC) plan.Frame {
	f := plan.Frame{IfIndex: lp.IfIndex, VID: vlan, Dst: dst, Len: 60}
	if in.Tag != nil && vlan == *in.Tag && lp.Rule.Flows && in.VLANMode != "trunk" {
		f.VID = 0
	}
	for i := range t.Flows {
		if w := &t.Flows[i]; w.IfIndex == lp.IfIndex && w.Dst == dst && w.FromVID == f.VID && w.EtherType == dpflow.IPv4 {
			f.Src, f.PCP = w.Src, w.FromPCP
			return f
		}
	}
	f.Src = sourceOn(t, lp.Rule.InDomain(), 0, lp.IfIndex, dst)
	return f
}

// megaflow finds OVS's megaflow for frames to a destination from a port, and a
// source that it is for; nil when there is none now.
func megaflow(ctx context.Context, rundir, bridge string, f plan.Frame, inPort string) (*Megaflow, ovs.MAC, error) {
	flows, err := reconcile.Flows(ctx, rundir, bridge)
	if err != nil {
		return nil, ovs.MAC{}, err
	}
	var found *dpflow.Flow
	best := 0
	for i := range flows {
		m := &flows[i].Match
		if m.InPort != inPort || m.Tag.Present != (f.VID != 0) || m.Tag.VID != f.VID&m.Tag.VIDMask || flows[i].Again || flows[i].Refusal == dpflow.Fragments {
			continue
		}
		fits := 2 + fit(m.Dst, f.Dst, 3) + fit(m.Src, f.Src, 1)
		if fit(m.Dst, f.Dst, 3) >= 0 && fits > best {
			found, best = &flows[i], fits
		}
	}
	if found == nil {
		return nil, ovs.MAC{}, nil
	}
	out := &Megaflow{Reason: string(found.Refusal), Detail: found.Detail}
	for _, reason := range found.Also {
		out.Also = append(out.Also, string(reason))
	}
	if found.Lane != nil {
		out.Detail = found.Lane.String()
	}
	return out, found.Match.Src, nil
}

// fit tells how well an address that was read of a flow fits, its weight at most; 0
// for one that does not count in the flow, and -1 for another one.
func fit(read, want ovs.MAC, weight int) int {
	switch read {
	case want:
		return weight
	case ovs.MAC{}:
		return 0
	}
	return -1
}

// explainFlow says why the lane has no flow for a frame.
func (w *Why) explainFlow(err error) {
	switch {
	case err != nil:
		w.Detail = fmt.Sprintf("OVS's megaflows can't be read: %v", err)
	case w.Megaflow == nil:
		w.Detail = "OVS has no megaflow for such frames now: it makes one when the first comes"
	case w.Megaflow.Reason == "":
		w.Detail = "OVS has a megaflow that the lane has not, or whose port or stations are not on it: " + w.Megaflow.Detail
	default:
		w.Detail = fmt.Sprintf("OVS's megaflow for such frames stays with OVS: %s (%s)", w.Megaflow.Reason, w.Megaflow.Detail)
		if also := strings.Join(w.Megaflow.Also, ", "); also != "" {
			w.Detail += ", " + also
		}
	}
}
