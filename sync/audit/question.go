// SPDX-License-Identifier: Apache-2.0

// Package audit compares what the lane would do with a frame with what OVS says
// that it would do: it chooses the frames to ask about from the tables as they
// are in the kernel, judges the answers, and tells a difference that lasts from
// one that comes of a change under way.
//
// The package is pure: no I/O, no clock, and the caller's random numbers. It
// knows neither how OVS is asked nor what becomes of a bridge whose lane is
// found to be wrong.
package audit

import (
	"math/rand/v2"
	"slices"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/trace"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// Question is a frame of a live pair of stations, which the lane would forward.
type Question struct {
	// Bridge is Bridge:name, VLAN that of the stations.
	Bridge string
	VLAN   ovs.VLAN
	// Domain is that of the stations of a frame that a flow decides about, in VLAN
	// 0; "" for a frame that none does.
	Domain string
	// From is the name of the interface that the frame comes from, as OVS has
	// it: of a Linux bond the bond's.
	From  string
	Frame plan.Frame
	// Verdict is what the lane would do; observe mode does not count.
	Verdict plan.Verdict
}

// Source is the station that the frame comes from.
func (q Question) Source() plan.Key { return q.station(q.Frame.Src) }

// Destination is the station that it is for.
func (q Question) Destination() plan.Key { return q.station(q.Frame.Dst) }

func (q Question) station(m ovs.MAC) plan.Key {
	if q.Domain != "" {
		return plan.Key{Bridge: q.Domain, MAC: m}
	}
	return plan.Key{Bridge: q.Bridge, VLAN: q.VLAN, MAC: m}
}

// Class is the key of the flow that decides about the frame when Domain is set.
func (q Question) Class() plan.FlowKey {
	return plan.FlowKey{
		IfIndex: q.Frame.IfIndex, Tagged: q.Frame.VID != 0, FromVID: q.Frame.VID, FromPCP: q.Frame.PCP,
		EtherType: q.Frame.Carries.EtherType, Src: q.Frame.Src, Dst: q.Frame.Dst,
	}
}

// frameLength is in bytes: what every port takes.
const frameLength = 60

// attempts bounds how many sources of a bridge are tried for a question.
const attempts = 16

// Choose makes a question about the tables, each bridge being as likely as the
// other; rows need not be sorted. false means that no pair was found that takes
// the lane.
func Choose(t *plan.Tables, r *rand.Rand) (Question, bool) {
	rows, flows := make(map[string][]plan.Row), make(map[string][]plan.Flow)
	for _, f := range t.Flows {
		// What OVS is asked about is IPv4, with priority 0.
		if in := t.Port(f.IfIndex); in != nil && in.Rule.Flows && f.EtherType == ipv4 && f.FromPCP == 0 {
			flows[in.Rule.Bridge] = append(flows[in.Rule.Bridge], f)
		}
	}
	for _, row := range t.Rows {
		if p := t.Port(row.IfIndex); p == nil || !p.Rule.Flows {
			rows[row.Bridge] = append(rows[row.Bridge], row)
		}
	}
	var bridges []string
	for bridge := range rows {
		bridges = append(bridges, bridge)
	}
	for bridge := range flows {
		if rows[bridge] == nil {
			bridges = append(bridges, bridge)
		}
	}
	slices.Sort(bridges) // so that the same numbers make the same choice
	r.Shuffle(len(bridges), func(i, j int) { bridges[i], bridges[j] = bridges[j], bridges[i] })
	for _, bridge := range bridges {
		for range attempts {
			var q Question
			ok := false
			if len(flows[bridge]) > 0 {
				q, ok = chooseFlow(t, flows[bridge], r)
			} else {
				q, ok = choose(t, rows[bridge], r)
			}
			if ok {
				return q, true
			}
		}
	}
	return Question{}, false
}

// ipv4 is the EtherType of frames that OVS is asked about.
const ipv4 = 0x0800

// chooseFlow makes a question about a frame that one of some flows decides about.
func chooseFlow(t *plan.Tables, flows []plan.Flow, r *rand.Rand) (Question, bool) {
	f := flows[r.IntN(len(flows))]
	in := t.Port(f.IfIndex)
	q := Question{
		Bridge: in.Rule.Bridge, Domain: in.Rule.InDomain(), VLAN: f.FromVID, From: in.Name,
		Frame: plan.Frame{IfIndex: f.IfIndex, VID: f.FromVID, Src: f.Src, Dst: f.Dst, Len: frameLength, Carries: trace.Flow{}.Carries()},
	}
	q.Verdict = Verdict(t, q)
	return q, q.Verdict.IfIndex != 0
}

// choose makes a question about stations of one bridge.
func choose(tables *plan.Tables, rows []plan.Row, r *rand.Rand) (Question, bool) {
	src := rows[r.IntN(len(rows))]
	var targets []plan.Row
	for _, row := range rows {
		if row.VLAN == src.VLAN && row.IfIndex != src.IfIndex && row.Target {
			targets = append(targets, row)
		}
	}
	var from []plan.Port
	for _, p := range tables.Ports {
		if p.Rule.Bridge == src.Bridge && bundle(p) == src.IfIndex && p.Rule.Ingress {
			from = append(from, p)
		}
	}
	if len(targets) == 0 || len(from) == 0 {
		return Question{}, false
	}
	dst, in := targets[r.IntN(len(targets))], from[r.IntN(len(from))]
	q := Question{
		Bridge: src.Bridge, VLAN: src.VLAN, From: in.Name,
		Frame: plan.Frame{IfIndex: in.IfIndex, VID: src.VLAN, Src: src.MAC, Dst: dst.MAC, Len: frameLength, Bucket: r.IntN(plan.Legs), Carries: trace.Flow{}.Carries()},
	}
	native := in.Rule.VLANMode != plan.Trunk && in.Rule.VID == src.VLAN
	if native && (in.Rule.VLANMode == plan.Access || r.IntN(2) == 0) {
		q.Frame.VID = 0
	}
	t := plan.Tables{Ports: tables.Ports, Rows: []plan.Row{src, dst}, Lists: tables.Lists}
	if in.Mode == plan.Slave {
		bond := t.Port(in.Rule.Bundle)
		if bond == nil {
			return Question{}, false
		}
		q.From = bond.Name
	}
	q.Verdict = Verdict(&t, q)
	return q, q.Verdict.IfIndex != 0
}

// bundle is the device that rows of a port's stations name.
func bundle(p plan.Port) int {
	if p.Rule.Bundle != 0 {
		return p.Rule.Bundle
	}
	return p.IfIndex
}

// Verdict is what the lane does with the frame of a question by tables whose
// rows may be in any order, and in which observe mode does not count.
func Verdict(t *plan.Tables, q Question) plan.Verdict {
	pair := plan.Tables{Ports: t.Ports, Lists: t.Lists}
	for _, row := range t.Rows {
		if row.Key == q.Source() || row.Key == q.Destination() {
			pair.Rows = append(pair.Rows, row)
		}
	}
	if slices.ContainsFunc(t.Ports, func(p plan.Port) bool { return p.Rule.Observe }) {
		pair.Ports = slices.Clone(t.Ports)
		for i := range pair.Ports {
			pair.Ports[i].Rule.Observe = false
		}
	}
	if q.Domain != "" {
		for _, f := range t.Flows {
			if f.FlowKey == q.Class() {
				pair.Flows = append(pair.Flows, f)
			}
		}
	}
	pair.Sort()
	return pair.Decide(q.Frame)
}
