// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"bytes"
	"cmp"
	"slices"
	"sort"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// Tables is what the kernel's tables should hold. Ports are sorted by ifindex,
// rows by bridge, VLAN and MAC, flows by key; none has two entries for one key.
type Tables struct {
	Ports []Port
	Rows  []Row
	Flows []Flow
	// Lists are what rules of ports name, sorted by key.
	Lists []List
}

// Port is a device that should be on the lane.
type Port struct {
	// IfIndex and Name are those of the device.
	IfIndex int
	Name    string
	// Mode says what is attached to the device.
	Mode Mode
	// SetOffloads tells that VLAN acceleration and LRO of the device are off
	// while it is on the lane, and restored afterwards.
	SetOffloads bool
	// Loses tells that the kernel has marked the device, since it has lost
	// frames: none is sent to it. Never set in what Build wants.
	Loses bool
	Rule  Rule
}

// Mode says how a program sits on a device.
type Mode int

// The modes of a port.
const (
	// Target attaches nothing: frames only go to the device.
	Target Mode = iota
	// Native runs the program in the device's driver.
	Native
	// Veth is Native for a device that may hold a frame's VLAN tag beside it.
	Veth
	// Generic runs it in the network stack (--allow-generic).
	Generic
	// Slave is for a slave of a Linux bond: the program of the bond runs there.
	Slave
)

// String returns the mode as port/show prints it.
func (m Mode) String() string { return [...]string{"none", "native", "native", "generic", "native"}[m] }

// Rule says what the program does with frames from and to a port.
type Rule struct {
	// Bridge is Bridge:name.
	Bridge string
	// Domain is that of rows of the port's stations, Key.Bridge, when it is not
	// Bridge: that of flows, which bridges share.
	Domain string
	// Flows tells that flows decide about frames from the port. All rows of its
	// domain are in VLAN 0 then.
	Flows bool
	// Watch looks at frames from the port (VLAN and source); Ingress lets
	// them take the lane; Egress lets frames be sent to the port.
	Watch, Ingress, Egress bool
	// Observe counts what would take the lane and passes it.
	Observe bool
	// Protected is Port:protected.
	Protected bool
	// Declared tells that the port has an attached-mac.
	Declared bool
	// Checksum guards against frames with an unfinished L4 checksum.
	Checksum bool
	// Finish tells that redirected frames from the port are nothing but bytes, so
	// that the program may finish their checksum. Without it the program looks at
	// each frame.
	Finish bool
	// Bundle is the device that rows of the port's stations name, when that is
	// another: in a bond, its first member.
	Bundle int
	// Legs holds, in the rule of a bond's first member, the members that frames
	// to the bond are sent by, by hash bucket. All 0: not a bond, or none.
	Legs [Legs]int
	// Scattered tells that the device takes frames that lie in several buffers.
	Scattered bool
	// Reflects tells that other members of the bond may hand back what was sent
	// by one, and OVS drops it: a known source there has not moved.
	Reflects bool
	// VLANMode and VID (Port:tag) say which VLAN a frame is in.
	VLANMode VLANMode
	VID      ovs.VLAN
	// VLANs holds the VLANs whose frames are looked at; the others pass.
	VLANs ovs.VLANSet
	// MaxFrame is the largest frame in bytes from and to the port, Ethernet
	// header included, 802.1Q tag not.
	MaxFrame int
	// KeepAlive is the interval at which a frame of each station passes.
	KeepAlive time.Duration
	// Rules names the list of OpenFlow rules that decides frames from the port,
	// the zero ListKey being none, and Scoped tells that those of DestinationRules
	// do, too. Frames that no rule matches pass.
	Rules  ListKey
	Scoped bool
	// Addresses names the list of source addresses that frames from the port may
	// have; the zero ListKey is none.
	Addresses ListKey
	// Lists changes with any of those lists.
	Lists string
	// Plain names, a line each, the OpenFlow rules that every frame hits where no
	// list is needed (RuleID).
	Plain string
	// MAC is the attached-mac of the port: frames with another source pass. Zero:
	// none.
	MAC ovs.MAC
	// PoliceBytes and PoliceFrames are Interface:ingress_policing_rate and
	// ingress_policing_kpkts_rate with their bursts.
	PoliceBytes, PoliceFrames Rate
}

// Rate is a limit of rate. The zero Rate is none.
type Rate struct {
	// PerSecond is in bytes behind the Ethernet header, or in frames; so is
	// Burst, what may come at once after a pause.
	PerSecond, Burst uint64
}

// Shut is the rule of a port that is closed, of the same bridge.
func (r Rule) Shut() Rule { return Rule{Bridge: r.Bridge, Domain: r.Domain} }

// InDomain is the domain of rows of the port's stations.
func (r Rule) InDomain() string { return cmp.Or(r.Domain, r.Bridge) }

// Sends tells whether frames may be sent to the port, or the bond that it
// stands for.
func (r Rule) Sends() bool { return r.Egress || r.Legs != [Legs]int{} }

// VLANMode says how a port carries VLANs.
type VLANMode int

// The VLAN modes of Port:vlan_mode that the lane knows.
const (
	Trunk VLANMode = iota
	Access
	NativeTagged
	NativeUntagged
)

// String returns the mode as Port:vlan_mode spells it.
func (m VLANMode) String() string {
	return [...]string{"trunk", "access", "native-tagged", "native-untagged"}[m]
}

// Key names a station: its address in a VLAN of a bridge, or in VLAN 0 of a
// domain of bridges that use flows (Rule.InDomain).
type Key struct {
	Bridge string
	VLAN   ovs.VLAN
	MAC    ovs.MAC
}

// Compare orders keys by bridge, VLAN and MAC.
func (k Key) Compare(l Key) int {
	if c := cmp.Compare(k.Bridge, l.Bridge); c != 0 {
		return c
	}
	if c := cmp.Compare(k.VLAN, l.VLAN); c != 0 {
		return c
	}
	return bytes.Compare(k.MAC[:], l.MAC[:])
}

// Row is where a station is.
type Row struct {
	Key
	// IfIndex is the device of its port.
	IfIndex int
	// Target tells that frames may be sent to it, Mirrored that frames from
	// it stay with OVS.
	Target, Mirrored bool
	// Declared tells that attached-mac says so: its station is not taken for
	// moved when a port with another attached-mac shows its address.
	Declared bool
	// Moved tells that the kernel saw the station elsewhere: frames from and
	// to it pass. Never set in what Build wants.
	Moved bool
}

// Sort puts the tables into their order.
func (t *Tables) Sort() {
	ovs.SortBy(t.Ports, func(p *Port) uint64 { return uint64(p.IfIndex) ^ 1<<63 }) // also below 0
	sortRows(t.Rows)
	sortFlows(t.Flows)
	slices.SortFunc(t.Lists, func(a, b List) int { return a.Key.Compare(b.Key) })
}

// Port returns the port of a device, nil when it is not on the lane.
func (t *Tables) Port(ifindex int) *Port {
	// Not slices.BinarySearchFunc, which copies a port at each step.
	i := sort.Search(len(t.Ports), func(i int) bool { return t.Ports[i].IfIndex >= ifindex })
	if i == len(t.Ports) || t.Ports[i].IfIndex != ifindex {
		return nil
	}
	return &t.Ports[i]
}

// Row returns a station's row, nil when it is not known.
func (t *Tables) Row(k Key) *Row {
	i, ok := slices.BinarySearchFunc(t.Rows, k, func(r Row, k Key) int { return r.Compare(k) })
	if !ok {
		return nil
	}
	return &t.Rows[i]
}
