// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// station is a MAC address in a VLAN behind a port.
type station struct {
	port *lab.Port
	mac  ovs.MAC
	vlan ovs.VLAN
	// tags is how its frames are tagged on the cable to the port.
	tags []frame.Tag
}

// untagged is the station of a port's machine, on an access port of the VLAN
// (or VLAN 0 on a trunk).
func untagged(p *lab.Port, v ovs.VLAN) station { return station{port: p, mac: p.MAC, vlan: v} }

// tagged is a station behind a trunk port.
func tagged(p *lab.Port, mac ovs.MAC, v ovs.VLAN) station {
	return station{port: p, mac: mac, vlan: v, tags: []frame.Tag{{VID: v}}}
}

// frameTo returns a frame from the station, as it goes into the port.
func (s station) frameTo(dst ovs.MAC, opts ...frame.Option) []byte {
	return frame.UDP4(dst, s.mac, append([]frame.Option{frame.Tagged(s.tags...)}, opts...)...)
}

// out is a frame as it comes out of the station's port, with the priority.
func (s station) out(b []byte, pcp uint8) []byte {
	if len(s.tags) == 0 {
		return frame.Retag(b)
	}
	return frame.Retag(b, frame.Tag{VID: s.vlan, PCP: pcp})
}

// laneBetween checks both directions between two stations on the express lane.
func (w *world) laneBetween(a, b station) {
	w.t.Helper()
	for _, d := range [][2]station{{a, b}, {b, a}} {
		f := d[0].frameTo(d[1].mac)
		w.lane(d[0].port, d[1].port, f, d[1].out(f, 0))
	}
}

// bridgeBetween checks both directions between two stations through OVS.
func (w *world) bridgeBetween(a, b station) {
	w.t.Helper()
	for _, d := range [][2]station{{a, b}, {b, a}} {
		f := d[0].frameTo(d[1].mac)
		w.bridge(d[0].port, f, map[string][]byte{d[1].port.Name: d[1].out(f, 0)})
	}
}
