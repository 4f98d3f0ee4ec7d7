// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/fdb"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// vlans is over how many VLANs the ports are spread.
const vlans = 20

// network is one bridge with many ports and stations, whose OVS has learned them.
type network struct {
	*lab.Lab
	crowd *lab.Crowd
	// stations are those that OVS has been shown.
	stations []station
	made     int
	daemon   *lab.Daemon
}

func newNetwork(kind string, ports int) (*network, error) {
	l, err := lab.New(lab.Config{})
	if err != nil {
		return nil, err
	}
	n := &network{Lab: l}
	if err := n.AddBridge("br0", "other_config:mac-table-size=400000", "other_config:mac-aging-time=3600"); err != nil {
		return n, err
	}
	n.crowd, err = n.AddCrowd("br0", kind, ports, func(i int) []string { return []string{"tag=" + strconv.Itoa(int(vlanOf(i)))} })
	return n, err
}

func vlanOf(port int) ovs.VLAN { return ovs.VLAN(10 + port%vlans) }

// newStation makes one behind a port.
func (n *network) newStation(port int) station {
	n.made++
	return station{
		mac:  ovs.MAC{0x52, 0x54, 0, byte(n.made >> 16), byte(n.made >> 8), byte(n.made)},
		vlan: vlanOf(port), port: port,
	}
}

// show sends a frame of a station to itself: OVS learns where it is, and sends
// the frame nowhere.
func (n *network) show(s station) error {
	return n.crowd.Send(s.port, frame.UDP4(s.mac, s.mac))
}

// populate has OVS learn stations until it knows that many.
func (n *network) populate(ctx context.Context, total int) error {
	for len(n.stations) < total {
		n.stations = append(n.stations, n.newStation(len(n.stations)%len(n.crowd.Names)))
	}
	missing := n.stations
	for range 50 {
		for i, s := range missing {
			if err := n.show(s); err != nil {
				return err
			}
			if i%500 == 499 { // what OVS has not read is dropped at its sockets
				if _, err := n.Appctl("version"); err != nil {
					return err
				}
			}
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		known, err := n.known()
		if err != nil {
			return err
		}
		var left []station
		for _, s := range missing {
			if !known[s.vlan][s.mac] {
				left = append(left, s)
			}
		}
		if missing = left; len(missing) == 0 {
			return n.calm(ctx)
		}
	}
	return fmt.Errorf("OVS has not learned %d of %d stations", len(missing), total)
}

func (n *network) known() (map[ovs.VLAN]map[ovs.MAC]bool, error) {
	text, err := n.Appctl("fdb/show", "br0")
	if err != nil {
		return nil, err
	}
	rows, err := fdb.Parse(text)
	if err != nil {
		return nil, err
	}
	known := make(map[ovs.VLAN]map[ovs.MAC]bool)
	for _, r := range rows {
		if known[r.VLAN] == nil {
			known[r.VLAN] = make(map[ovs.MAC]bool)
		}
		known[r.VLAN][r.MAC] = true
	}
	return known, nil
}

// calm waits until OVS has forgotten the flows of the frames that it was shown:
// while it looks after them it is not idle.
func (n *network) calm(ctx context.Context) error {
	for range 600 {
		if _, err := n.Appctl("revalidator/purge"); err != nil {
			return err
		}
		text, err := n.Appctl("upcall/show")
		if err != nil {
			return err
		}
		if _, rest, ok := strings.Cut(text, "(current "); ok && strings.HasPrefix(rest, "0)") {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
	return fmt.Errorf("OVS keeps its flows")
}
