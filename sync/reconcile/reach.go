// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"maps"
	"reflect"
	"slices"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// noteFlowBridges keeps which bridges use flows. true: they are others than before,
// and no flow is known.
func (s *session) noteFlowBridges(snap *ovs.Snapshot, result *plan.Result) bool {
	var bridges []string
	reach := make(map[string]bool)
	for _, b := range result.Bridges {
		unknown := b.Lane == "" && b.Mode != plan.Off && slices.Contains(s.mega.bridges, b.Name)
		if b.Lane != plan.FlowLane && !unknown {
			continue
		}
		bridges = append(bridges, b.Name)
		for name := range plan.Joined(snap, b.Name) {
			reach[name] = true
		}
	}
	if slices.Equal(bridges, s.mega.bridges) && maps.Equal(reach, s.mega.reach) {
		return false
	}
	s.mega.bridges, s.mega.reach = bridges, reach
	s.mega.rows, s.mega.devices = rowsOf(snap, reach), nil
	s.unsettle("other bridges use flows")
	s.soon(0) // to watch those that are new
	return true
}

// noteChanges takes all flows out of use when the database or devices are not as they
// were when it was called last, as far as OVS may do something else with frames of
// bridges that use flows. links is nil when devices don't count.
func (s *session) noteChanges(snap *ovs.Snapshot, links map[string]plan.Link) {
	if len(s.mega.bridges) == 0 {
		return
	}
	rows, devices := rowsOf(snap, s.mega.reach), make(map[string]device)
	for _, b := range rows {
		for i := range b.Ports {
			for _, iface := range b.Ports[i].Interfaces {
				if l, ok := links[iface.Name]; ok {
					devices[iface.Name] = device{l.IfIndex, l.MTU, l.Up}
				}
			}
		}
	}
	if links == nil {
		devices = s.mega.devices
	}
	same := reflect.DeepEqual(rows, s.mega.rows) && (s.mega.devices == nil || maps.Equal(devices, s.mega.devices))
	s.mega.rows, s.mega.devices = rows, devices
	if !same {
		s.unsettle("the database or a device has changed")
	}
}

// device is what of a device may change what OVS does.
type device struct {
	ifindex, mtu int
	up           bool
}

// rowsOf gives the database part of some bridges.
func rowsOf(snap *ovs.Snapshot, of map[string]bool) []ovs.Bridge {
	var list []ovs.Bridge
	for _, b := range snap.Bridges {
		if of[b.Name] {
			b.Detail, b.DetailError = nil, ""
			list = append(list, b)
		}
	}
	return list
}
