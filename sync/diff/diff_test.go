// SPDX-License-Identifier: Apache-2.0

package diff

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// port makes an open trunk port of a bridge; change alters it.
func port(ifindex int, bridge string, change ...func(*plan.Port)) plan.Port {
	p := plan.Port{
		IfIndex: ifindex, Name: names[ifindex], Mode: plan.Native,
		Rule: plan.Rule{
			Bridge: bridge, Watch: true, Ingress: true, Egress: true,
			VLANs: ovs.AllVLANs(), MaxFrame: 1514,
		},
	}
	for _, c := range change {
		c(&p)
	}
	return p
}

var names = map[int]string{1: "eth0", 2: "tap1", 3: "tap2", 4: "tap3"}

func target(p *plan.Port)   { p.Mode, p.Rule.Watch, p.Rule.Ingress = plan.Target, false, false }
func observed(p *plan.Port) { p.Rule.Observe = true }

// shut makes a port as ClosePort leaves it on the daemon's books.
func shut(p *plan.Port) { p.Rule = plan.Rule{Bridge: p.Rule.Bridge} }

func access(vid ovs.VLAN) func(*plan.Port) {
	return func(p *plan.Port) {
		p.Rule.VLANMode, p.Rule.VID, p.Rule.VLANs = plan.Access, vid, ovs.VLANs(vid)
	}
}

// row makes the row of VM n.
func row(n byte, bridge string, vlan ovs.VLAN, ifindex int, change ...func(*plan.Row)) plan.Row {
	r := plan.Row{
		Key:     plan.Key{Bridge: bridge, VLAN: vlan, MAC: ovs.MAC{0x52, 0x54, 0, 0, 0, n}},
		IfIndex: ifindex, Target: true,
	}
	for _, c := range change {
		c(&r)
	}
	return r
}

// flow makes a flow that leaves the tag alone, of IPv4 from VM src to VM dst.
func flow(ifindex int, vid ovs.VLAN, src, dst byte, egress int) plan.Flow {
	return plan.Flow{
		FlowKey: plan.FlowKey{IfIndex: ifindex, Tagged: vid != 0, FromVID: vid, EtherType: 0x0800, Src: row(src, "", 0, 0).MAC, Dst: row(dst, "", 0, 0).MAC},
		Egress:  egress,
	}
}

func moved(r *plan.Row)      { r.Moved = true }
func sourceOnly(r *plan.Row) { r.Target = false }

func tables(ports []plan.Port, rows ...plan.Row) plan.Tables {
	t := plan.Tables{Ports: slices.Clone(ports), Rows: slices.Clone(rows)}
	t.Sort()
	return t
}

func withFlows(t plan.Tables, flows ...plan.Flow) plan.Tables {
	t.Flows = flows
	t.Sort()
	return t
}

func TestOps(t *testing.T) {
	both := []plan.Port{port(1, "br0"), port(2, "br0")}
	for _, tt := range []struct {
		name       string
		have, want plan.Tables
		ops        []string
	}{
		{name: "nothing at all"},
		{
			name: "nothing to do",
			have: tables(both, row(1, "br0", 0, 2)), want: tables(both, row(1, "br0", 0, 2)),
		},
		{
			name: "first look: ports are there before the rows that point at them, and closed until all are",
			want: tables(both, row(1, "br0", 0, 2), row(9, "br0", 0, 1)),
			ops: []string{
				"add port eth0", "add port tap1", "set rule eth0", "set rule tap1",
				"put row br0 VLAN 0 52:54:00:00:00:01", "put row br0 VLAN 0 52:54:00:00:00:09",
			},
		},
		{
			name: "last look: closed first, no row outlives its port",
			have: tables(both, row(1, "br0", 0, 2), row(9, "br0", 0, 1, moved)),
			ops: []string{
				"close port eth0", "close port tap1",
				"delete row br0 VLAN 0 52:54:00:00:00:01", "delete row br0 VLAN 0 52:54:00:00:00:09",
				"remove port eth0", "remove port tap1",
			},
		},
		{
			name: "a VM's device goes",
			have: tables(both, row(1, "br0", 0, 2), row(9, "br0", 0, 1)),
			want: tables(both[:1], row(9, "br0", 0, 1)),
			ops:  []string{"close port tap1", "delete row br0 VLAN 0 52:54:00:00:00:01", "remove port tap1"},
		},
		{
			name: "a station is learned",
			have: tables(both, row(9, "br0", 0, 1)), want: tables(both, row(9, "br0", 0, 1), row(1, "br0", 0, 2)),
			ops: []string{"put row br0 VLAN 0 52:54:00:00:00:01"},
		},
		{
			name: "a station is forgotten",
			have: tables(both, row(9, "br0", 0, 1), row(1, "br0", 0, 2)), want: tables(both, row(9, "br0", 0, 1)),
			ops: []string{"delete row br0 VLAN 0 52:54:00:00:00:01"},
		},
		{
			name: "a station moved, as OVS alone saw: marked before it is written anew",
			have: tables(both, row(1, "br0", 0, 2)), want: tables(both, row(1, "br0", 0, 1)),
			ops: []string{"mark row br0 VLAN 0 52:54:00:00:00:01", "put row br0 VLAN 0 52:54:00:00:00:01"},
		},
		{
			name: "a station moved, and the kernel has marked it",
			have: tables(both, row(1, "br0", 0, 2, moved)), want: tables(both, row(1, "br0", 0, 1)),
			ops: []string{"put row br0 VLAN 0 52:54:00:00:00:01"},
		},
		{
			name: "a mark that OVS does not confirm",
			have: tables(both, row(1, "br0", 0, 2, moved)), want: tables(both, row(1, "br0", 0, 2)),
			ops: []string{"put row br0 VLAN 0 52:54:00:00:00:01"},
		},
		{
			name: "a marked station is forgotten",
			have: tables(both, row(1, "br0", 0, 2, moved)), want: tables(both),
			ops: []string{"delete row br0 VLAN 0 52:54:00:00:00:01"},
		},
		{
			name: "the canary leaves an address",
			have: tables(both, row(1, "br0", 0, 2)), want: tables(both, row(1, "br0", 0, 2, sourceOnly)),
			ops: []string{"mark row br0 VLAN 0 52:54:00:00:00:01", "put row br0 VLAN 0 52:54:00:00:00:01"},
		},
		{
			name: "two stations change places: both marked before either is written",
			have: tables(both, row(1, "br0", 0, 1), row(2, "br0", 0, 2)),
			want: tables(both, row(1, "br0", 0, 2), row(2, "br0", 0, 1)),
			ops: []string{
				"mark row br0 VLAN 0 52:54:00:00:00:01", "mark row br0 VLAN 0 52:54:00:00:00:02",
				"put row br0 VLAN 0 52:54:00:00:00:01", "put row br0 VLAN 0 52:54:00:00:00:02",
			},
		},
		{
			name: "a port is tagged anew: closed, its old stations gone, before the new rule",
			have: tables([]plan.Port{port(1, "br0"), port(2, "br0", access(10))}, row(1, "br0", 10, 2), row(9, "br0", 10, 1)),
			want: tables([]plan.Port{port(1, "br0"), port(2, "br0", access(20))}, row(1, "br0", 20, 2), row(9, "br0", 10, 1)),
			ops: []string{
				"close port tap1", "delete row br0 VLAN 10 52:54:00:00:00:01",
				"set rule tap1", "put row br0 VLAN 20 52:54:00:00:00:01",
			},
		},
		{
			name: "observe to on: all ports close before the first opens",
			have: tables([]plan.Port{port(1, "br0", observed), port(2, "br0", observed)}, row(1, "br0", 0, 2)),
			want: tables(both, row(1, "br0", 0, 2)),
			ops:  []string{"close port eth0", "close port tap1", "set rule eth0", "set rule tap1"},
		},
		{
			name: "a bridge is refused for a while: its ports stay, closed, without stations",
			have: tables(both, row(1, "br0", 0, 2)),
			want: tables([]plan.Port{port(1, "br0", shut), port(2, "br0", shut)}),
			ops: []string{
				"close port eth0", "close port tap1", "delete row br0 VLAN 0 52:54:00:00:00:01",
				"set rule eth0", "set rule tap1",
			},
		},
		{
			name: "ports that were closed in a hurry open again",
			have: tables([]plan.Port{port(1, "br0", shut), port(2, "br0")}, row(1, "br0", 0, 2)),
			want: tables(both, row(1, "br0", 0, 2)),
			ops:  []string{"close port eth0", "set rule eth0"},
		},
		{
			name: "a port becomes a target: its program goes and its rows with it",
			have: tables(both, row(1, "br0", 0, 2), row(9, "br0", 0, 1)),
			want: tables([]plan.Port{port(1, "br0"), port(2, "br0", target)}, row(1, "br0", 0, 2), row(9, "br0", 0, 1)),
			ops: []string{
				"close port tap1", "delete row br0 VLAN 0 52:54:00:00:00:01", "remove port tap1",
				"add port tap1", "set rule tap1", "put row br0 VLAN 0 52:54:00:00:00:01",
			},
		},
		{
			name: "a port goes to another bridge",
			have: tables(both, row(1, "br0", 0, 2), row(9, "br0", 0, 1)),
			want: tables([]plan.Port{port(1, "br0"), port(2, "br1")}, row(1, "br1", 0, 2), row(9, "br0", 0, 1)),
			ops: []string{
				"close port tap1", "delete row br0 VLAN 0 52:54:00:00:00:01",
				"set rule tap1", "put row br1 VLAN 0 52:54:00:00:00:01",
			},
		},
		{
			name: "a station moves to a port that is new, from one that goes",
			have: tables([]plan.Port{port(1, "br0"), port(2, "br0")}, row(1, "br0", 0, 2)),
			want: tables([]plan.Port{port(1, "br0"), port(3, "br0")}, row(1, "br0", 0, 3)),
			ops: []string{
				"close port tap1", "delete row br0 VLAN 0 52:54:00:00:00:01", "remove port tap1",
				"add port tap2", "set rule tap2", "put row br0 VLAN 0 52:54:00:00:00:01",
			},
		},
		{
			name: "a device is renamed",
			have: tables([]plan.Port{port(1, "br0", func(p *plan.Port) { p.Name = "eth9" })}),
			want: tables(both[:1]),
			ops:  []string{"close port eth9", "set rule eth0"},
		},
		{
			name: "a flow is found: behind its stations",
			have: tables(both), want: withFlows(tables(both, row(1, "br0", 0, 1), row(2, "br0", 0, 2)), flow(1, 10, 1, 2, 2)),
			ops: []string{
				"put row br0 VLAN 0 52:54:00:00:00:01", "put row br0 VLAN 0 52:54:00:00:00:02",
				"put flow device 1 tag 10 priority 0 0x0800 52:54:00:00:00:01 to 52:54:00:00:00:02",
			},
		},
		{
			name: "a flow that OVS has no more",
			have: withFlows(tables(both), flow(1, 0, 1, 2, 2)), want: tables(both),
			ops: []string{"delete flow device 1 untagged 0x0800 52:54:00:00:00:01 to 52:54:00:00:00:02"},
		},
		{
			name: "a flow changes: gone before it is written anew",
			have: withFlows(tables(both), flow(1, 0, 1, 2, 2)),
			want: withFlows(tables(both), plan.Flow{FlowKey: flow(1, 0, 1, 2, 2).FlowKey, Egress: 2, Tag: plan.PushTag, VID: 10}),
			ops: []string{
				"delete flow device 1 untagged 0x0800 52:54:00:00:00:01 to 52:54:00:00:00:02",
				"put flow device 1 untagged 0x0800 52:54:00:00:00:01 to 52:54:00:00:00:02",
			},
		},
		{
			name: "a port goes with the flows that lead to it",
			have: withFlows(tables(both), flow(1, 0, 1, 2, 2)), want: tables(both[:1]),
			ops: []string{
				"close port tap1", "delete flow device 1 untagged 0x0800 52:54:00:00:00:01 to 52:54:00:00:00:02", "remove port tap1",
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			state := tt.have
			for _, o := range Ops(tt.have, tt.want) {
				got = append(got, o.String())
				state = Apply(state, o)
			}
			if diff := cmp.Diff(tt.ops, got); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.want, state); diff != "" {
				t.Errorf("tables after all steps (-want +got):\n%s", diff)
			}
		})
	}
}
