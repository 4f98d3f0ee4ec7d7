// SPDX-License-Identifier: Apache-2.0

package plan

import "github.com/ovs-xdp/ovs-xdp/ovs"

// stations says where those of a domain are, by its flows: the devices that frames
// to a station go to, and from it come from.
type stations struct {
	domain   string
	to, from map[ovs.MAC]map[int]bool
}

func stationsOf(domain string) stations {
	return stations{domain, make(map[ovs.MAC]map[int]bool), make(map[ovs.MAC]map[int]bool)}
}

func (s stations) note(f Flow) {
	for _, n := range []struct {
		at      map[ovs.MAC]map[int]bool
		mac     ovs.MAC
		ifindex int
	}{{s.to, f.Dst, f.Egress}, {s.from, f.Src, f.IfIndex}} {
		if n.at[n.mac] == nil {
			n.at[n.mac] = make(map[int]bool)
		}
		n.at[n.mac][n.ifindex] = true
	}
}

// rows gives each station a row where frames to it go, if all go to one place, or
// else where those from it come from. After a move megaflows from the old place live
// on until they are idle, those to it do not; a flood that leaves one port looks like
// a place, too, where the station never speaks.
func (s stations) rows() []Row {
	var rows []Row
	add := func(m ovs.MAC) {
		places := s.to[m]
		if len(places) != 1 {
			places = s.from[m]
		}
		if len(places) != 1 {
			return
		}
		for ifindex := range places {
			rows = append(rows, Row{Key: Key{Bridge: s.domain, MAC: m}, IfIndex: ifindex, Target: true})
		}
	}
	for m := range s.to {
		add(m)
	}
	for m := range s.from {
		if s.to[m] == nil {
			add(m)
		}
	}
	return rows
}
