// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"cmp"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// pattern is a Match, and that of the in_port. value has no bits outside mask.
type pattern struct{ value, mask bits }

// meets tells whether a frame can match both.
func (p *pattern) meets(q *pattern) bool {
	var differ uint64
	for i := range p.value {
		differ |= (p.value[i] ^ q.value[i]) & p.mask[i] & q.mask[i]
	}
	return differ == 0
}

// and returns what matches both; they must meet.
func (p *pattern) and(q *pattern) pattern {
	r := *p
	for i := range r.value {
		r.value[i] |= q.value[i]
		r.mask[i] |= q.mask[i]
	}
	return r
}

// newPattern returns the pattern of these fields.
func newPattern(value, mask Fields) pattern {
	p := pattern{pack(0, &value), pack(0, &mask)}
	for i := range p.value {
		p.value[i] &= p.mask[i]
	}
	return p
}

func (m *Match) pattern() pattern { return newPattern(m.Value, m.Mask) }

// portPattern returns the pattern of an in_port.
func portPattern(port uint32) pattern {
	return pattern{pack(port, &Fields{}), pack(^uint32(0), &Fields{})}
}

// port returns the in_port, if it is one.
func (p *pattern) port() (uint32, bool) { return p.value.port(), p.mask.port() == ^uint32(0) }

// dst returns the dl_dst, if it is one.
func (p *pattern) dst() (ovs.MAC, bool) { return p.value.dst(), p.mask.dst() == wholeMAC }

// wholeMAC is the mask of an address.
var wholeMAC = ovs.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

func (p *pattern) match() Match { return Match{p.value.fields(), p.mask.fields()} }

// compare gives patterns an order, of no meaning.
func (p *pattern) compare(q *pattern) int {
	for i := range p.mask {
		if c := cmp.Or(cmp.Compare(p.mask[i], q.mask[i]), cmp.Compare(p.value[i], q.value[i])); c != 0 {
			return c
		}
	}
	return 0
}
