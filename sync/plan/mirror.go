// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// mirrors is what the mirrors of a bridge select. A frame that one selects
// stays with OVS, which copies it.
type mirrors struct {
	// all holds the VLANs that are mirrored on every port.
	all ovs.VLANSet
	// from and to hold the VLANs that are mirrored when a frame comes from a
	// port and goes to it, by Port:name.
	from, to map[string]ovs.VLANSet
	// output holds the ports that mirrors send to: OVS drops what they send.
	output map[string]string
	// outputVLANs holds the VLANs that mirrors send to.
	outputVLANs ovs.VLANSet
}

func mirrorsOf(br *ovs.Bridge) mirrors {
	m := mirrors{
		from: make(map[string]ovs.VLANSet), to: make(map[string]ovs.VLANSet), output: make(map[string]string),
	}
	for _, mir := range br.Mirrors {
		vlans := ovs.AllVLANs()
		if len(mir.SelectVLANs) > 0 {
			vlans = ovs.VLANs(mir.SelectVLANs...)
		}
		if mir.SelectAll {
			m.all = m.all.Or(vlans)
		}
		for _, p := range mir.SelectSrcPorts {
			m.from[p] = m.from[p].Or(vlans)
		}
		for _, p := range mir.SelectDstPorts {
			m.to[p] = m.to[p].Or(vlans)
		}
		if mir.OutputPort != "" {
			m.output[mir.OutputPort] = mir.Name
		}
		if mir.OutputVLAN != nil {
			m.outputVLANs.Add(*mir.OutputVLAN)
		}
	}
	return m
}

// selects returns the VLANs that are mirrored from a port and to it.
func (m *mirrors) selects(port string) (from, to ovs.VLANSet) {
	return m.from[port].Or(m.all), m.to[port].Or(m.all)
}
