// SPDX-License-Identifier: Apache-2.0

// Package plan decides what the express lane may do: from a Snapshot of OVS
// and the host's links it builds the tables that the kernel should hold, and
// says what stays with OVS and why.
//
// The package is pure: no I/O, no clock, no state. Build is deterministic and
// never panics, and whatever it does not understand it refuses. It knows
// neither how the tables get into the kernel nor in which order.
package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/dpflow"
	"github.com/ovs-xdp/ovs-xdp/sync/plan/rules"
)

// Policy is what the daemon's flags say, what its audit has found, and what OVS
// does with frames now.
type Policy struct {
	// AllowGeneric lets ports take part whose driver has no native XDP.
	AllowGeneric bool
	// SetNICOffloads lets the daemon turn off what devices do to frames before
	// XDP sees them.
	SetNICOffloads bool
	// FinishChecksums lets frames take the lane whose L4 checksum is left to the
	// device: the program finishes it.
	FinishChecksums bool
	// KeepAlive is the longest interval of keep-alive frames; 0 means
	// DefaultKeepAlive.
	KeepAlive time.Duration
	// Closed tells by Bridge:name of bridges whose lane is to stay closed, and
	// what was found there that OVS would do otherwise.
	Closed map[string]string
	// Flows holds, by Bridge:name, the megaflows of bridges that use flows, as
	// OVS has them; a bridge that is missing has none.
	Flows map[string][]dpflow.Flow
	// Rows is how many rows the kernel's table has room for; 0 is no bound.
	Rows int
	// FlowRows is how many flows there is room for; 0 is no bound.
	FlowRows int
	// RulesPerList is how many rules a list has at most; 0 means
	// DefaultRulesPerList. Rules is how many all lists together have room for; 0
	// is no bound.
	RulesPerList, Rules int
	// Compile compiles the OpenFlow rules of a bridge, as rules.Compile does; nil
	// means that. It may remember what it has compiled.
	Compile func(bridge string, all []ovs.Rule) *rules.Table `json:"-"`
}

// DefaultKeepAlive is the keep-alive interval without a flag.
const DefaultKeepAlive = 5 * time.Second

// MaxBridges is how many bridges can be on the lane at once; one that uses flows
// counts twice.
const MaxBridges = 15

// State is how a bridge stands.
type State string

// The states of a bridge.
const (
	StateOff     State = "off"
	StateObserve State = "observe"
	StateOn      State = "on"
	StateRefused State = "refused"
)

// Bridge is what Build made of a bridge.
type Bridge struct {
	Name string
	// Mode is what the keys ask for, State what became of it.
	Mode  Offload
	State State
	// Canary is the percentage of MAC addresses that are offloaded; VLANs is
	// external_ids:xdp-vlans as written, "" for all.
	Canary int
	VLANs  string
	// Lane is the lane that it uses, and LaneWhy why; "" when it is off, or its
	// rules are not known.
	Lane    Lane
	LaneWhy string
	// Errors tells of keys that can't be read.
	Errors []string
}

// Result is the outcome of Build.
type Result struct {
	Tables   Tables
	Bridges  []Bridge
	Refusals []Refusal
	// Unfit counts the rows that were left out for want of room (Policy.Rows),
	// UnfitFlows the flows (Policy.FlowRows).
	Unfit, UnfitFlows int
}

// Build makes the tables for one picture of OVS and the host. links holds the
// devices of the daemon's network namespace by name.
func Build(s *ovs.Snapshot, links map[string]Link, policy Policy) Result {
	b := builder{policy: policy, links: links, devices: make(map[int]string), flowPorts: make(map[string]flowPort)}
	keys := make([]bridgeKeys, len(s.Bridges))
	for i := range s.Bridges {
		keys[i] = readBridgeKeys(s.Bridges[i].ExternalIDs)
	}
	lanes := b.lanes(s, keys)
	for i := range s.Bridges {
		b.bridge(s, &s.Bridges[i], keys[i], lanes[i])
	}
	b.flows(s, lanes)
	b.Tables.Sort()
	if b.Tables.Rows, b.Unfit = fit(single(b.Tables.Rows), policy.Rows); b.Unfit > 0 {
		b.Tables.Sort()
	}
	slices.SortStableFunc(b.Refusals, func(x, y Refusal) int { return cmp.Compare(x.Subject, y.Subject) })
	return b.Result
}

type builder struct {
	Result
	policy  Policy
	links   map[string]Link
	devices map[int]string // ifindex -> the port that has it
	bridges int            // numbers of those on the lane
	lane    lane           // of the bridge at hand
	// openFlow is what the rules of the bridge at hand are; nil: plain NORMAL.
	openFlow *openFlow
	plain    string // Rule.Plain, then
	// ofports holds the interfaces of the bridge at hand by OpenFlow port.
	ofports map[int]string
	// flowPorts holds the ports that use flows, by Interface:name.
	flowPorts map[string]flowPort
}

func (b *builder) refuse(subject string, reason Reason, format string, args ...any) {
	b.Refusals = append(b.Refusals, Refusal{Subject: subject, Reason: reason, Detail: fmt.Sprintf(format, args...)})
}

func (b *builder) bridge(s *ovs.Snapshot, br *ovs.Bridge, keys bridgeKeys, l lane) {
	out := Bridge{
		Name: br.Name, Mode: keys.offload, State: State(keys.offload),
		Canary: keys.canary, VLANs: keys.list, Lane: l.Lane, LaneWhy: l.why, Errors: keys.errs,
	}
	if keys.offload == Off {
		b.Bridges = append(b.Bridges, out)
		return
	}
	before := len(b.Refusals)
	table := b.judgeBridge(s, br, l)
	if slices.ContainsFunc(b.Bridges, func(other Bridge) bool { return other.Name == br.Name && other.State != StateOff }) {
		b.refuse(br.Name, TooManyBridges, "there is another bridge of this name")
	}
	numbers := 1
	if l.Lane == FlowLane { // its domain, and its name, of lists
		numbers = 2
	}
	if len(b.Refusals) == before && b.bridges+numbers > MaxBridges {
		b.refuse(br.Name, TooManyBridges, "at most %d bridges can be on the lane at once; one that uses flows counts twice", MaxBridges)
	}
	if refused := b.Refusals[before:]; len(refused) > 0 {
		out.State = StateRefused
		if slices.ContainsFunc(refused, func(r Refusal) bool { return !r.Reason.Transient() }) {
			b.Bridges = append(b.Bridges, out)
			return
		}
	}

	b.bridges += numbers
	b.lane = l
	if len(br.FloodVLANs) > 0 && l.Lane != FlowLane {
		flood := ovs.VLANs(br.FloodVLANs...)
		b.refuse(fmt.Sprintf("%s/VLAN %s", br.Name, flood), FloodVLAN, "flood_vlans: OVS floods every frame of these VLANs")
	}
	mirrors := mirrorsOf(br)
	b.openFlow, b.ofports = b.makeOpenFlow(br, table), make(map[int]string)
	b.plain = plainRules(br, table)
	forgets := agingTime(br)
	if b.openFlow == nil && table != nil && table.General[0].Idle > 0 { // no list keeps the rule alive
		forgets = min(forgets, table.General[0].Idle)
	}
	if l.Lane == FlowLane {
		forgets = l.forgets
	}
	keepAlive := min(cmp.Or(b.policy.KeepAlive, DefaultKeepAlive), forgets/4)
	first := len(b.Tables.Ports)
	b.Tables.Ports = slices.Grow(b.Tables.Ports, len(br.Ports))
	ports := make(map[uint32]*lanePort)
	for i := range br.Ports {
		p := b.port(br, &br.Ports[i], keys, &mirrors)
		if p == nil {
			continue
		}
		for _, d := range p.devices {
			d.Rule.KeepAlive = keepAlive
			d.Rule.Observe = keys.offload == Observe
			if out.State == StateRefused {
				d.Rule = d.Rule.Shut()
			}
			b.Tables.Ports = append(b.Tables.Ports, d)
		}
		// The MAC table names a bond by any of its members.
		for _, iface := range br.Ports[i].Interfaces {
			ports[uint32(iface.OFPort)] = p
		}
	}
	if !b.fitLists(br.Name, b.Tables.Ports[first:]) {
		out.State = StateRefused
	}
	b.Bridges = append(b.Bridges, out)
	switch {
	case out.State == StateRefused:
	case l.Lane == FlowLane:
		b.noteFlowPorts(br, keys, ports, keepAlive)
	default:
		b.rows(br, keys, ports)
	}
}

// rows turns the MAC table and the declared stations into rows.
func (b *builder) rows(br *ovs.Bridge, keys bridgeKeys, ports map[uint32]*lanePort) {
	declared := b.declared(br, keys, ports)
	b.Tables.Rows = slices.Grow(b.Tables.Rows, len(br.Detail.FDB)+len(declared.rows))
	for _, e := range br.Detail.FDB {
		d, ok := declared.rows[Key{Bridge: br.Name, VLAN: e.VLAN, MAC: e.MAC}]
		switch {
		case !ok:
			if r, ok := ports[e.OFPort].row(br, keys, e.VLAN, e.MAC); ok {
				b.Tables.Rows = append(b.Tables.Rows, r)
			}
		case d.ofport == e.OFPort || declared.ports[e.OFPort]:
			// Where it is declared, or a spoofer on a port that is
			// declared another station's.
		default:
			b.refuse(d.subject, DeclaredTwice, "attached-mac %s is on port %d for OVS in VLAN %d: the station stays with OVS", e.MAC, e.OFPort, e.VLAN)
			delete(declared.rows, d.row.Key)
		}
	}
	for _, d := range declared.rows {
		b.Tables.Rows = append(b.Tables.Rows, d.row)
	}
}

// single leaves out the stations that sorted rows name more than once. No MAC
// table does, so whatever it is, where they are is not known. It uses the list up.
func single(rows []Row) []Row {
	kept := rows[:0]
	for i, r := range rows {
		if i > 0 && rows[i-1].Key == r.Key || i+1 < len(rows) && rows[i+1].Key == r.Key {
			continue
		}
		kept = append(kept, r)
	}
	return kept
}

// isReserved tells the unicast addresses that NORMAL drops frames to
// (eth_addr_is_reserved in lib/packets.c).
func isReserved(m ovs.MAC) bool {
	return m == ovs.MAC{0x00, 0xe0, 0x2b, 0, 0, 0} ||
		m == ovs.MAC{0x00, 0xe0, 0x2b, 0, 0, 4} ||
		m == ovs.MAC{0x00, 0xe0, 0x2b, 0, 0, 6}
}

// agingTime is Bridge:other_config:mac-aging-time as OVS takes it: 300 s when
// absent or 0, and 15 to 3600 s. What OVS makes of a value that is no number
// of 32 bits depends on its version, so that is taken for the shortest.
func agingTime(br *ovs.Bridge) time.Duration {
	const shortest, usual, longest = 15, 300, 3600
	v, ok := br.OtherConfig["mac-aging-time"]
	n, err := strconv.ParseInt(v, 10, 32)
	switch {
	case !ok, err == nil && n == 0:
		n = usual
	case err != nil:
		n = shortest
	}
	return time.Duration(min(max(n, shortest), longest)) * time.Second
}
