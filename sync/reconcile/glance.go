// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// glanceInterval is how often the ports without a program are looked at: a
// station that moves to one shows in OVS's MAC table alone. So are bridges with
// a spanning tree or LACP.
const glanceInterval = 400 * time.Millisecond

// blind is where a bridge's stations may move to unseen by the program.
type blind struct {
	// devices are those of ports without a program; frames that they count
	// are a reason to ask OVS.
	devices []int
	// always tells of ports without a device to count at, as patch ports and
	// tunnels: OVS is asked each time.
	always bool
	// moody tells of STP, RSTP or a bond with LACP: OVS announces no change of
	// which ports and members forward, so everything is looked at each time.
	moody bool
}

// blindSpots lists them for the bridges that are on, by Bridge:name.
func blindSpots(snap *ovs.Snapshot, result *plan.Result, links map[string]plan.Link) map[string]blind {
	spots := make(map[string]blind)
	for _, state := range result.Bridges {
		if state.State != plan.StateOn {
			continue
		}
		for bi := range snap.Bridges {
			b := &snap.Bridges[bi]
			if b.Name != state.Name {
				continue
			}
			spot := blind{moody: b.STP || b.RSTP}
			for pi := range b.Ports {
				spot.moody = spot.moody || len(b.Ports[pi].Interfaces) > 1 && b.Ports[pi].LACP != "" && b.Ports[pi].LACP != "off"
				for ii := range b.Ports[pi].Interfaces {
					l, ok := links[b.Ports[pi].Interfaces[ii].Name]
					p := result.Tables.Port(l.IfIndex)
					switch {
					case !ok:
						spot.always = true
					case p == nil || !p.Rule.Watch:
						spot.devices = append(spot.devices, l.IfIndex)
					}
				}
			}
			spots[b.Name] = spot
		}
	}
	return spots
}

// glance asks for the totals of a MAC table when a port without a program has
// carried frames, and for a look at a bridge whose ports change their state unannounced.
func (s *session) glance(ctx context.Context) error {
	if !s.View().Open {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	for bridge, spot := range s.blind {
		if spot.moody {
			s.soon(0)
			continue
		}
		busy := spot.always
		for _, ifindex := range spot.devices {
			n, err := s.host.Frames(ifindex)
			if err != nil || n != s.frames[ifindex] {
				busy = true
			}
			s.frames[ifindex] = n
		}
		if !busy {
			continue
		}
		if ok, err := s.readStats(ctx, bridge); !ok {
			return err
		}
	}
	return nil
}
