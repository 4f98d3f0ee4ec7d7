// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// laneRow is a station on the lane.
type laneRow struct {
	// state is "lane", "source-only" or "moved".
	state string
	port  int
}

// laneState is what ovs-xdpd says of the bridges of a case.
type laneState struct {
	rows map[address]laneRow
	// attached tells which ports have a program that watches them.
	attached []bool
	// flows tells which bridges use OVS's flows.
	flows map[int]bool
	// closed tells why the lane is closed; "" when it is open.
	closed string
}

func (r *Rig) laneState() (laneState, error) {
	st := laneState{rows: make(map[address]laneRow), attached: make([]bool, maxPorts), flows: make(map[int]bool)}
	rows, err := askLane[[]lab.FDBRow](r, "fdb/show")
	if err != nil {
		return st, err
	}
	ports, err := askLane[[]lab.PortStatus](r, "port/show")
	if err != nil {
		return st, err
	}
	status, err := askLane[lab.Status](r, "offload/show")
	if err != nil {
		return st, err
	}
	bridges := make(map[string]int)
	for i := range r.lane.now.Bridges {
		bridges[r.lane.bridge(i)] = i
	}
	if status.Lane != "open" {
		st.closed = "the lane is " + status.Lane
	}
	for _, b := range status.Bridges {
		if i, ok := bridges[b.Name]; ok && b.Lane == "flows" {
			st.flows[i] = true
		}
		if b.Audit.Found != nil {
			st.closed = fmt.Sprintf("the audit has closed the lane of %s: %s\n%s", b.Name, b.Audit.Found.Detail, b.Audit.Found.Trace)
		}
	}
	for _, row := range rows {
		mac, err := ovs.ParseMAC(row.MAC)
		if err != nil {
			return st, err
		}
		st.rows[address{bridges[row.Bridge], ovs.VLAN(row.VLAN), mac}] = laneRow{row.State, r.lane.index(row.Interface)}
	}
	for _, p := range ports {
		if _, ok := bridges[p.Bridge]; !ok {
			continue
		}
		if i := r.lane.index(p.Interface); i >= 0 {
			st.attached[i] = p.Ingress
		}
	}
	return st, nil
}

// plainBridge tells a bridge that has nothing which may keep it off the lane.
func (b *Bridge) plainBridge() bool {
	return b.Mode == "on" && b.Lane != "flows" && len(b.Mirrors) == 0 && !b.STP && !b.RSTP && !b.Secure && b.FragMode == "" &&
		(b.Policy == nil || !b.Policy.foreign())
}

// takes tells whether a VLAN of the bridge may take the lane.
func (b *Bridge) takes(v ovs.VLAN) bool {
	if b.XDPVLANs != "" {
		set, err := ovs.ParseVLANSet(b.XDPVLANs)
		if err != nil || !set.Has(v) {
			return false
		}
	}
	return !slices.Contains(b.FloodVLANs, v)
}

// healthy tells a port that has nothing which may keep it off the lane, as
// far as frames towards it go.
func (p *Port) healthy() bool {
	return p.Bridge >= 0 && p.mode() != "dot1q-tunnel" && (p.PriorityTags == "" || p.PriorityTags == "never") &&
		p.Offload != "off" && !p.LinkDown && !p.NoReceive && !p.NoForward && !p.OFDown && p.mtu() <= 2000
}

// onLane tells whether the station at this place must be on the lane.
func (c *Config) onLane(a address, at place) bool {
	b := &c.Bridges[a.bridge]
	if at.port < 0 || at.port >= len(c.Ports) || a.mac.IsZero() || a.mac.IsGroup() {
		return false
	}
	p := &c.Ports[at.port]
	return b.plainBridge() && b.takes(a.vlan) && p.healthy() && p.carries(a.vlan)
}

// lateLane is when the lane is too late in taking up what OVS knows.
var lateLane = 3 * time.Second * lab.Patience() * lab.Patience()

// converge waits until each station of OVS that must be on the lane is there.
// It says what is missing when that takes too long.
func (r *Rig) converge() (laneState, string, error) {
	var st laneState
	var last map[address]laneRow
	missing := errors.New("it changes all the time")
	err := lab.Eventually(lateLane, func() error {
		known, err := r.macTable(r.lane)
		if err != nil {
			return err
		}
		if st, err = r.laneState(); err != nil {
			return err
		}
		if st.closed != "" {
			return errors.New(st.closed)
		}
		for a, at := range known {
			if s := st.rows[a].state; !st.flows[a.bridge] && r.lane.now.onLane(a, at) && s != "lane" && s != "source-only" {
				return fmt.Errorf("bridge %d VLAN %d %s %s: the lane has it as %q", a.bridge, a.vlan, a.mac, at.text(true), s)
			}
		}
		if !maps.Equal(st.rows, last) { // where nothing is demanded, until all is quiet
			last = st.rows
			return missing
		}
		return nil
	})
	if err != nil {
		return st, fmt.Sprintf("  the lane is behind: %v\n", err), nil
	}
	if len(st.flows) > 0 {
		return st, "", r.flowsRead()
	}
	return st, "", nil
}

// flowsRead waits until the lane has no more of OVS's flows to take up.
func (r *Rig) flowsRead() error {
	var last []lab.Flow
	since := time.Now()
	return lab.Eventually(2*lateLane, func() error {
		now, err := askLane[[]lab.Flow](r, "flow/show")
		if err != nil {
			return err
		}
		if !slices.Equal(now, last) {
			last, since = now, time.Now()
		}
		if time.Since(since) < flowsLate {
			return errors.New("the flows of the lane change all the time")
		}
		return nil
	})
}

// flowsLate is how often ovs-xdpd reads flows, and more.
const flowsLate = 1300 * time.Millisecond

// agree waits until the lane has no station where OVS has it no longer, by
// having ovs-xdpd look.
func (r *Rig) agree() error {
	if err := r.touch(); err != nil {
		return err
	}
	return lab.Eventually(lateLane, func() error {
		known, err := r.macTable(r.lane)
		if err != nil {
			return err
		}
		st, err := r.laneState()
		if err != nil {
			return err
		}
		for a, row := range st.rows {
			if isDeclared(a.mac) {
				continue
			}
			if at, ok := known[a]; row.state != "moved" && (!ok || at.port != row.port) {
				return fmt.Errorf("bridge %d VLAN %d %s: the lane has it on port %d as %q, OVS %s",
					a.bridge, a.vlan, a.mac, row.port, row.state, at.text(ok))
			}
		}
		return nil
	})
}

// reasons sums up what the program has made of frames.
func (r *Rig) reasons() (map[string]uint64, error) {
	ports, err := askLane[[]lab.PortStatus](r, "port/show")
	reasons := make(map[string]uint64)
	for _, p := range ports {
		for reason, n := range p.Reasons {
			reasons[reason] += n
		}
	}
	return reasons, err
}
