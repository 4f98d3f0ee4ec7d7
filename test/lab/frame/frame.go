// SPDX-License-Identifier: Apache-2.0

// Package frame builds and takes apart Ethernet frames, byte by byte, for
// tests: VLAN tags with their TPID, PCP and DEI, UDP and TCP over IPv4 and
// IPv6 with right (or deliberately unfinished) checksums, ARP, and anything
// else as a raw payload.
//
// A frame is what a packet socket or a tap carries: no preamble, no frame
// check sequence, and no padding that nobody asked for. The package does no
// I/O and is deterministic: the same call returns the same bytes.
package frame

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// EtherTypes (IEEE 802 numbers) that tests name.
const (
	TypeIPv4 uint16 = 0x0800
	TypeARP  uint16 = 0x0806
	TypeVLAN uint16 = 0x8100 // IEEE 802.1Q tag
	TypeIPv6 uint16 = 0x86dd
	TypeSlow uint16 = 0x8809 // LACP and other slow protocols
	TypeQinQ uint16 = 0x88a8 // IEEE 802.1ad service tag
	TypeLLDP uint16 = 0x88cc
)

// Broadcast is the address of every station.
var Broadcast = ovs.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// Tag is one VLAN tag.
type Tag struct {
	// TPID is the tag's EtherType; 0 stands for TypeVLAN.
	TPID uint16
	// VID is the VLAN identifier, 0 for a priority tag.
	VID ovs.VLAN
	// PCP is the priority code point, 0 to 7.
	PCP uint8
	// DEI is the drop eligible indicator.
	DEI bool
}

// TCI returns the tag's control information: PCP, DEI and VID.
func (t Tag) TCI() uint16 {
	tci := uint16(t.PCP&7)<<13 | uint16(t.VID)&0xfff
	if t.DEI {
		tci |= 1 << 12
	}
	return tci
}

// TagOf returns the tag of this TPID and control information.
func TagOf(tpid, tci uint16) Tag {
	return Tag{TPID: tpid, VID: ovs.VLAN(tci & 0xfff), PCP: uint8(tci >> 13), DEI: tci&(1<<12) != 0}
}

// String returns the tag as "10", with PCP, DEI and TPID where they are not
// the usual ones: "10 pcp 5 dei tpid 0x88a8".
func (t Tag) String() string {
	s := fmt.Sprint(uint16(t.VID))
	if t.PCP != 0 {
		s += fmt.Sprintf(" pcp %d", t.PCP)
	}
	if t.DEI {
		s += " dei"
	}
	if t.TPID != 0 && t.TPID != TypeVLAN {
		s += fmt.Sprintf(" tpid %#04x", t.TPID)
	}
	return s
}

// Frame is an Ethernet frame in parts.
type Frame struct {
	Dst, Src ovs.MAC
	// Tags holds the VLAN tags, outermost first.
	Tags []Tag
	// EtherType is the type of Payload.
	EtherType uint16
	Payload   []byte
}

// Bytes returns the frame as it goes over a wire.
func (f Frame) Bytes() []byte {
	b := make([]byte, 0, 14+4*len(f.Tags)+len(f.Payload))
	b = append(b, f.Dst[:]...)
	b = append(b, f.Src[:]...)
	for _, t := range f.Tags {
		tpid := t.TPID
		if tpid == 0 {
			tpid = TypeVLAN
		}
		b = binary.BigEndian.AppendUint16(b, tpid)
		b = binary.BigEndian.AppendUint16(b, t.TCI())
	}
	b = binary.BigEndian.AppendUint16(b, f.EtherType)
	return append(b, f.Payload...)
}

// Tagged returns a copy of f whose tags are exactly these, outermost first;
// none at all for an untagged frame.
func (f Frame) Tagged(tags ...Tag) Frame {
	f.Tags = tags
	return f
}

// String returns one line about the frame, for the messages of tests.
func (f Frame) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s > %s", f.Src, f.Dst)
	for _, t := range f.Tags {
		fmt.Fprintf(&b, " vlan %s", t)
	}
	fmt.Fprintf(&b, " type %#04x, %d bytes of payload", f.EtherType, len(f.Payload))
	return b.String()
}

// Parse takes a frame apart; every leading 802.1Q or 802.1ad tag counts as a
// tag. A frame that ends inside its headers is an error. Payload is a part of
// b, not a copy.
func Parse(b []byte) (Frame, error) {
	var f Frame
	if len(b) < 14 {
		return Frame{}, fmt.Errorf("frame of %d bytes: shorter than an Ethernet header", len(b))
	}
	copy(f.Dst[:], b)
	copy(f.Src[:], b[6:])
	b = b[12:]
	for {
		f.EtherType = binary.BigEndian.Uint16(b)
		b = b[2:]
		if f.EtherType != TypeVLAN && f.EtherType != TypeQinQ {
			f.Payload = b
			return f, nil
		}
		if len(b) < 4 {
			return Frame{}, fmt.Errorf("frame from %s: ends inside a VLAN tag", f.Src)
		}
		f.Tags = append(f.Tags, TagOf(f.EtherType, binary.BigEndian.Uint16(b)))
		b = b[2:]
	}
}

// Retag returns the bytes of frame b with exactly these tags in place of its
// own. It panics when b is not a frame: only builders feed it.
func Retag(b []byte, tags ...Tag) []byte {
	f, err := Parse(b)
	if err != nil {
		panic(err)
	}
	return f.Tagged(tags...).Bytes()
}
