// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// KeyAttachedMAC in Interface external_ids declares the MAC address of the VM
// behind a port (set by OpenStack, libvirt and others).
const KeyAttachedMAC = "attached-mac"

// declarations are the stations that the database declares on a bridge.
type declarations struct {
	rows map[Key]declaration
	// ports holds the OpenFlow numbers of ports that have an attached-mac.
	ports map[uint32]bool
}

type declaration struct {
	row     Row
	ofport  uint32
	subject string
}

// declared collects the declared stations, in the VLAN of their port's
// untagged frames. One that two ports declare is left to what OVS learns.
func (b *builder) declared(br *ovs.Bridge, keys bridgeKeys, ports map[uint32]*lanePort) declarations {
	d := declarations{rows: make(map[Key]declaration), ports: make(map[uint32]bool)}
	twice := make(map[Key]bool)
	for i := range br.Ports {
		p := &br.Ports[i]
		mac, ok := attachedMAC(p)
		if !ok {
			continue
		}
		ofport := uint32(p.Interfaces[0].OFPort)
		d.ports[ofport] = true
		lp := ports[ofport]
		if lp == nil {
			continue
		}
		row, ok := lp.row(br, keys, lp.vid, mac)
		if !ok {
			continue
		}
		row.Declared = true
		if other, ok := d.rows[row.Key]; ok {
			b.refuse(lp.subject, DeclaredTwice, "attached-mac %s is declared on %s too: the station is left to what OVS learns", mac, other.subject)
			twice[row.Key] = true
			continue
		}
		d.rows[row.Key] = declaration{row: row, ofport: ofport, subject: lp.subject}
	}
	for key := range twice {
		delete(d.rows, key)
	}
	return d
}

// attachedMAC reads the declared address of a port with one interface.
func attachedMAC(p *ovs.Port) (ovs.MAC, bool) {
	if len(p.Interfaces) != 1 || p.Interfaces[0].OFPort <= 0 {
		return ovs.MAC{}, false
	}
	mac, err := ovs.ParseMAC(p.Interfaces[0].ExternalIDs[KeyAttachedMAC])
	return mac, err == nil && !mac.IsGroup() && !mac.IsZero()
}
