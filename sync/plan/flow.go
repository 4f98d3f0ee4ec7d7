// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"fmt"
	"sort"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// Flow is what OVS does with a class of frames from a port with Rule.Flows: a
// megaflow that looks at L2 alone and sends each frame to one port.
type Flow struct {
	FlowKey
	// Egress is the device that the frames are sent to.
	Egress int
	// Tag says what becomes of the tag, and VID and PCP, of PushTag and SetTag,
	// what the new one is.
	Tag TagAction
	VID ovs.VLAN
	PCP uint8
	// KeepAlive is the interval at which a frame of the flow passes, so that OVS
	// keeps the megaflow.
	KeepAlive time.Duration
}

// FlowKey names a class of frames: as they are on the wire.
type FlowKey struct {
	// IfIndex is the device that they come from; of a Linux bond the bond, not its
	// slaves.
	IfIndex int
	// Tagged tells that they have an 802.1Q tag, FromVID and FromPCP which; both
	// are 0 without one.
	Tagged  bool
	FromVID ovs.VLAN
	FromPCP uint8
	// EtherType is the type behind the tag, 0x0800 or 0x86dd.
	EtherType uint16
	Src, Dst  ovs.MAC
}

// TagAction is what becomes of a frame's tag.
type TagAction uint8

// The tag actions.
const (
	KeepTag TagAction = iota // as it is, also none
	PopTag                   // the frame leaves without
	PushTag                  // a frame without gets one
	SetTag                   // it is replaced
)

// String returns the action as ovs-xdpctl flows prints it.
func (a TagAction) String() string { return [...]string{"keep", "pop", "push", "set"}[a] }

// Compare orders keys by device, addresses, type and tag.
func (k FlowKey) Compare(l FlowKey) int { return k.compare(&l) }

func (k *FlowKey) compare(l *FlowKey) int {
	switch {
	case k.IfIndex != l.IfIndex:
		return cmp.Compare(k.IfIndex, l.IfIndex)
	case k.Src != l.Src:
		return cmp.Compare(k.Src.Number(), l.Src.Number())
	case k.Dst != l.Dst:
		return cmp.Compare(k.Dst.Number(), l.Dst.Number())
	case k.EtherType != l.EtherType:
		return cmp.Compare(k.EtherType, l.EtherType)
	}
	return cmp.Compare(k.tag(), l.tag())
}

func (k *FlowKey) tag() int {
	if !k.Tagged {
		return -1
	}
	return int(k.FromVID)<<3 | int(k.FromPCP)
}

// String names the class for messages.
func (k FlowKey) String() string {
	tag := "untagged"
	if k.Tagged {
		tag = fmt.Sprintf("tag %d priority %d", k.FromVID, k.FromPCP)
	}
	return fmt.Sprintf("device %d %s 0x%04x %s to %s", k.IfIndex, tag, k.EtherType, k.Src, k.Dst)
}

// Flow returns what is done with a class of frames, nil when OVS decides.
func (t *Tables) Flow(k FlowKey) *Flow {
	i := sort.Search(len(t.Flows), func(i int) bool { return t.Flows[i].compare(&k) >= 0 })
	if i == len(t.Flows) || t.Flows[i].FlowKey != k {
		return nil
	}
	return &t.Flows[i]
}
