// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// FlowKey is the class of frames of a Flow, as they are on the wire.
type FlowKey struct {
	// IfIndex is the device that they come from; of a Linux bond the bond, not its
	// slaves (Rule.Bundle).
	IfIndex int
	// Tagged tells that they have one 802.1Q tag (TPID 0x8100), with TCI: VID, 1 to
	// 4095, | PCP << 13. Its DEI bit is 0; frames with another one pass.
	Tagged bool
	TCI    uint16
	// Type is the EtherType behind the tag: 0x0800 or 0x86dd. Fragments, and IPv6
	// with extension headers, pass.
	Type uint16
	// Src and Dst are neither group addresses nor zero.
	Src, Dst ovs.MAC
}

// TagAction is what a Flow does with a frame's outer tag.
type TagAction uint8

// The tag actions. TagPop and TagSet are for frames with a tag, TagPush for those
// without.
const (
	// TagKeep leaves the frame as it is.
	TagKeep = TagAction(laneTagActionTAG_KEEP)
	TagPop  = TagAction(laneTagActionTAG_POP)
	TagPush = TagAction(laneTagActionTAG_PUSH)
	// TagSet puts another TCI into the tag: pop_vlan and push_vlan.
	TagSet = TagAction(laneTagActionTAG_SET)
)

// Flow is what OVS does with a class of frames from a port with Rule.Flows.
type Flow struct {
	FlowKey
	// Egress is the device that they leave by. The row of Dst must be there, too
	// (Row.Target, of the bridge of the port that they come from, in VLAN 0), or they
	// pass.
	Egress int
	Tag    TagAction
	// PushTCI is that of the tag that TagPush and TagSet leave: VID | PCP << 13.
	PushTCI uint16
	// KeepAlive is the interval at which one of the frames passes. The kernel keeps
	// it in units of 64 jiffies, 255 at most: it reads back as shorter. 0 lets every
	// frame pass.
	KeepAlive time.Duration
}

// tciDEI is the bit of a TCI that no flow has (struct flow_bucket in src/layout.h).
const tciDEI = 1 << 12

// check tells what the table can't hold.
func (f Flow) check() error {
	tagged := f.Tag == TagPop || f.Tag == TagSet
	pushes := f.Tag == TagPush || f.Tag == TagSet
	switch {
	case f.Type != 0x0800 && f.Type != 0x86dd:
		return fmt.Errorf("EtherType 0x%04x is neither IPv4 nor IPv6", f.Type)
	case f.Src.IsGroup() || f.Dst.IsGroup() || f.Src.IsZero() || f.Dst.IsZero():
		return errors.New("an address is not that of a station")
	case f.Tagged && f.TCI&0xfff == 0 || !f.Tagged && f.TCI != 0 || f.TCI&tciDEI != 0:
		return fmt.Errorf("TCI 0x%04x: no tag that the lane takes", f.TCI)
	case f.Tag > TagSet || tagged && !f.Tagged || f.Tag == TagPush && f.Tagged:
		return fmt.Errorf("tag action %d does not fit the frames", f.Tag)
	case pushes && f.PushTCI&0xfff == 0 || !pushes && f.PushTCI != 0 || f.PushTCI&tciDEI != 0:
		return fmt.Errorf("TCI 0x%04x: no tag that the lane pushes", f.PushTCI)
	}
	return nil
}

// String returns the key for messages.
func (k FlowKey) String() string {
	tag := "untagged"
	if k.Tagged {
		tag = fmt.Sprintf("VLAN %d priority %d", k.TCI&0xfff, k.TCI>>13)
	}
	return fmt.Sprintf("from device %d, %s, type 0x%04x, %s to %s", k.IfIndex, tag, k.Type, k.Src, k.Dst)
}

// PutFlow writes a flow, new or changed; one that is in the kernel's memory as it
// is stays untouched. A frame of a new flow passes first, so that OVS sees it used.
// Both devices must be on the lane. The error is ErrFull when there is no room.
func (l *Lane) PutFlow(f Flow) error {
	fail := func(err error) error { return fmt.Errorf("add flow %s: %w", f.FlowKey, err) }
	if err := f.check(); err != nil {
		return fail(err)
	}
	key, ok := l.flowWords(f.FlowKey)
	if !ok {
		return fail(fmt.Errorf("device %d is not on the lane", f.IfIndex))
	}
	egress, ok := l.ports.slotOf(f.Egress)
	if !ok {
		return fail(fmt.Errorf("device %d is not on the lane", f.Egress))
	}
	next := laneFlow{Slot: uint16(egress), Tci: f.PushTCI, Flags: uint8(f.Tag) | uint8(laneFlowFlagFLOW_VALID),
		Keepalive: uint8(keepUnits(f.KeepAlive, l.ticks))}
	p, ok := l.flows.find(key)
	if !ok {
		next.Stamp = l.stamp() - 1<<8 // longer ago than any interval
		if err := l.flows.add(key, next.word()); err != nil {
			return fail(err)
		}
		return nil
	}
	word := l.flows.wordAt(p)
	for {
		w := atomic.LoadUint64(word)
		next.Stamp = flowOf(w).Stamp
		if w == next.word() || atomic.CompareAndSwapUint64(word, w, next.word()) {
			return nil
		}
	}
}

// DeleteFlow takes a flow out, for each frame that comes from now on; see
// SettleFlows for those that are under way. One that is not there is no error.
func (l *Lane) DeleteFlow(k FlowKey) {
	if key, ok := l.flowWords(k); ok {
		l.flows.remove(key)
	}
}

// SettleFlows returns when no frame is under way any more on a flow that was
// deleted: a grace period for any number of them.
func (l *Lane) SettleFlows() error { return l.flows.settle() }

// Flows reads all flows from the kernel's memory, in no order.
func (l *Lane) Flows() []Flow {
	var flows []Flow
	l.flows.each(func(key flowWords, word *uint64) {
		if w := flowOf(atomic.LoadUint64(word)); w.Flags&uint8(laneFlowFlagFLOW_VALID) != 0 {
			flows = append(flows, l.flow(key, w))
		}
	})
	return flows
}

// FindFlow reads one flow from the kernel's memory; nil when there is none.
func (l *Lane) FindFlow(k FlowKey) *Flow {
	key, ok := l.flowWords(k)
	if !ok {
		return nil
	}
	p, ok := l.flows.find(key)
	if !ok {
		return nil
	}
	f := l.flow(key, flowOf(atomic.LoadUint64(l.flows.wordAt(p))))
	return &f
}

// MaxFlows is how many flows the table is made for.
func (l *Lane) MaxFlows() int { return l.flows.places() / 2 }

// flowWords packs a key; false: its device is not on the lane.
func (l *Lane) flowWords(k FlowKey) (flowWords, bool) {
	slot, ok := l.ports.slotOf(k.IfIndex)
	w := flowWords{from: Key{MAC: k.Src}.word() | uint64(k.TCI), to: Key{MAC: k.Dst}.word() | flowKey | uint64(slot)}
	if k.Type == 0x86dd {
		w.from |= flowIP6
	}
	return w, ok
}

func (l *Lane) flow(k flowWords, w laneFlow) Flow {
	f := Flow{
		FlowKey: FlowKey{
			IfIndex: l.ports.ifindexAt(k.slot()), TCI: uint16(k.from &^ flowIP6), Type: 0x0800,
			Src: keyOf(k.from).MAC, Dst: keyOf(k.to).MAC,
		},
		Egress: l.ports.ifindexAt(int(w.Slot)), Tag: TagAction(w.Flags & uint8(laneFlowFlagFLOW_TAG)), PushTCI: w.Tci,
		KeepAlive: l.keepTime(uint32(w.Keepalive)),
	}
	f.Tagged = f.TCI != 0
	if k.from&flowIP6 != 0 {
		f.Type = 0x86dd
	}
	return f
}

// removeFlowsOf takes out the flows from and to a slot.
func (l *Lane) removeFlowsOf(slot int) {
	l.flows.each(func(key flowWords, word *uint64) {
		if key.slot() == slot || int(flowOf(atomic.LoadUint64(word)).Slot) == slot {
			l.flows.remove(key)
		}
	})
}
