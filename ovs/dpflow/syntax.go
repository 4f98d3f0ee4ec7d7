// SPDX-License-Identifier: Apache-2.0

package dpflow

import (
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// syntax reads a value or a mask as OVS prints it, and tells whether it is 0.
type syntax func(string) (zero, ok bool)

// wildcarded reads a value with its mask, "17/0", and tells whether the mask is
// 0. A value without a mask is exact.
func (form syntax) wildcarded(s string) (zero, ok bool) {
	value, mask, isMasked := strings.Cut(s, "/")
	if _, ok := form(value); !ok || !isMasked {
		return false, ok
	}
	return form(mask)
}

// number reads a number of so many bits, decimal or as 0x1f.
func number(bits int) syntax {
	return func(s string) (zero, ok bool) {
		n, ok := decimal(s, bits)
		if !ok {
			n, ok = hexadecimal(s, bits)
		}
		return n == 0, ok
	}
}

// decimal reads a number without sign and leading zeros.
func decimal(s string, bits int) (uint64, bool) {
	n, err := strconv.ParseUint(s, 10, bits)
	return n, err == nil && (s[0] != '0' || s == "0")
}

// hexadecimal reads a number as 0x1f.
func hexadecimal(s string, bits int) (uint64, bool) {
	digits, ok := strings.CutPrefix(s, "0x")
	n, err := strconv.ParseUint(digits, 16, bits)
	return n, ok && err == nil && digits == strings.ToLower(digits) && (digits[0] != '0' || digits == "0")
}

// masked reads a decimal number of so many bits, perhaps with a hexadecimal
// mask; without one it is exact, and with one it is not.
func masked(s string, bits int) (value, mask uint64, ok bool) {
	exact := uint64(1)<<bits - 1
	s, m, isMasked := strings.Cut(s, "/")
	value, ok = decimal(s, bits)
	if !isMasked {
		return value, exact, ok
	}
	mask, okMask := hexadecimal(m, bits)
	return value, mask, ok && okMask && mask != exact
}

// hex128 reads up to 32 hexadecimal digits behind 0x, or 0.
func hex128(s string) (zero, ok bool) {
	if s == "0" {
		return true, true
	}
	digits, ok := strings.CutPrefix(s, "0x")
	for i := range len(digits) {
		ok = ok && isHex(digits[i])
	}
	return false, ok && digits != "" && digits[0] != '0' && len(digits) <= 32
}

// octets reads so many octets as OVS prints those of an attribute that it has no
// name for: "00 1f".
func octets(n int) syntax {
	return func(s string) (zero, ok bool) {
		if len(s) != 3*n-1 {
			return false, false
		}
		zero = true
		for i := range len(s) {
			if between := i%3 == 2; between != (s[i] == ' ') || !between && !isHex(s[i]) {
				return false, false
			}
			zero = zero && (s[i] == '0' || s[i] == ' ')
		}
		return zero, true
	}
}

// tcpFlags reads 0, the names of flags as "psh|ack", or "+syn-ack", which is a
// value and a mask.
func tcpFlags(s string) (zero, ok bool) {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '|' && c != '+' && c != '-' {
			return false, false
		}
	}
	return s == "0", s != ""
}

func ip4(s string) (zero, ok bool) {
	a, err := netip.ParseAddr(s)
	return s == "0.0.0.0", err == nil && a.Is4()
}

func ip6(s string) (zero, ok bool) {
	a, err := netip.ParseAddr(s)
	return s == "::", err == nil && a.Is6() && a.Zone() == ""
}

func mac(s string) (zero, ok bool) {
	m, err := ovs.ParseMAC(s)
	return m.IsZero(), err == nil && s == strings.ToLower(s)
}

// isHex tells a digit as OVS prints it, in lower case.
func isHex(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' }

func has(list []string, s string) bool { return slices.Contains(list, s) }

// cutParens splits "vlan(vid=10,pcp=0)" at its outer parentheses.
func cutParens(s string) (name, content string, ok bool) {
	name, content, ok = strings.Cut(s, "(")
	content, closed := strings.CutSuffix(content, ")")
	return name, content, ok && closed
}

// split cuts a list at the commas that are in no parentheses.
func split(s string) ([]string, error) {
	items := make([]string, 0, 24)
	depth, start := 0, 0
	for i := range len(s) {
		switch s[i] {
		case '(':
			depth++
		case ')':
			if depth--; depth < 0 {
				return nil, errors.New("it has a parenthesis too many")
			}
		case ',':
			if depth == 0 {
				items = append(items, s[start:i])
				start = i + 1
			}
		}
	}
	if depth != 0 {
		return nil, errors.New("it has a parenthesis that is not closed")
	}
	return append(items, s[start:]), nil
}
