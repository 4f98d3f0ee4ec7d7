// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"fmt"
	"slices"
	"text/tabwriter"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
	"github.com/ovs-xdp/ovs-xdp/sync/reconcile"
)

// Flow is one element of flow/show and ovs-xdpctl flows: what the lane does with a
// class of frames, as OVS does.
type Flow struct {
	// Bridge is that of the port InPort, where the frames come from.
	Bridge string `json:"bridge"`
	InPort string `json:"in_port"`
	// Tag and Priority are those of their 802.1Q tag, Tag 0 for none.
	Tag      ovs.VLAN `json:"tag"`
	Priority uint8    `json:"priority"`
	// EtherType is 0x0800 (IPv4) or 0x86dd (IPv6).
	EtherType string  `json:"eth_type"`
	Src       ovs.MAC `json:"src"`
	Dst       ovs.MAC `json:"dst"`
	// To is the port that they leave by, with the tag NewTag, 0 for none.
	To          string   `json:"to"`
	NewTag      ovs.VLAN `json:"new_tag"`
	NewPriority uint8    `json:"new_priority"`
	// KeepAliveMS is how often one of them passes, in milliseconds.
	KeepAliveMS int64 `json:"keepalive_ms"`
}

// Flows reads the kernel's flows back, of one bridge or of all when bridge is "", by
// bridge, port and addresses.
func (r Reporter) Flows(bridge string) []Flow {
	return slices.DeleteFunc(r.flows(r.Daemon.View()), func(f Flow) bool { return bridge != "" && f.Bridge != bridge })
}

func (r Reporter) flows(v reconcile.View) []Flow {
	list := []Flow{}
	for _, f := range r.Daemon.Flows() {
		in, out := v.Result.Tables.Port(f.IfIndex), v.Result.Tables.Port(f.Egress)
		if in == nil || out == nil {
			continue // one of its ports is just leaving
		}
		of := Flow{
			Bridge: in.Rule.Bridge, InPort: in.Name, Tag: f.FromVID, Priority: f.FromPCP, EtherType: fmt.Sprintf("0x%04x", f.EtherType),
			Src: f.Src, Dst: f.Dst, To: out.Name, NewTag: f.FromVID, NewPriority: f.FromPCP, KeepAliveMS: f.KeepAlive.Milliseconds(),
		}
		if f.Tag != plan.KeepTag {
			of.NewTag, of.NewPriority = f.VID, f.PCP
		}
		list = append(list, of)
	}
	slices.SortFunc(list, func(a, b Flow) int {
		return cmp.Or(cmp.Compare(a.Bridge, b.Bridge), cmp.Compare(a.InPort, b.InPort), slices.Compare(a.Src[:], b.Src[:]),
			slices.Compare(a.Dst[:], b.Dst[:]), cmp.Compare(a.Tag, b.Tag), cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.EtherType, b.EtherType))
	})
	return list
}

// FlowsText returns the document of flow/show for people.
func FlowsText(list []Flow) string {
	tag := func(vid ovs.VLAN, pcp uint8) string {
		switch {
		case vid == 0:
			return "-"
		case pcp == 0:
			return fmt.Sprint(vid)
		}
		return fmt.Sprintf("%d/%d", vid, pcp)
	}
	return table(func(w *tabwriter.Writer) {
		fmt.Fprintln(w, "bridge\tfrom\ttag\ttype\tsource\tdestination\tto\ttag")
		for _, f := range list {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", f.Bridge, f.InPort, tag(f.Tag, f.Priority),
				map[string]string{"0x0800": "IPv4", "0x86dd": "IPv6"}[f.EtherType], f.Src, f.Dst, f.To, tag(f.NewTag, f.NewPriority))
		}
	})
}
