// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"text/tabwriter"
)

// count is a reading of the counters of one port of the bridge. "In" is from
// the machine to the bridge.
type count struct {
	inLane, inOVS, would, outLane uint64
	// out is what has reached the machine, on either path.
	out uint64
}

// count reads the counters of every port, by name.
func (d *demo) count() (map[string]count, error) {
	ports, err := d.lab.Ports()
	if err != nil {
		return nil, err
	}
	counts := make(map[string]count)
	for _, p := range ports {
		if p.Bridge == "br0" {
			counts[p.Port] = count{inLane: p.RX.Lane, inOVS: p.RX.OVS, would: p.RX.Would, outLane: p.TX.Lane}
		}
	}
	for _, m := range d.machines {
		c := counts[m.port]
		if m.port == "uplink" {
			c.out, err = d.uplink.Switch.Received("uplink")
		} else {
			c.out, err = m.ns.Received("eth0")
		}
		if err != nil {
			return nil, err
		}
		counts[m.port] = c
	}
	return counts, nil
}

// frameTable prints the frames of each port and direction, by path, and fails
// when a port has not used the lane in both directions.
func (d *demo) frameTable(before, after map[string]count) error {
	t := tabwriter.NewWriter(d.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "   \t\tfrom the machine\t\tto the machine\t\t")
	fmt.Fprintln(t, "   port\tVLAN\texpress lane\tOVS\texpress lane\tOVS\t")
	var idle error
	done := make(map[string]bool)
	for _, m := range d.machines {
		if done[m.port] {
			continue
		}
		done[m.port] = true
		a, b := after[m.port], before[m.port]
		inLane, inOVS, outLane := a.inLane-b.inLane, a.inOVS-b.inOVS, a.outLane-b.outLane
		outOVS := max(a.out-b.out, outLane) - outLane
		title, vlan := m.port+" ("+m.kind+")", fmt.Sprint(m.vlan)
		if m.port == "uplink" {
			title, vlan = "uplink", "trunk"
		}
		fmt.Fprintf(t, "   %s\t%s\t%d\t%d\t%d\t%d\t\n", title, vlan, inLane, inOVS, outLane, outOVS)
		if inLane == 0 || outLane == 0 {
			idle = fmt.Errorf("port %s has not used the lane in both directions", m.port)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return idle
}
