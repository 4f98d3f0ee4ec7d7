// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"slices"
)

// bondDriver is the driver of Linux bonds.
const bondDriver = "bonding"

// withSlaves returns a device and, when it is a Linux bond, its slaves. The
// program is on the bond, and the kernel chooses the slave by which a frame
// leaves (bond_xdp_xmit in drivers/net/bonding/bond_main.c, Linux 5.15), but
// frames come as those of the slaves.
func (b *builder) withSlaves(subject string, d Port) ([]Port, bool) {
	bond := b.links[d.Name]
	if bond.Driver != bondDriver || d.Mode != Native {
		return []Port{d}, true
	}
	var slaves []Link
	for _, l := range b.links {
		if l.Bond == bond.IfIndex {
			slaves = append(slaves, l)
		}
	}
	slices.SortFunc(slaves, func(x, y Link) int { return cmp.Compare(x.IfIndex, y.IfIndex) })
	if d.Rule.PoliceBytes != (Rate{}) || d.Rule.PoliceFrames != (Rate{}) {
		b.refuse(subject, Policing, "ingress_policing_rate is set on a Linux bond: frames from it stay with OVS")
		d.Rule.Ingress = false // each slave would have a rate of its own
	}
	all := []Port{d}
	for _, l := range slaves {
		l.NativeXDP = Unknown // the bond tells for all
		if _, ok := b.attachMode(subject+"/"+l.Name, l); !ok {
			b.refuse(subject, Bond, "slave %s of the Linux bond keeps it off the lane", l.Name)
			return nil, false
		}
		s := Port{IfIndex: l.IfIndex, Name: l.Name, Mode: Slave, SetOffloads: l.setsOffloads(), Rule: d.Rule}
		s.Rule.Bundle, s.Rule.Egress, s.Rule.Checksum = d.IfIndex, false, !l.Physical
		// As the bond does (bond_should_deliver_exact_match).
		s.Rule.Watch, s.Rule.Ingress = s.Rule.Watch && !l.Backup, s.Rule.Ingress && !l.Backup
		all = append(all, s)
	}
	return all, true
}
