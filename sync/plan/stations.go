// SPDX-License-Identifier: Apache-2.0

package plan

import "github.com/ovs-xdp/ovs-xdp/ovs"

// stations says where those of a domain are, by its flows: the device that frames to
// a station go to, and from it come from; several for more than one.
type stations struct {
	domain   string
	to, from map[ovs.MAC]int
}

const several = -1

func stationsOf(domain string) stations {
	return stations{domain, make(map[ovs.MAC]int), make(map[ovs.MAC]int)}
}

func (s stations) note(f *Flow) {
	place(s.to, f.Dst, f.Egress)
	place(s.from, f.Src, f.IfIndex)
}

func place(at map[ovs.MAC]int, m ovs.MAC, ifindex int) {
	if was, ok := at[m]; ok && was != ifindex {
		ifindex = several
	}
	at[m] = ifindex
}

// rows gives each station a row where frames to it go, if all go to one place, or
// else where those from it come from. After a move megaflows from the old place live
// on until they are idle, those to it do not; a flood that leaves one port looks like
// a place, too, where the station never speaks.
func (s stations) rows() []Row {
	var rows []Row
	add := func(m ovs.MAC) {
		at, ok := s.to[m]
		if !ok || at == several {
			at, ok = s.from[m]
		}
		if ok && at != several {
			rows = append(rows, Row{Key: Key{Bridge: s.domain, MAC: m}, IfIndex: at, Target: true})
		}
	}
	for m := range s.to {
		add(m)
	}
	for m := range s.from {
		if _, ok := s.to[m]; !ok {
			add(m)
		}
	}
	return rows
}
