// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"slices"

	"github.com/ovs-xdp/ovs-xdp/bpf"
	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
	"github.com/ovs-xdp/ovs-xdp/sync/reconcile"
)

// Station is one element of fdb/show and ovs-xdpctl fdb.
type Station struct {
	Bridge    string   `json:"bridge"`
	VLAN      ovs.VLAN `json:"vlan"`
	MAC       ovs.MAC  `json:"mac"`
	Port      string   `json:"port"`
	Interface string   `json:"interface"`
	OFPort    int      `json:"ofport"`
	// State is lane, source-only (frames are not sent to it) or moved (seen
	// elsewhere, OVS is being asked).
	State string `json:"state"`
}

// Stations reads the kernel's FDB back, of one bridge or of all when bridge is
// "", by bridge, VLAN and MAC.
func (r Reporter) Stations(bridge string) []Station {
	list := r.stations(r.Daemon.View())
	return slices.DeleteFunc(list, func(s Station) bool { return bridge != "" && s.Bridge != bridge })
}

func (r Reporter) stations(v reconcile.View) []Station {
	type place struct {
		port  *ovs.Port
		iface *ovs.Interface
		name  string
	}
	places := make(map[int]place)
	each(v, "", func(b *ovs.Bridge, p *ovs.Port, i *ovs.Interface) {
		if l, ok := v.Links[i.Name]; ok {
			places[l.IfIndex] = place{p, i, b.Name}
		}
	})
	list := []Station{}
	for _, row := range r.Daemon.Lane().Rows() {
		at, ok := places[row.IfIndex]
		if lp := v.Result.Tables.Port(row.IfIndex); lp != nil && lp.Rule.Legs[0] != 0 {
			at, ok = places[lp.Rule.Legs[0]] // of a bond, a member that is used
		}
		if !ok {
			continue // its port is just leaving
		}
		list = append(list, Station{
			Bridge: at.name, VLAN: row.VLAN, MAC: row.MAC,
			Port: at.port.Name, Interface: at.iface.Name, OFPort: at.iface.OFPort,
			State: state(row, v.Result.Tables.Port(row.IfIndex)),
		})
	}
	slices.SortFunc(list, func(a, b Station) int {
		return cmp.Or(cmp.Compare(a.Bridge, b.Bridge), cmp.Compare(a.VLAN, b.VLAN), slices.Compare(a.MAC[:], b.MAC[:]))
	})
	return list
}

func state(r bpf.Row, p *plan.Port) string {
	switch {
	case r.Moved:
		return "moved"
	case !r.Target, p == nil, !p.Rule.Sends():
		return "source-only"
	}
	return "lane"
}
