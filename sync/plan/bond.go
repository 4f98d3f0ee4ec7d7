// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// Legs is how many buckets frames to a bond are hashed into.
const Legs = 16

// bond makes the table's ports of a Port of several interfaces, its members.
// Rows name the first of them; it says by which members frames to the bond
// leave. A member that is down or that OVS does not use stays in the tables,
// closed, so that a failover changes one rule and no row.
func (b *builder) bond(br *ovs.Bridge, p *ovs.Port, subject string, role Offload, rule Rule) []Port {
	if br.Detail == nil {
		return nil // refused as a whole
	}
	admits, sends := b.memberRoles(p, subject, br.Detail.Bonds)
	// Without LACP OVS drops what another member reflects.
	state := br.Detail.Bonds[p.Name]
	rule.Reflects = state.Mode == balanceSLB && state.LACP != ovs.LACPNegotiated
	var devices []Port
	legs := make([]int, len(p.Interfaces)) // 0 for a member that sends nothing
	for i := range p.Interfaces {
		iface := &p.Interfaces[i]
		d, up, ok := b.device(br, fmt.Sprintf("%s/%s", subject, iface.Name), p, iface, role, rule)
		if !ok {
			continue
		}
		if b.links[d.Name].Driver == bondDriver {
			b.refuse(subject+"/"+iface.Name, Bond, "a Linux bond in a bond of OVS")
			continue
		}
		b.devices[d.IfIndex] = subject
		admitted := up && admits[iface.Name]
		d.Rule.Watch, d.Rule.Ingress = d.Rule.Watch && admitted, d.Rule.Ingress && admitted
		d.Rule.Egress = d.Rule.Egress && sends[iface.Name]
		if d.Rule.Egress {
			legs[i] = d.IfIndex
		}
		devices = append(devices, d)
	}
	if len(devices) == 0 {
		b.refuse(subject, Bond, "none of its interfaces can be on the lane")
		return nil
	}
	for i := range devices {
		devices[i].Rule.Bundle = devices[0].IfIndex
	}
	devices[0].Rule.Legs = spread(legs)
	return devices
}

// memberRoles tells from which members OVS takes frames (bond_check_admissibility
// in ofproto/bond.c) and by which the lane may send frames to the bond. None are
// named while OVS drops what comes: the programs stay attached meanwhile, since
// attaching resets many NICs, and LACP with them.
func (b *builder) memberRoles(p *ovs.Port, subject string, bonds map[string]ovs.Bond) (admits, sends map[string]bool) {
	state, ok := bonds[p.Name]
	active := map[string]bool{state.Active: true}
	mode := state.Mode
	switch {
	case !ok:
		b.refuse(subject, NotReady, "OVS has not taken up the bond yet")
		return nil, nil
	case state.LACP == ovs.LACPConfigured && !state.Fallback:
		b.refuse(subject, Bond, "LACP is not negotiated: OVS drops what comes from the bond")
		return nil, nil
	case state.LACP == ovs.LACPConfigured && mode == balanceTCP:
		mode = activeBackup // lacp-fallback-ab
	case state.LACP == ovs.LACPOff && mode == balanceTCP:
		b.refuse(subject, Bond, "balance-tcp without LACP: OVS drops what comes from the bond")
		return nil, nil
	}
	switch mode {
	case activeBackup:
		if !activeAgrees(p, state.Active) {
			b.refuse(subject, NotReady, "the bond changes its active member: bond/show says %q, Port:bond_active_slave %q", state.Active, p.BondActiveMember)
			return nil, nil
		}
		admits, sends = active, active
	case balanceTCP:
		admits, sends = state.Enabled, state.Enabled
	case balanceSLB:
		b.refuse(subject, Bond, "balance-slb: OVS alone knows the member of each station: frames to the bond stay with OVS")
		admits = make(map[string]bool)
		for i := range p.Interfaces {
			admits[p.Interfaces[i].Name] = true
		}
	default:
		b.refuse(subject, Bond, "bond_mode %q is not known", mode)
		return nil, nil
	}
	if state.LACP == ovs.LACPNegotiated {
		admits = state.Enabled
	}
	return admits, sends
}

// The values of Port:bond_mode.
const (
	activeBackup = "active-backup"
	balanceSLB   = "balance-slb"
	balanceTCP   = "balance-tcp"
)

// activeAgrees tells whether the database names the same active member of a
// bond as bond/show did: what was read first may be old.
func activeAgrees(p *ovs.Port, active string) bool {
	if active == "" {
		return false
	}
	i := slices.IndexFunc(p.Interfaces, func(i ovs.Interface) bool { return i.Name == active })
	return i >= 0 && (p.BondActiveMember == "" || p.Interfaces[i].MACInUse == "" || p.BondActiveMember == p.Interfaces[i].MACInUse)
}

// spread gives each bucket a leg. A bucket keeps its leg while that is there,
// whatever becomes of the others.
func spread(legs []int) (buckets [Legs]int) {
	usable := slices.DeleteFunc(slices.Clone(legs), func(leg int) bool { return leg == 0 })
	if len(usable) == 0 {
		return buckets
	}
	for i := range buckets {
		if buckets[i] = legs[i%len(legs)]; buckets[i] == 0 {
			buckets[i] = usable[i/len(legs)%len(usable)]
		}
	}
	return buckets
}
