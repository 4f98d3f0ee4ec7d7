// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/bpf"
	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// What is written into the kernel's table comes back as the same flow.
func TestFlowsComeBack(t *testing.T) {
	key := plan.FlowKey{IfIndex: 3, EtherType: 0x86dd, Src: ovs.MAC{2, 5: 1}, Dst: ovs.MAC{2, 5: 2}}
	tagged := key
	tagged.Tagged, tagged.FromVID, tagged.FromPCP = true, 4095, 7
	for _, f := range []plan.Flow{
		{FlowKey: key, Egress: 4},
		{FlowKey: key, Egress: 4, Tag: plan.PushTag, VID: 1, PCP: 5, KeepAlive: time.Second},
		{FlowKey: tagged, Egress: 4, Tag: plan.PopTag},
		{FlowKey: tagged, Egress: 4, Tag: plan.SetTag, VID: 4094, PCP: 1},
	} {
		got := flowOf(bpf.Flow{FlowKey: classOf(f.FlowKey), Egress: f.Egress, Tag: tagActions[f.Tag], PushTCI: tci(f.VID, f.PCP), KeepAlive: f.KeepAlive})
		if diff := cmp.Diff(f, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}
