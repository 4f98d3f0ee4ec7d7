// SPDX-License-Identifier: Apache-2.0

// Package ovs is the vocabulary of Open vSwitch that the rest of ovs-xdp
// speaks: MAC addresses, VLANs, bridges, ports, interfaces, learned stations,
// OpenFlow rules, and the Snapshot that joins them.
//
// The package does no I/O. Each source of facts has an adapter in a
// sub-package: ovs/ovsdb, ovs/unixctl, ovs/ofctl, ovs/flow, ovs/dpflow and
// ovs/fdb; ovs/observe joins what they read into one Snapshot.
package ovs

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// MAC is an Ethernet address in transmission order.
type MAC [6]byte

// ParseMAC reads the form that OVS prints, six hexadecimal octets separated
// by colons ("52:54:00:12:34:56"). Any other form is an error.
func ParseMAC(s string) (MAC, error) {
	var m MAC
	if len(s) != 17 {
		return MAC{}, fmt.Errorf("MAC address %q: want six octets as xx:xx:xx:xx:xx:xx", s)
	}
	for i := range m {
		if i > 0 && s[i*3-1] != ':' {
			return MAC{}, fmt.Errorf("MAC address %q: want six octets as xx:xx:xx:xx:xx:xx", s)
		}
		if _, err := hex.Decode(m[i:i+1], []byte(s[i*3:i*3+2])); err != nil {
			return MAC{}, fmt.Errorf("MAC address %q: octet %d is not hexadecimal", s, i+1)
		}
	}
	return m, nil
}

// String returns the address as OVS prints it.
func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// IsGroup reports whether the address is a multicast or broadcast address
// (IEEE 802.3 I/G bit).
func (m MAC) IsGroup() bool { return m[0]&1 != 0 }

// IsZero reports whether the address is 00:00:00:00:00:00.
func (m MAC) IsZero() bool { return m == MAC{} }

// MarshalText implements encoding.TextMarshaler.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *MAC) UnmarshalText(b []byte) error {
	v, err := ParseMAC(string(b))
	if err == nil {
		*m = v
	}
	return err
}

// VLAN is an IEEE 802.1Q VLAN identifier in a bridge, 0 to 4095. VLAN 0 is
// what OVS calls "no VLAN": untagged frames of a trunk port.
type VLAN uint16

// MaxVLAN is the highest VLAN identifier that OVS accepts.
const MaxVLAN VLAN = 4095

// ParseVLAN reads a decimal VLAN identifier, 0 to 4095.
func ParseVLAN(s string) (VLAN, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n > uint64(MaxVLAN) {
		return 0, fmt.Errorf("VLAN %q: want a number from 0 to %d", s, MaxVLAN)
	}
	return VLAN(n), nil
}

// VLANSet is a set of VLANs, bit v%64 of word v/64 standing for VLAN v.
type VLANSet [64]uint64

// AllVLANs holds every VLAN from 0 to 4095.
func AllVLANs() VLANSet {
	var s VLANSet
	for i := range s {
		s[i] = ^uint64(0)
	}
	return s
}

// VLANs returns the set of exactly these VLANs.
func VLANs(vs ...VLAN) VLANSet {
	var s VLANSet
	for _, v := range vs {
		s.Add(v)
	}
	return s
}

// Add puts v into the set; a v above 4095 is ignored.
func (s *VLANSet) Add(v VLAN) {
	if v <= MaxVLAN {
		s[v/64] |= 1 << (v % 64)
	}
}

// Remove takes v out of the set.
func (s *VLANSet) Remove(v VLAN) {
	if v <= MaxVLAN {
		s[v/64] &^= 1 << (v % 64)
	}
}

// Has reports whether v is in the set.
func (s *VLANSet) Has(v VLAN) bool {
	return v <= MaxVLAN && s[v/64]&(1<<(v%64)) != 0
}

// Minus returns the VLANs of s that are not in t.
func (s VLANSet) Minus(t VLANSet) VLANSet {
	for i := range s {
		s[i] &^= t[i]
	}
	return s
}

// Or returns the VLANs that are in either set.
func (s VLANSet) Or(t VLANSet) VLANSet {
	for i := range s {
		s[i] |= t[i]
	}
	return s
}

// And returns the VLANs that are in both sets.
func (s VLANSet) And(t VLANSet) VLANSet {
	for i := range s {
		s[i] &= t[i]
	}
	return s
}

// IsEmpty reports whether the set has no VLAN.
func (s VLANSet) IsEmpty() bool { return s == VLANSet{} }

// ParseVLANSet reads a list of VLANs and ranges, as "10,20-29". Blanks around
// an element are ignored; an empty list, an empty element, a number above 4095
// or a range that runs backwards is an error.
func ParseVLANSet(list string) (VLANSet, error) {
	var s VLANSet
	for _, item := range strings.Split(list, ",") {
		item = strings.TrimSpace(item)
		first, last, isRange := strings.Cut(item, "-")
		if !isRange {
			last = first
		}
		lo, err := ParseVLAN(strings.TrimSpace(first))
		if err != nil {
			return VLANSet{}, fmt.Errorf("VLAN list %q: %w", list, err)
		}
		hi, err := ParseVLAN(strings.TrimSpace(last))
		if err != nil {
			return VLANSet{}, fmt.Errorf("VLAN list %q: %w", list, err)
		}
		if hi < lo {
			return VLANSet{}, fmt.Errorf("VLAN list %q: range %s runs backwards", list, item)
		}
		for v := lo; v <= hi; v++ {
			s.Add(v)
		}
	}
	return s, nil
}

// String returns the set in the form that ParseVLANSet reads; "" for the
// empty set.
func (s VLANSet) String() string {
	var b strings.Builder
	for v := 0; v <= int(MaxVLAN); v++ {
		if !s.Has(VLAN(v)) {
			continue
		}
		lo := v
		for v < int(MaxVLAN) && s.Has(VLAN(v+1)) {
			v++
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(lo))
		if v > lo {
			b.WriteByte('-')
			b.WriteString(strconv.Itoa(v))
		}
	}
	return b.String()
}
