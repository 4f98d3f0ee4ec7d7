// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/bond"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// glanceInterval is how often the ports without a program are looked at: a
// station that moves to one shows in OVS's MAC table alone. So are bridges with
// a spanning tree.
const glanceInterval = 400 * time.Millisecond

// bondInterval is how often bonds are asked which members they use: OVS tells
// the database late, and of LACP not at all.
const bondInterval = 100 * time.Millisecond

// blind is where a bridge's stations may move to unseen by the program.
type blind struct {
	// devices are those of ports without a program; frames that they count
	// are a reason to ask OVS.
	devices []int
	// always tells of ports without a device to count at, as patch ports and
	// tunnels: OVS is asked each time.
	always bool
	// spanning tells of STP or RSTP: OVS announces no change of a port's
	// state, so everything is looked at each time.
	spanning bool
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
			spot := blind{spanning: b.STP || b.RSTP}
			for pi := range b.Ports {
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
// carried frames, and for a look at a bridge with a spanning tree.
func (s *session) glance(ctx context.Context) error {
	if !s.View().Open {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	for bridge, spot := range s.blind {
		if spot.spanning {
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

// bondsOf lists the bonds of bridges that were looked into.
func bondsOf(snap *ovs.Snapshot) map[string]map[string]ovs.Bond {
	all := make(map[string]map[string]ovs.Bond)
	for i := range snap.Bridges {
		if d := snap.Bridges[i].Detail; d != nil && len(d.Bonds) > 0 {
			all[snap.Bridges[i].Name] = maps.Clone(d.Bonds)
		}
	}
	return all
}

// glanceAtBonds asks for the state of each bond, and closes what a change of it
// forbids.
func (s *session) glanceAtBonds(ctx context.Context) error {
	if !s.View().Open {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	changed := false
	for _, bonds := range s.bonds {
		for port, was := range bonds {
			text, err := s.Call(ctx, "bond/show", port)
			if errors.Is(err, errRestarted) {
				return err
			}
			var now ovs.Bond
			if err == nil {
				now, err = bond.Parse(text)
			}
			if err == nil && reflect.DeepEqual(now, was) {
				continue
			}
			changed = true
			if bonds[port] = now; err != nil {
				delete(bonds, port)
			}
		}
	}
	if changed {
		s.stale = true
		s.closeFirst()
		s.soon(0)
	}
	return nil
}
