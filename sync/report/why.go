// SPDX-License-Identifier: Apache-2.0

package report

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/trace"
	"github.com/ovs-xdp/ovs-xdp/ovs/unixctl"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
	"github.com/ovs-xdp/ovs-xdp/sync/reconcile"
)

// Why is the document of offload/why: which way a frame takes, and why.
type Why struct {
	Bridge string   `json:"bridge"`
	InPort string   `json:"in_port"`
	VLAN   ovs.VLAN `json:"vlan"`
	Src    ovs.MAC  `json:"src"`
	Dst    ovs.MAC  `json:"dst"`
	// Path is lane, observe (the lane, were it not for observe mode), ovs, or drop
	// (dropped on the lane).
	Path string `json:"path"`
	// Depends tells that OpenFlow rules may do something else with frames that
	// carry something else: this is about UDP from 192.0.2.1 to 192.0.2.2.
	Depends bool `json:"depends"`
	// To is the port that the lane sends the frame to, Tag its VLAN tag then,
	// 0 for none.
	To  string   `json:"to,omitempty"`
	Tag ovs.VLAN `json:"tag"`
	// Reason is as counted by the program, or that of a refusal.
	Reason string `json:"reason"`
	Detail string `json:"detail"`
	// Lane is the lane that the bridge uses, fdb or flows. With flows, VLAN is the
	// tag of the frame as it comes, 0 for none.
	Lane string `json:"lane,omitempty"`
	// Megaflow is what OVS has for the frame where the lane has no flow; nil for
	// nothing, or when it was not asked.
	Megaflow *Megaflow `json:"megaflow,omitempty"`
	// Trace is what "ofproto/trace" of OVS says of the frame.
	Trace string `json:"trace"`
}

// explain says what a reason of the program means here.
var explain = map[string]string{
	"port-closed":    "frames from the port stay with OVS now",
	"vlan":           "the port does not carry the VLAN, or the VLAN is kept out of the lane",
	"group-source":   "the source address is a group address",
	"new-source":     "the source is not known on any port",
	"moved-source":   "the source is known on another port, or OVS is being asked where it is",
	"spoofed-source": "the source is declared (attached-mac) on another port",
	"reflected":      "the source is known on another port, and OVS drops what the bond reflects",
	"mirrored":       "a mirror selects frames from the port",
	"group":          "broadcast and multicast are OVS's",
	"unknown":        "the destination is not known, or frames to it are kept with OVS",
	"moved":          "the destination has just moved: OVS is being asked where it is",
	"hairpin":        "the destination is on the port that the frame comes from",
	"no-device":      "the destination's port is not on the lane",
	"egress-closed":  "frames to the destination's port stay with OVS now",
	"loses-frames":   "the destination's device has lost frames that were redirected to it, and will be tried again",
	"protected":      "both ports are protected",
	"scattered":      "the frame lies in several buffers, which the destination's device does not take",
	"too-long":       "the frame is larger than one of the two ports takes",
	"fragment":       "flows are for whole packets: fragments of IP are OVS's",
	"no-flow":        "OVS has shown no flow for it that the lane can take",
	"stale-flow":     "its flow leads to another port than the one that the destination was last seen on",
	"rule":           "an OpenFlow rule does something that the lane does not, or none matches",
	"dropped":        "an OpenFlow rule drops it",

	"foreign-address": "the source is not an address that the port may use (attached-mac, xdp-addresses)",
	"dropped-address": "the source is not an address that the port may use, and xdp-validate is drop",
}

// Why walks the program's decision for an IPv4 frame of 60 bytes from a station
// that is known on inPort (a port's or interface's name, or its OpenFlow number)
// in vlan (as in fdb/show; 0 on an access or native port stands for its
// own) to dst, and asks OVS the same.
func (r Reporter) Why(ctx context.Context, bridge, inPort string, vlan ovs.VLAN, dst ovs.MAC) (Why, error) {
	v := r.Daemon.View()
	in, iface, err := findPort(v, bridge, inPort)
	if err != nil {
		return Why{}, err
	}
	w := Why{Bridge: bridge, InPort: iface.Name, VLAN: vlan, Dst: dst, Path: "ovs", Lane: string(laneOf(v, bridge))}
	tables := r.tables(v)
	ifindex := v.Links[iface.Name].IfIndex
	lp := tables.Port(ifindex)
	frame := plan.Frame{IfIndex: ifindex, VID: vlan, Dst: dst, Len: 60}
	if lp != nil {
		if vlan == 0 || vlan == lp.Rule.VID {
			w.VLAN, frame.VID = lp.Rule.VID, 0
		}
	} else if in.Tag != nil && (vlan == 0 || vlan == *in.Tag) {
		w.VLAN, frame.VID = *in.Tag, 0
	}
	frame.Src = sourceOn(tables, bridge, w.VLAN, ifindex, dst)
	if lp != nil && lp.Rule.Flows {
		frame = flowFrame(tables, in, lp, vlan, dst)
		w.VLAN = frame.VID
	}
	w.Src = frame.Src
	w.Trace = r.trace(ctx, bridge, iface.OFPort, frame)

	refused := refusals(v, bridge+"/"+in.Name)
	for _, f := range refusals(v, bridge) {
		if f.Subject == bridge {
			refused = []Refusal{f}
			break
		}
	}
	switch {
	case !v.Open:
		w.Reason, w.Detail = "lane-closed", v.Why
	case !asks(v, bridge):
		w.Reason, w.Detail = "bridge-off", "external_ids:xdp-offload of the bridge is off"
	case lp == nil && len(refused) > 0:
		w.Reason, w.Detail = refused[0].Reason, refused[0].Detail
	case lp == nil:
		w.Reason, w.Detail = "port-closed", "the port is not one of the lane's"
	default:
		frame.Any = true
		w.Depends = tables.Decide(frame).Depends
		frame.Any, frame.Carries = false, trace.Flow{}.Carries()
		verdict := tables.Decide(frame)
		w.Reason, w.Detail = verdict.Reason, explain[verdict.Reason]
		if w.Reason == "new-source" && !lp.Rule.Flows && frame.Src.IsZero() {
			w.Detail = "no station is known on the port in this VLAN"
		}
		if w.Reason == "port-closed" && len(refused) > 0 {
			w.Reason, w.Detail = refused[0].Reason, refused[0].Detail
		}
		if lp.Rule.Flows && (w.Reason == "no-flow" || w.Reason == "new-source") {
			var src ovs.MAC
			w.Megaflow, src, err = megaflow(ctx, r.Rundir, bridge, frame, iface.Name)
			if w.explainFlow(err); w.Megaflow != nil && w.Src != src && !src.IsZero() {
				w.Src, frame.Src = src, src
				w.Trace = r.trace(ctx, bridge, iface.OFPort, frame)
			}
		}
		if verdict.Drops {
			w.Path = "drop"
		}
		if verdict.IfIndex != 0 || verdict.Reason == "would" {
			w.Path = map[string]string{"lane": "lane", "would": "observe"}[verdict.Reason]
			w.Tag = verdict.VID
			if out := tables.Port(verdict.IfIndex); out != nil {
				w.To = out.Name
			}
		}
	}
	return w, nil
}

// Text returns the document for people.
func (w Why) Text() string {
	var b strings.Builder
	src := "an unknown station"
	if !w.Src.IsZero() {
		src = w.Src.String()
	}
	fmt.Fprintf(&b, "%s to %s, VLAN %d, from port %s of %s: ", src, w.Dst, w.VLAN, w.InPort, w.Bridge)
	tag := "untagged"
	if w.Tag != 0 {
		tag = fmt.Sprintf("with tag %d", w.Tag)
	}
	switch w.Path {
	case "lane":
		fmt.Fprintf(&b, "express lane, to %s %s\n", w.To, tag)
	case "observe":
		b.WriteString("by OVS, for the bridge is in observe mode; else the express lane\n")
	case "drop":
		fmt.Fprintf(&b, "dropped on the lane (%s: %s)\n", w.Reason, w.Detail)
	default:
		fmt.Fprintf(&b, "by OVS (%s: %s)\n", w.Reason, w.Detail)
	}
	if w.Depends {
		b.WriteString("OpenFlow rules treat frames between them differently by what they carry: this is UDP from 192.0.2.1 to 192.0.2.2 (see ovs-xdpctl rules)\n")
	}
	fmt.Fprintf(&b, "ofproto/trace: %s\n", w.Trace)
	return b.String()
}

func findPort(v reconcile.View, bridge, name string) (*ovs.Port, *ovs.Interface, error) {
	var (
		port  *ovs.Port
		found *ovs.Interface
	)
	known := false
	number, _ := strconv.Atoi(name)
	if v.Snapshot != nil {
		for i := range v.Snapshot.Bridges {
			known = known || v.Snapshot.Bridges[i].Name == bridge
		}
	}
	if !known {
		return nil, nil, fmt.Errorf("no such bridge: %s", bridge)
	}
	each(v, bridge, func(_ *ovs.Bridge, p *ovs.Port, i *ovs.Interface) {
		if p.Name == name || i.Name == name || number > 0 && i.OFPort == number {
			port, found = p, i
		}
	})
	if found == nil {
		return nil, nil, fmt.Errorf("no port %s on bridge %s: want a port's name or OpenFlow number", name, bridge)
	}
	return port, found, nil
}

// laneOf is the lane that a bridge uses, "" when it uses none.
func laneOf(v reconcile.View, bridge string) plan.Lane {
	for _, b := range v.Result.Bridges {
		if b.Name == bridge {
			return b.Lane
		}
	}
	return ""
}

// asks tells whether a bridge's keys ask for the lane.
func asks(v reconcile.View, bridge string) bool {
	return slices.ContainsFunc(v.Result.Bridges, func(b plan.Bridge) bool { return b.Name == bridge && b.Mode != plan.Off })
}

// tables joins the planned ports with the marks and rows in the kernel's memory.
func (r Reporter) tables(v reconcile.View) *plan.Tables {
	t := plan.Tables{Ports: slices.Clone(v.Result.Tables.Ports), Lists: v.Result.Tables.Lists}
	for i := range t.Ports {
		t.Ports[i].Loses = r.Daemon.Lane().Loses(t.Ports[i].IfIndex)
	}
	for _, row := range r.Daemon.Lane().Rows() {
		p := t.Port(row.IfIndex)
		if p == nil {
			continue
		}
		t.Rows = append(t.Rows, plan.Row{
			Key:     plan.Key{Bridge: p.Rule.InDomain(), VLAN: row.VLAN, MAC: row.MAC},
			IfIndex: row.IfIndex, Target: row.Target, Mirrored: row.Mirrored, Declared: row.Declared, Moved: row.Moved,
		})
	}
	t.Flows = r.Daemon.Flows()
	t.Sort()
	return &t
}

// sourceOn picks a station that is known on a port: not dst, if there is
// another.
func sourceOn(t *plan.Tables, bridge string, vlan ovs.VLAN, ifindex int, dst ovs.MAC) ovs.MAC {
	var src ovs.MAC
	for _, row := range t.Rows {
		if row.Bridge == bridge && row.VLAN == vlan && row.IfIndex == ifindex && (src.IsZero() || src == dst) {
			src = row.MAC
		}
	}
	return src
}

// trace asks OVS what it would do with the frame.
func (r Reporter) trace(ctx context.Context, bridge string, ofport int, f plan.Frame) string {
	flow := trace.Flow{InPort: ofport, VLAN: f.VID, Src: f.Src, Dst: f.Dst}.String()
	socket, _, err := unixctl.DaemonSocket(r.Rundir, "ovs-vswitchd")
	if err != nil {
		return err.Error()
	}
	client := unixctl.Client{Socket: socket}
	// --names came with OVS 3.1; without it ports are datapath numbers.
	text, err := client.Call(ctx, "ofproto/trace", "--names", bridge, flow)
	if err != nil {
		text, err = client.Call(ctx, "ofproto/trace", bridge, flow)
	}
	if err != nil {
		return err.Error()
	}
	var why []string
	for _, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if note, ok := strings.CutPrefix(line, "-> "); ok {
			why = append(why, note)
		}
		if strings.HasPrefix(line, "Datapath actions:") {
			why = append([]string{line}, why...)
		}
	}
	if len(why) == 0 {
		return "no answer that is understood"
	}
	return strings.Join(why, "; ")
}
