// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// Config is what one side is configured as. Both sides are configured alike,
// but that one does not ask for the lane.
type Config struct {
	Bridges []Bridge
	// Ports holds the ports of all bridges; port i has the OpenFlow port
	// number i + 1.
	Ports []Port
	// Patches join bridges. They do not change in a case.
	Patches []Patch
}

// Patch is a pair of patch ports between two bridges.
type Patch struct{ Bridges [2]int }

// patchPort is the OpenFlow port number of an end of a patch.
func patchPort(patch, end int) int { return 100 + 2*patch + end }

// Bridge is the configuration of a bridge, in the words of the database.
type Bridge struct {
	// Mode is external_ids:xdp-offload, Lane is xdp-lane.
	Mode, Lane string
	// Canary and XDPVLANs are the keys of these names; "" leaves them out.
	Canary, XDPVLANs string
	FloodVLANs       []ovs.VLAN
	Mirrors          []Mirror
	STP, RSTP        bool
	Secure           bool // fail_mode=secure
	MACTableSize     int  // 0: as OVS has it
	Snooping         bool // mcast_snooping_enable
	ForwardBPDU      bool
	// Policy is what the OpenFlow table has instead of a single NORMAL.
	Policy *Policy
	// FragMode is that of ovs-ofctl set-frags; "" leaves normal.
	FragMode string
}

// Mirror is a row of the table Mirror. Ports are indices into Config.Ports.
type Mirror struct {
	SelectAll bool
	Src, Dst  []int
	VLANs     []ovs.VLAN
	// Output is the output port, or -1 for OutputVLAN.
	Output     int
	OutputVLAN ovs.VLAN
}

// noTag is the Tag of a port without one.
const noTag = -1

// Port is the configuration of a port.
type Port struct {
	// Bridge is the bridge's index, or -1 for a port that is on none.
	Bridge    int
	VLANMode  string
	Tag       int
	Trunks    []ovs.VLAN
	CVLANs    []ovs.VLAN
	Protected bool
	// PriorityTags is other_config:priority-tags.
	PriorityTags string
	// Offload is external_ids:xdp-offload, on the Interface if OnInterface.
	Offload     string
	OnInterface bool
	MTU         int // 0: 1500
	// LinkDown sets the device down.
	LinkDown bool
	// NoReceive, NoForward and OFDown are bits of the OpenFlow port.
	NoReceive, NoForward, OFDown bool
	// AttachedMAC, Addresses and Validate are the keys attached-mac,
	// xdp-addresses and xdp-validate of external_ids of the Interface.
	AttachedMAC, Addresses, Validate string
	// PolicingRate and PolicingPackets are ingress_policing_rate and
	// ingress_policing_kpkts_rate, so high that no frame is over them.
	PolicingRate, PolicingPackets int
}

// Clone returns a copy that shares nothing that is ever changed: slices of a
// Bridge or Port are replaced, not written to.
func (c Config) Clone() Config {
	return Config{Bridges: slices.Clone(c.Bridges), Ports: slices.Clone(c.Ports), Patches: c.Patches}
}

// mode returns the port's vlan_mode, with the empty one made explicit.
func (p *Port) mode() string {
	switch {
	case p.VLANMode != "":
		return p.VLANMode
	case p.Tag != noTag:
		return "access"
	}
	return "trunk"
}

func (p *Port) mtu() int {
	if p.MTU == 0 {
		return 1500
	}
	return p.MTU
}

// native is the VLAN of untagged frames.
func (p *Port) native() ovs.VLAN {
	if p.Tag == noTag || p.mode() == "trunk" {
		return 0
	}
	return ovs.VLAN(p.Tag)
}

// carries tells whether frames of a VLAN may come in at the port.
func (p *Port) carries(v ovs.VLAN) bool {
	switch p.mode() {
	case "access", "dot1q-tunnel":
		return v == p.native()
	case "native-tagged", "native-untagged":
		if v == p.native() {
			return true
		}
	}
	return len(p.Trunks) == 0 || slices.Contains(p.Trunks, v)
}

// words collects the settings that differ from the default.
type words []string

func (w *words) addIf(on bool, format string, args ...any) {
	if on {
		*w = append(*w, fmt.Sprintf(format, args...))
	}
}

// String returns what the bridge has beyond the default.
func (b *Bridge) String() string { return strings.Join(b.words(), " ") }

func (b *Bridge) words() words {
	w := words{"xdp-offload=" + b.Mode}
	w.addIf(b.Lane != "", "xdp-lane=%s", b.Lane)
	w.addIf(b.Canary != "", "xdp-canary=%s", b.Canary)
	w.addIf(b.XDPVLANs != "", "xdp-vlans=%s", b.XDPVLANs)
	w.addIf(len(b.FloodVLANs) > 0, "flood_vlans=%v", b.FloodVLANs)
	for _, m := range b.Mirrors {
		w.addIf(true, "%s", m)
	}
	w.addIf(b.STP, "stp_enable=true")
	w.addIf(b.RSTP, "rstp_enable=true")
	w.addIf(b.Secure, "fail_mode=secure")
	w.addIf(b.MACTableSize != 0, "mac-table-size=%d", b.MACTableSize)
	w.addIf(b.Snooping, "mcast_snooping_enable=true")
	w.addIf(b.ForwardBPDU, "forward-bpdu=true")
	w.addIf(b.FragMode != "", "set-frags %s", b.FragMode)
	if b.Policy != nil {
		w = append(w, b.Policy.words()...)
	}
	return w
}

// String returns the mirror as settings of its row.
func (m Mirror) String() string {
	var w words
	w.addIf(m.SelectAll, "select_all=true")
	w.addIf(len(m.Src) > 0, "select_src_port=%v", m.Src)
	w.addIf(len(m.Dst) > 0, "select_dst_port=%v", m.Dst)
	w.addIf(len(m.VLANs) > 0, "select_vlan=%v", m.VLANs)
	w.addIf(m.Output >= 0, "output_port=%d", m.Output)
	w.addIf(m.Output < 0, "output_vlan=%d", m.OutputVLAN)
	return "mirror(" + strings.Join(w, " ") + ")"
}

// String returns what the port has beyond the default.
func (p *Port) String() string {
	if p.Bridge < 0 {
		return "on no bridge"
	}
	return strings.Join(append([]string{fmt.Sprintf("on bridge %d", p.Bridge)}, p.words()...), " ")
}

func (p *Port) words() words {
	var w words
	w.addIf(p.VLANMode != "", "vlan_mode=%s", p.VLANMode)
	w.addIf(p.Tag != noTag, "tag=%d", p.Tag)
	w.addIf(len(p.Trunks) > 0, "trunks=%v", p.Trunks)
	w.addIf(len(p.CVLANs) > 0, "cvlans=%v", p.CVLANs)
	w.addIf(p.Protected, "protected=true")
	w.addIf(p.PriorityTags != "", "priority-tags=%s", p.PriorityTags)
	w.addIf(p.Offload != "", "xdp-offload=%s", p.Offload)
	w.addIf(p.MTU != 0, "mtu=%d", p.MTU)
	w.addIf(p.LinkDown, "link-down")
	w.addIf(p.NoReceive, "no-receive")
	w.addIf(p.NoForward, "no-forward")
	w.addIf(p.OFDown, "mod-port-down")
	w.addIf(p.AttachedMAC != "", "attached-mac=%s", p.AttachedMAC)
	w.addIf(p.Addresses != "", "xdp-addresses=%q", p.Addresses)
	w.addIf(p.Validate != "", "xdp-validate=%s", p.Validate)
	w.addIf(p.PolicingRate != 0, "ingress_policing_rate=%d", p.PolicingRate)
	w.addIf(p.PolicingPackets != 0, "ingress_policing_kpkts_rate=%d", p.PolicingPackets)
	return w
}

// String lists bridges and ports, a line each.
func (c *Config) String() string {
	var b strings.Builder
	for i := range c.Bridges {
		fmt.Fprintf(&b, "  bridge %d: %s\n", i, &c.Bridges[i])
	}
	for i := range c.Ports {
		fmt.Fprintf(&b, "  port %d: %s\n", i, &c.Ports[i])
	}
	for i, p := range c.Patches {
		fmt.Fprintf(&b, "  patch between bridge %d (port %d) and %d (port %d)\n", p.Bridges[0], patchPort(i, 0), p.Bridges[1], patchPort(i, 1))
	}
	return b.String()
}
