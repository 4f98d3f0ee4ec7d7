// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// Case is a configuration and what happens to it. It is data alone: any
// subset of its events is a case, too.
type Case struct {
	Seed   uint64
	Config Config
	Events []Event
}

// Event is one step of a case; exactly one field is set.
type Event struct {
	// Frame is sent on both sides.
	Frame *Frame
	// Port and Bridge change the configuration.
	Port   *PortChange
	Bridge *BridgeChange
	// Static adds a static row to the MAC table (fdb/add); Flush empties the
	// table of a bridge.
	Static *Static
	Flush  *int
	// Converge waits until the lane has taken up what OVS knows.
	Converge bool
}

// Frame is a frame with the port where it is sent.
type Frame struct {
	Port int
	// Kind names how it was made.
	Kind string
	Data []byte
	// Plain tells of finished UDP, TCP or ICMP in IP with the usual tag of
	// its station: the lane's own.
	Plain bool
	// Alone says that it must not travel with others.
	Alone bool
}

// PortChange gives a port another configuration.
type PortChange struct {
	Index int
	Port  Port
}

// BridgeChange gives a bridge another configuration.
type BridgeChange struct {
	Index  int
	Bridge Bridge
}

// Static is a static row of the MAC table.
type Static struct {
	Port int
	VLAN ovs.VLAN
	MAC  ovs.MAC
}

// String returns the event in a line.
func (e Event) String() string {
	switch {
	case e.Frame != nil:
		return e.Frame.String()
	case e.Port != nil:
		return fmt.Sprintf("port %d becomes: %s", e.Port.Index, &e.Port.Port)
	case e.Bridge != nil:
		return fmt.Sprintf("bridge %d becomes: %s", e.Bridge.Index, &e.Bridge.Bridge)
	case e.Static != nil:
		return fmt.Sprintf("fdb/add port %d VLAN %d %s", e.Static.Port, e.Static.VLAN, e.Static.MAC)
	case e.Flush != nil:
		return fmt.Sprintf("fdb/flush bridge %d", *e.Flush)
	}
	return "wait until the lane has converged"
}

// String describes the frame in a line.
func (f *Frame) String() string {
	return fmt.Sprintf("at port %d, %s: %s", f.Port, f.Kind, describe(f.Data))
}

// key tells frames apart, and where they are sent.
func (f *Frame) key() string { return string(append([]byte{byte(f.Port)}, f.Data...)) }

// describe decodes a frame as far as it can.
func describe(b []byte) string {
	f, err := frame.Parse(b)
	if err != nil {
		return fmt.Sprintf("% x", b)
	}
	return fmt.Sprintf("%s, %d bytes in all", f, len(b))
}

// String lists the case.
func (c *Case) String() string {
	var b strings.Builder
	b.WriteString(c.Config.String())
	for i, e := range c.Events {
		fmt.Fprintf(&b, "  %3d. %s\n", i, e)
	}
	return b.String()
}

// frames counts the frames of a case.
func (c *Case) frames() int {
	n := 0
	for _, e := range c.Events {
		if e.Frame != nil {
			n++
		}
	}
	return n
}

// vlanOf tells in which VLAN of its bridge a frame is, where that is easy to
// tell.
func (c *Config) vlanOf(port int, tags []frame.Tag) (ovs.VLAN, bool) {
	p := &c.Ports[port]
	switch {
	case p.Bridge < 0:
		return 0, false
	case len(tags) == 0:
		return p.native(), p.carries(p.native())
	case len(tags) > 1, tags[0].TPID != frame.TypeVLAN && tags[0].TPID != 0, tags[0].VID == 0:
		return 0, false
	case slices.Contains([]string{"access", "dot1q-tunnel"}, p.mode()):
		return 0, false
	}
	return tags[0].VID, p.carries(tags[0].VID)
}

// leastMTU is that of all ports on bridges.
func (c *Config) leastMTU() int {
	least := 1 << 16
	for i := range c.Ports {
		if c.Ports[i].Bridge >= 0 {
			least = min(least, c.Ports[i].mtu())
		}
	}
	return least
}

// extraTags is how many bytes of tags OVS may add to a frame beyond the one
// that devices have room for. The datapath drops what it sends together with
// a frame that is too long.
func (c *Config) extraTags() int {
	for i := range c.Bridges {
		if len(c.Bridges[i].Mirrors) > 0 || c.Bridges[i].Policy != nil {
			return 8
		}
	}
	for i := range c.Ports {
		if c.Ports[i].mode() == "dot1q-tunnel" {
			return 8
		}
	}
	return 0
}
