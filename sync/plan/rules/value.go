// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// parseNumber reads a number of so many bits, decimal or as 0x1f.
func parseNumber(text string, bits int) (uint16, bool) {
	base := 10
	digits, isHex := strings.CutPrefix(text, "0x")
	if isHex {
		base = 16
	}
	n, err := strconv.ParseUint(digits, base, bits)
	return uint16(n), err == nil
}

// exact reads a number of so many bits, at most 16, for put to store.
func exact(bits int, put func(f *Fields, n uint16)) func(string) (pattern, bool) {
	return func(text string) (pattern, bool) {
		n, ok := parseNumber(text, bits)
		var m Match
		put(&m.Value, n)
		put(&m.Mask, 1<<bits-1)
		return m.pattern(), ok
	}
}

// masked reads a number of so many bits, at most 16, with or without a mask
// ("0x1000/0xf000").
func masked(bits int, put func(f *Fields, n uint16)) func(string) (pattern, bool) {
	return func(text string) (pattern, bool) {
		text, maskText, hasMask := strings.Cut(text, "/")
		n, ok := parseNumber(text, bits)
		var mask uint16 = 1<<bits - 1
		if hasMask && ok {
			mask, ok = parseNumber(maskText, bits)
		}
		var m Match
		put(&m.Value, n)
		put(&m.Mask, mask)
		return m.pattern(), ok
	}
}

// only reads this text.
func only(text string, m Match) func(string) (pattern, bool) {
	return func(s string) (pattern, bool) { return m.pattern(), s == text }
}

// protocol reads the name of a protocol, which has no value; proto 0 stands for
// any.
func protocol(etherType uint16, proto uint8) func(string) (pattern, bool) {
	m := Match{Value: Fields{EtherType: etherType, Proto: proto}, Mask: Fields{EtherType: 0xffff}}
	if proto != 0 {
		m.Mask.Proto = 0xff
	}
	return only("", m)
}

// macs reads an Ethernet address, with or without a mask.
func macs(field func(*Fields) *ovs.MAC) func(string) (pattern, bool) {
	return func(text string) (pattern, bool) {
		text, maskText, hasMask := strings.Cut(text, "/")
		if !hasMask {
			maskText = "ff:ff:ff:ff:ff:ff"
		}
		var m Match
		var err, maskErr error
		*field(&m.Value), err = ovs.ParseMAC(text)
		*field(&m.Mask), maskErr = ovs.ParseMAC(maskText)
		return m.pattern(), err == nil && maskErr == nil
	}
}

func prefixes4(field func(*Fields) *[16]byte) func(string) (pattern, bool) { return prefixes(4, field) }
func prefixes6(field func(*Fields) *[16]byte) func(string) (pattern, bool) {
	return prefixes(16, field)
}

// prefixes reads an IP address of so many bytes, with or without a mask, which is
// a length or an address ("192.0.2.0/24", "fe80::1/ffff::ffff").
func prefixes(size int, field func(*Fields) *[16]byte) func(string) (pattern, bool) {
	return func(text string) (pattern, bool) {
		text, maskText, hasMask := strings.Cut(text, "/")
		addr, ok := parseAddr(text, size)
		mask := slices.Repeat([]byte{0xff}, size)
		if hasMask && ok {
			mask, ok = parseMask(maskText, size)
		}
		var m Match
		copy(field(&m.Value)[:], addr)
		copy(field(&m.Mask)[:], mask)
		return m.pattern(), ok
	}
}

func parseAddr(text string, size int) ([]byte, bool) {
	addr, err := netip.ParseAddr(text)
	b := addr.AsSlice()
	return b, err == nil && len(b) == size && addr.Zone() == ""
}

func parseMask(text string, size int) ([]byte, bool) {
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil {
		return parseAddr(text, size)
	}
	mask := make([]byte, size)
	for i := range min(int(n), 8*size) {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return mask, int(n) <= 8*size
}

// readPort reads an in_port. Of the reserved ports a frame can come from LOCAL,
// and one that a controller sends from CONTROLLER.
func readPort(text string) (pattern, bool) {
	const controller, firstReserved = 0xfffffffd, 0xff00 // OFPP_CONTROLLER, and OFPP_MAX of OpenFlow 1.0
	switch text {
	case "LOCAL":
		return portPattern(ovs.LocalPort), true
	case "CONTROLLER":
		return portPattern(controller), true
	}
	n, err := strconv.ParseUint(text, 10, 16)
	return portPattern(uint32(n)), err == nil && n < firstReserved
}

// readVLAN reads the VID of a frame that has a tag; 0xffff is none (OFP_VLAN_NONE).
func readVLAN(text string) (pattern, bool) {
	n, ok := parseNumber(text, 16)
	tci := n | TagPresent
	if n == 0xffff {
		n, tci = 0, 0
	}
	return newPattern(Fields{TCI: tci}, Fields{TCI: TagPresent | 0x0fff}), ok && n <= uint16(ovs.MaxVLAN)
}

// readPCP reads the priority of a frame that has a tag.
func readPCP(text string) (pattern, bool) {
	n, ok := parseNumber(text, 3)
	return newPattern(Fields{TCI: n<<13 | TagPresent}, Fields{TCI: 0xe000 | TagPresent}), ok
}

// readDSCP reads nw_tos, whose two lower bits are nw_ecn.
func readDSCP(text string) (pattern, bool) {
	n, ok := parseNumber(text, 8)
	return newPattern(Fields{TOS: uint8(n)}, Fields{TOS: 0xfc}), ok && n&3 == 0
}

func readFrag(text string) (pattern, bool) {
	m, ok := map[string]struct{ value, mask uint8 }{
		"no":        {0, FragAny | FragLater},
		"yes":       {FragAny, FragAny},
		"first":     {FragAny, FragAny | FragLater},
		"later":     {FragAny | FragLater, FragAny | FragLater},
		"not_later": {0, FragLater},
	}[text]
	return newPattern(Fields{Frag: m.value}, Fields{Frag: m.mask}), ok
}

// readICMP reads a type or a code, which OVS keeps in 16 bits.
func readICMP(field func(*Fields) *uint16) func(string) (pattern, bool) {
	return func(text string) (pattern, bool) {
		n, ok := parseNumber(text, 8)
		var m Match
		*field(&m.Value), *field(&m.Mask) = n, 0xffff
		return m.pattern(), ok
	}
}

// tcpFlags are the names of TCP's flags, the lowest first
// (packet_tcp_flag_to_string in lib/packets.c).
var tcpFlags = [...]string{"fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns", "[200]", "[400]", "[800]"}

// readTCPFlags reads "+syn-ack", "syn|ack" for these and no others, "0", and
// numbers ("0x12/0xfff").
func readTCPFlags(text string) (pattern, bool) {
	if part, ok := masked(len(tcpFlags), func(f *Fields, n uint16) { f.TCPFlags = n })(text); ok {
		return part, true
	}
	signed := strings.HasPrefix(text, "+") || strings.HasPrefix(text, "-")
	if !signed {
		text = "+" + strings.ReplaceAll(text, "|", "+")
	}
	var value, mask uint16
	for text != "" {
		end := len(text)
		if i := strings.IndexAny(text[1:], "+-"); i >= 0 {
			end = i + 1
		}
		bit := slices.Index(tcpFlags[:], text[1:end])
		if bit < 0 || mask&(1<<bit) != 0 {
			return pattern{}, false
		}
		mask |= 1 << bit
		if text[0] == '+' {
			value |= 1 << bit
		}
		text = text[end:]
	}
	if !signed {
		mask = 1<<len(tcpFlags) - 1
	}
	return newPattern(Fields{TCPFlags: value}, Fields{TCPFlags: mask}), true
}
