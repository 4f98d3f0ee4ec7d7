// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/fdb"
)

// address names a station: its MAC address in a VLAN of a bridge.
type address struct {
	bridge int
	vlan   ovs.VLAN
	mac    ovs.MAC
}

// place is where a MAC table has a station.
type place struct {
	port   int // -1: the bridge's own
	static bool
}

type macTable map[address]place

// macTable reads what OVS knows of the bridges of a side.
func (r *Rig) macTable(s *side) (macTable, error) {
	t := make(macTable)
	for i := range s.now.Bridges {
		text, err := r.ask("fdb/show", s.bridge(i))
		if err != nil {
			return nil, err
		}
		rows, err := fdb.Parse(text)
		if err != nil {
			return nil, err
		}
		for _, e := range rows {
			at := place{int(e.OFPort) - 1, e.Static}
			if e.OFPort == ovs.LocalPort {
				at.port = -1
			}
			t[address{i, e.VLAN, e.MAC}] = at
		}
	}
	return t, nil
}

// macTables reads what OVS knows on both sides, and returns it when that is
// the same; else it says what differs.
func (r *Rig) macTables() (table macTable, differ string, err error) {
	for began := time.Now(); ; {
		alone, err := r.macTable(r.alone)
		if err != nil {
			return nil, "", err
		}
		lane, err := r.macTable(r.lane)
		if err != nil {
			return nil, "", err
		}
		if maps.Equal(alone, lane) {
			return alone, "", nil
		}
		if time.Since(began) > late {
			return nil, alone.diff(lane), nil
		}
		time.Sleep(time.Millisecond)
	}
}

// diff lists the rows that are not the same.
func (t macTable) diff(lane macTable) string {
	var lines []string
	all := maps.Clone(t)
	maps.Copy(all, lane)
	for a := range all {
		x, inAlone := t[a]
		y, inLane := lane[a]
		if x != y || inAlone != inLane {
			lines = append(lines, fmt.Sprintf("    bridge %d VLAN %d %s: OVS alone has it %s, with the lane %s",
				a.bridge, a.vlan, a.mac, x.text(inAlone), y.text(inLane)))
		}
	}
	slices.Sort(lines)
	return "  MAC tables differ:\n" + strings.Join(lines, "\n") + "\n"
}

func (p place) text(known bool) string {
	switch {
	case !known:
		return "nowhere"
	case p.static:
		return fmt.Sprintf("on port %d, static", p.port)
	}
	return fmt.Sprintf("on port %d", p.port)
}
