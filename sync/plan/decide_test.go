// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// Every branch of Decide, over tables that Build never makes as well: the
// kernel's may be between two plans.
func TestDecide(t *testing.T) {
	open := func(bridge string, change func(*Rule)) Rule {
		r := Rule{Bridge: bridge, Watch: true, Ingress: true, Egress: true, VLANs: ovs.VLANs(0, 10), MaxFrame: 1514}
		if change != nil {
			change(&r)
		}
		return r
	}
	mac := func(n byte) ovs.MAC { return ovs.MAC{0x52, 0x54, 5: n} }
	at := func(n byte, ifindex int) Row {
		return Row{Key: Key{Bridge: "br0", MAC: mac(n)}, IfIndex: ifindex, Target: true}
	}
	base := Tables{
		Ports: []Port{
			{IfIndex: 1, Mode: Native, Rule: open("br0", nil)},
			{IfIndex: 2, Mode: Native, Rule: open("br0", nil)},
			{IfIndex: 3, Mode: Native, Rule: open("br1", nil)},
		},
		Rows: []Row{at(1, 1), at(2, 2), at(3, 3), at(4, 4)},
	}
	for _, tt := range []struct {
		name string
		// change alters the rules of ports 1 and 2 and the rows of stations 1
		// and 2.
		change func(in, out *Port, src, dst *Row)
		frame  Frame
		want   Verdict
	}{
		{name: "lane", want: Verdict{IfIndex: 2, Reason: "lane"}},
		{name: "no port", frame: Frame{IfIndex: 9}, want: pass("port-closed")},
		{name: "no program", change: func(in, _ *Port, _, _ *Row) { in.Mode = Target }, want: pass("port-closed")},
		{name: "not watched", change: func(in, _ *Port, _, _ *Row) { in.Rule.Watch = false }, want: pass("port-closed")},
		{name: "watched only", change: func(in, _ *Port, _, _ *Row) { in.Rule.Ingress = false }, want: pass("port-closed")},
		{name: "VLAN not carried", frame: Frame{VID: 20}, want: pass("vlan")},
		{name: "tag on an access port", change: func(in, _ *Port, _, _ *Row) { in.Rule.VLANMode, in.Rule.VID = Access, 10 }, frame: Frame{VID: 10}, want: pass("vlan")},
		{name: "group source", frame: Frame{Src: ovs.MAC{1}}, want: pass("group-source")},
		{name: "source not known", frame: Frame{Src: mac(8)}, want: pass("new-source")},
		{name: "source of another VLAN", frame: Frame{VID: 10}, want: pass("new-source")},
		{name: "source elsewhere", frame: Frame{Src: mac(2), Dst: mac(1)}, want: pass("moved-source")},
		{name: "source marked", change: func(_, _ *Port, src, _ *Row) { src.Moved = true }, want: pass("moved-source")},
		{name: "group", frame: Frame{Dst: ovs.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}, want: pass("group")},
		{name: "destination not known", frame: Frame{Dst: mac(8)}, want: pass("unknown")},
		{name: "destination not in the canary", change: func(_, _ *Port, _, dst *Row) { dst.Target = false }, want: pass("unknown")},
		{name: "destination marked", change: func(_, _ *Port, _, dst *Row) { dst.Moved = true }, want: pass("moved")},
		{name: "same port", frame: Frame{Dst: mac(1)}, want: pass("hairpin")},
		{name: "destination's port has left", frame: Frame{Dst: mac(4)}, want: pass("no-device")},
		{name: "destination's port is on another bridge by now", frame: Frame{Dst: mac(3)}, want: pass("egress-closed")},
		{name: "destination's port is closed", change: func(_, out *Port, _, _ *Row) { out.Rule.Egress = false }, want: pass("egress-closed")},
		{name: "destination's port is all zero", change: func(_, out *Port, _, _ *Row) { out.Rule = Rule{} }, want: pass("egress-closed")},
		{name: "destination's device loses frames", change: func(_, out *Port, _, _ *Row) { out.Loses = true }, want: pass("loses-frames")},
		{name: "destination's port is closed and its device loses frames", change: func(_, out *Port, _, _ *Row) { out.Rule.Egress, out.Loses = false, true }, want: pass("egress-closed")},
		{name: "source's device loses frames", change: func(in, _ *Port, _, _ *Row) { in.Loses = true }, want: Verdict{IfIndex: 2, Reason: "lane"}},
		{name: "protected", change: func(in, out *Port, _, _ *Row) { in.Rule.Protected, out.Rule.Protected = true, true }, want: pass("protected")},
		{name: "too long", frame: Frame{Len: 1515}, want: pass("too-long")},
		{name: "observe", change: func(in, _ *Port, _, _ *Row) { in.Rule.Observe = true }, want: pass("would")},
		{name: "observe counts by the port that a frame comes from", change: func(_, out *Port, _, _ *Row) { out.Rule.Observe = true }, want: Verdict{IfIndex: 2, Reason: "lane"}},
		{
			name: "untagged into a native VLAN, out with its tag",
			change: func(in, _ *Port, src, dst *Row) {
				in.Rule.VLANMode, in.Rule.VID, src.VLAN, dst.VLAN = NativeUntagged, 10, 10, 10
			},
			want: Verdict{IfIndex: 2, VID: 10, Reason: "lane"},
		},
		{
			name: "tagged in, out of a native-untagged port without",
			change: func(_, out *Port, src, dst *Row) {
				out.Rule.VLANMode, out.Rule.VID, src.VLAN, dst.VLAN = NativeUntagged, 10, 10, 10
			},
			frame: Frame{VID: 10}, want: Verdict{IfIndex: 2, Reason: "lane"},
		},
		{
			name: "tagged in, out of a native-tagged port with it",
			change: func(_, out *Port, src, dst *Row) {
				out.Rule.VLANMode, out.Rule.VID, src.VLAN, dst.VLAN = NativeTagged, 10, 10, 10
			},
			frame: Frame{VID: 10}, want: Verdict{IfIndex: 2, VID: 10, Reason: "lane"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tables := Tables{Ports: append([]Port{}, base.Ports...), Rows: append([]Row{}, base.Rows...)}
			if tt.change != nil {
				tt.change(&tables.Ports[0], &tables.Ports[1], &tables.Rows[0], &tables.Rows[1])
			}
			tables.Sort()
			f := tt.frame
			if f.IfIndex == 0 {
				f.IfIndex = 1
			}
			if f.Src.IsZero() {
				f.Src = mac(1)
			}
			if f.Dst.IsZero() {
				f.Dst = mac(2)
			}
			if f.Len == 0 {
				f.Len = 60
			}
			if diff := cmp.Diff(tt.want, tables.Decide(f)); diff != "" {
				t.Errorf("verdict (-want +got):\n%s", diff)
			}
		})
	}
}
