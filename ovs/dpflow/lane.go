// SPDX-License-Identifier: Apache-2.0

package dpflow

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// LaneFlow is a flow that looks at L2 alone and sends each frame to one port.
// Two of them are the same decision when they are equal (==).
type LaneFlow struct {
	Key
	// FragNo tells that the flow is not for IP fragments: they must pass. Without
	// it fragments are treated like all frames.
	FragNo bool
	// Pop takes the frame's tag off; then Push, when it is Present, puts one on.
	// A frame that keeps its tag keeps it as it is, PCP included.
	Pop  bool
	Push Tag
	// Output is the name of the port that the frame is sent to, another than
	// InPort. In an OVS database that is Interface:name, of any bridge of the
	// datapath; of a tunnel it is the datapath's port (vxlan_sys_4789).
	Output string
}

// Key is the class of frames of a LaneFlow: as they are on the wire, before any
// action.
type Key struct {
	// InPort is the name of the port that the frame comes from, Interface:name
	// in an OVS database. It is an interface of the kernel or of the userspace
	// datapath, never a patch port.
	InPort string
	// Tag is the 802.1Q tag; not Present: the frame has none.
	Tag TagMatch
	// EtherType is the type behind the tag: IPv4 or IPv6.
	EtherType uint16
	// Src and Dst are the addresses, neither a group address.
	Src, Dst ovs.MAC
}

// The types of Key.EtherType.
const (
	IPv4 uint16 = 0x0800
	IPv6 uint16 = 0x86dd
)

// Tag is an 802.1Q tag with TPID 0x8100. VID 0 is a priority tag. OVS does not say
// what becomes of the DEI bit.
type Tag struct {
	Present bool
	VID     ovs.VLAN
	PCP     uint8
}

// TagMatch is a tag of which only the bits in the masks count; the others are 0
// in VID and PCP. Whether the DEI bit counts is not printed.
type TagMatch struct {
	Tag
	VIDMask ovs.VLAN
	PCPMask uint8
}

// Masks of a tag that is exact.
const (
	ExactVID ovs.VLAN = 0xfff
	ExactPCP uint8    = 7
)

// String returns match and actions in the manner of OVS, without what is
// wildcarded:
//
//	recirc_id(0),in_port(tap4),eth(src=…,dst=…),eth_type(0x0800),ipv4(frag=no), actions:push_vlan(vid=10,pcp=0),eth1
func (l LaneFlow) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "recirc_id(0),in_port(%s),eth(src=%s,dst=%s),", l.InPort, l.Src, l.Dst)
	end := ""
	if l.Tag.Present {
		fmt.Fprintf(&b, "eth_type(0x8100),vlan(vid=%d", l.Tag.VID)
		if l.Tag.VIDMask != ExactVID {
			fmt.Fprintf(&b, "/0x%x", uint16(l.Tag.VIDMask))
		}
		fmt.Fprintf(&b, ",pcp=%d", l.Tag.PCP)
		if l.Tag.PCPMask != ExactPCP {
			fmt.Fprintf(&b, "/0x%x", l.Tag.PCPMask)
		}
		b.WriteString("),encap(")
		end = ")"
	}
	fmt.Fprintf(&b, "eth_type(0x%04x)", l.EtherType)
	if l.FragNo {
		fmt.Fprintf(&b, ",%s(frag=no)", map[uint16]string{IPv4: "ipv4", IPv6: "ipv6"}[l.EtherType])
	}
	b.WriteString(end + ", actions:")
	if l.Pop {
		b.WriteString("pop_vlan,")
	}
	if l.Push.Present {
		fmt.Fprintf(&b, "push_vlan(vid=%d,pcp=%d),", l.Push.VID, l.Push.PCP)
	}
	b.WriteString(l.Output)
	return b.String()
}

// reading is a LaneFlow that is being put together, until something speaks
// against it.
type reading struct {
	lane   LaneFlow
	reason Reason // the first one
	also   []Reason
	detail string
	again  bool // Flow.Again
}

func (r *reading) refuse(why Reason, text string) {
	if r.reason != "" {
		if why != r.reason && !slices.Contains(r.also, why) {
			r.also = append(r.also, why)
		}
		return
	}
	if len(text) > maxDetail {
		text = text[:maxDetail-3] + "..."
	}
	r.reason, r.detail = why, strings.Clone(text)
}

// PlainName reports whether a port's name can't be taken for anything else in
// what OVS prints: letters, digits, '-', '_' and '.', not a number, not an action.
func PlainName(name string) bool {
	number := true
	for i := range len(name) {
		c := name[i]
		digit := c >= '0' && c <= '9'
		if !digit && (c|0x20 < 'a' || c|0x20 > 'z') && c != '-' && c != '_' && c != '.' {
			return false
		}
		number = number && digit
	}
	// OVS prints actions that it has no name for as "action27".
	_, known := actionReasons[name]
	rest, generic := strings.CutPrefix(name, "action")
	if generic {
		_, generic = decimal(rest, 32)
	}
	return name != "" && !number && !known && !generic && name != "pop_vlan" && name != "push_vlan"
}
