// SPDX-License-Identifier: Apache-2.0

// Package report tells people and machines how the lane stands: the documents
// of status, ports and fdb as JSON and as text, from what the loop last saw
// and from the kernel's own counters and tables. It changes nothing.
package report

import (
	"os"
	"slices"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
	"github.com/ovs-xdp/ovs-xdp/sync/reconcile"
)

// Version is that of this build.
var Version = "0.1.0"

// Status is the document of offload/show and ovs-xdpctl status.
type Status struct {
	Version string `json:"version"`
	PID     int    `json:"pid"`
	// Lane is "open" or "closed", Why the reason when it is closed.
	Lane string `json:"lane"`
	Why  string `json:"why,omitempty"`
	// LeaseMS is for how many milliseconds the lane stays open unless the daemon
	// renews its lease, 0 when it is closed. Stalled tells that the lease has run
	// out though nothing closed the lane: the daemon's loop hangs.
	LeaseMS int64 `json:"lease_ms"`
	Stalled bool  `json:"stalled"`
	// LossesUnseen says why frames that are lost on the lane can't be seen, ""
	// when they can.
	LossesUnseen string `json:"losses_unseen,omitempty"`
	OVS          OVS    `json:"ovs"`
	// Bridges holds every bridge of the database, by name.
	Bridges []Bridge `json:"bridges"`
}

// OVS is what is known of Open vSwitch.
type OVS struct {
	// Version is that of the running ovs-vswitchd.
	Version string `json:"version"`
	// Error is why OVS could not be read, "" when it could.
	Error string `json:"error"`
}

// Bridge is one bridge in Status.
type Bridge struct {
	Name string `json:"name"`
	// Mode is what the keys ask for (off, observe, on), State what became of
	// it (the same, or refused).
	Mode  string `json:"mode"`
	State string `json:"state"`
	// Lane is the lane that it uses, fdb or flows, and LaneWhy why; "" when it is
	// off.
	Lane    string `json:"lane"`
	LaneWhy string `json:"lane_why"`
	// Canary is in percent; VLANs is xdp-vlans as written, "" for all.
	Canary int    `json:"canary"`
	VLANs  string `json:"vlans"`
	// Ports, Stations and Flows count what is in the kernel's tables.
	Ports    int `json:"ports"`
	Stations int `json:"stations"`
	Flows    int `json:"flows"`
	// NoFlows says why a bridge that uses flows has none at the moment, "" when
	// what OVS does is known.
	NoFlows string `json:"no_flows,omitempty"`
	Frames  Frames `json:"frames"`
	// Reasons counts the frames from its ports by what became of them: "lane",
	// "would", or why they passed to OVS (enum reason in bpf/src/layout.h).
	Reasons map[string]uint64 `json:"reasons"`
	// Audit is what came of asking OVS what it would do with frames.
	Audit Audit `json:"audit"`
	// Lost counts frames that were redirected to its ports, and that their
	// devices did not take.
	Lost uint64 `json:"lost"`
	// Errors tells of keys that can't be read.
	Errors   []string  `json:"errors"`
	Refusals []Refusal `json:"refusals"`
}

// Refusal is a plan.Refusal.
type Refusal struct {
	Subject string `json:"subject"`
	Reason  string `json:"reason"`
	Detail  string `json:"detail"`
}

// Port is one element of port/show and ovs-xdpctl ports.
type Port struct {
	Bridge    string `json:"bridge"`
	Port      string `json:"port"`
	Interface string `json:"interface"`
	OFPort    int    `json:"ofport"`
	IfIndex   int    `json:"ifindex"`
	// Ingress and Egress tell whether frames from and to the port may take
	// the lane.
	Ingress bool `json:"ingress"`
	Egress  bool `json:"egress"`
	// Attach is native, generic or none.
	Attach   string `json:"attach"`
	VLANMode string `json:"vlan_mode"`
	Tag      int    `json:"tag"`
	RX       Frames `json:"rx"`
	TX       Sent   `json:"tx"`
	// Reasons counts the frames from the port by reason.
	Reasons  map[string]uint64 `json:"reasons"`
	Events   Events            `json:"events"`
	Refusals []Refusal         `json:"refusals"`
}

// Events counts new and moved sources on a port that the daemon was not told of:
// over the port's budget, ring buffer full.
type Events struct {
	Limited uint64 `json:"limited"`
	Lost    uint64 `json:"lost"`
}

// Sent counts frames that the lane sent to a port, and those of them that were
// lost, for the device did not take them.
type Sent struct {
	Lane uint64 `json:"lane"`
	Lost uint64 `json:"lost"`
}

// Reporter makes the documents of a running daemon.
type Reporter struct {
	Daemon *reconcile.Daemon
	// Rundir is OVS_RUNDIR, where ovs-vswitchd is asked for a trace.
	Rundir string
}

// Status tells of every bridge.
func (r Reporter) Status() Status {
	v := r.Daemon.View()
	s := Status{Version: Version, PID: os.Getpid(), Lane: "open", Bridges: []Bridge{}}
	if !v.Open {
		s.Lane, s.Why, s.OVS.Error = "closed", v.Why, v.Why
	} else if left, err := r.Daemon.Lane().LeaseLeft(); err == nil && left > 0 {
		s.LeaseMS = max(left.Milliseconds(), 1)
	} else if s.Lane, s.Why = r.closedNow(); s.Why == "" {
		s.Why, s.Stalled = "its lease has run out: the daemon's loop hangs", true
	}
	s.OVS.Version = v.OVSVersion
	if err := r.Daemon.Lane().LossesUnseen(); err != nil {
		s.LossesUnseen = err.Error()
	}
	stations := make(map[string]int)
	for _, row := range r.stations(v) {
		stations[row.Bridge]++
	}
	flows := make(map[string]int)
	for _, f := range r.flows(v) {
		flows[f.Bridge]++
	}
	audits := r.Daemon.Audits()
	for _, b := range v.Result.Bridges {
		out := Bridge{
			Name: b.Name, Mode: string(b.Mode), State: string(b.State), Canary: b.Canary, VLANs: b.VLANs,
			Lane: string(b.Lane), LaneWhy: b.LaneWhy, Flows: flows[b.Name],
			Stations: stations[b.Name], Audit: auditOf(audits[b.Name]), Errors: append([]string{}, b.Errors...), Refusals: refusals(v, b.Name),
			Reasons: map[string]uint64{},
		}
		if b.Lane == plan.FlowLane {
			out.NoFlows = v.NoFlows
		}
		for _, p := range v.Result.Tables.Ports {
			if p.Rule.Bridge != b.Name {
				continue
			}
			out.Ports++
			if c, err := r.Daemon.Lane().Counters(p.IfIndex); err == nil {
				out.Frames.add(c, out.Reasons)
				out.Lost += c.Lost
			}
		}
		s.Bridges = append(s.Bridges, out)
	}
	return s
}

// closedNow tells why the lane has just closed, "" when nothing has closed it.
func (r Reporter) closedNow() (lane, why string) {
	const justNow = 50 * time.Millisecond // between closing and telling
	time.Sleep(justNow)
	return "closed", r.Daemon.View().Why
}

// refusals gives those of a bridge and its ports, or of one port ("br0/tap1").
func refusals(v reconcile.View, subject string) []Refusal {
	list := []Refusal{}
	for _, f := range v.Result.Refusals {
		if f.Subject == subject || len(f.Subject) > len(subject) && f.Subject[:len(subject)+1] == subject+"/" {
			list = append(list, Refusal{f.Subject, string(f.Reason), f.Detail})
		}
	}
	return list
}

// Ports tells of every port of one bridge, or of all bridges that ask for the
// lane when bridge is "".
func (r Reporter) Ports(bridge string) []Port {
	v := r.Daemon.View()
	list := []Port{}
	each(v, bridge, func(b *ovs.Bridge, p *ovs.Port, i *ovs.Interface) {
		out := Port{
			Bridge: b.Name, Port: p.Name, Interface: i.Name, OFPort: i.OFPort, IfIndex: v.Links[i.Name].IfIndex,
			Attach: plan.Target.String(), VLANMode: p.VLANMode, Reasons: map[string]uint64{},
			Refusals: refusals(v, b.Name+"/"+p.Name),
		}
		if p.Tag != nil {
			out.Tag = int(*p.Tag)
		}
		if lp := v.Result.Tables.Port(out.IfIndex); lp != nil && lp.Rule.Bridge == b.Name {
			out.Ingress, out.Egress = lp.Rule.Ingress, lp.Rule.Egress
			out.Attach, out.VLANMode = lp.Mode.String(), lp.Rule.VLANMode.String()
			r.count(v, &out)
		}
		list = append(list, out)
	})
	return list
}

// count adds up the counters of a port's device, and of its slaves when it is a
// Linux bond.
func (r Reporter) count(v reconcile.View, p *Port) {
	devices := []int{p.IfIndex}
	for _, s := range v.Result.Tables.Ports {
		if s.Mode == plan.Slave && s.Rule.Bundle == p.IfIndex {
			devices = append(devices, s.IfIndex)
		}
	}
	for _, ifindex := range devices {
		c, err := r.Daemon.Lane().Counters(ifindex)
		if err != nil {
			continue // it has just left
		}
		p.RX.add(c, p.Reasons)
		p.TX.Lane += c.Sent
		p.TX.Lost += c.Lost
		p.Events.Limited += c.EventsLimited
		p.Events.Lost += c.EventsLost
	}
}

// each calls fn for the interfaces of one bridge, or of all that ask for the
// lane when bridge is "".
func each(v reconcile.View, bridge string, fn func(*ovs.Bridge, *ovs.Port, *ovs.Interface)) {
	if v.Snapshot == nil {
		return
	}
	for bi := range v.Snapshot.Bridges {
		b := &v.Snapshot.Bridges[bi]
		if bridge != b.Name && (bridge != "" || !plan.Wanted(b)) {
			continue
		}
		for pi := range b.Ports {
			for ii := range b.Ports[pi].Interfaces {
				fn(b, &b.Ports[pi], &b.Ports[pi].Interfaces[ii])
			}
		}
	}
}

// HasBridge tells whether OVS has a bridge of this name.
func (r Reporter) HasBridge(name string) bool {
	v := r.Daemon.View()
	return slices.ContainsFunc(v.Result.Bridges, func(b plan.Bridge) bool { return b.Name == name })
}
