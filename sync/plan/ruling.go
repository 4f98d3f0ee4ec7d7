// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/sync/plan/rules"
)

// fields are those of the frame, as rules match on them.
func (f Frame) fields() ovs.Fields {
	fields := f.Carries
	fields.Dst, fields.Src = f.Dst, f.Src
	if fields.EtherType == 0 {
		fields.EtherType = typeIPv4
	}
	if f.VID != 0 {
		fields.TCI = uint16(f.VID) | ovs.TagPresent
	}
	return fields
}

// ruling is what the lists of a port make of a frame.
type ruling struct {
	// reason is "" when they have nothing against the lane, else as the program
	// counts it.
	reason string
	// drops tells that the frame is dropped, depends that it depends on what it
	// carries (Frame.Any).
	drops, depends bool
}

// ruling walks lists_decide in bpf/src/lists.h, keep-alive frames left out.
func (t *Tables) ruling(in Rule, f Frame) ruling {
	if link := (ovs.MAC{0x01, 0x80, 0xc2}); in.decidedByLists() && slices.Equal(f.Dst[:5], link[:5]) && f.Dst[5] < 16 {
		return ruling{reason: "rule"}
	}
	if in.Addresses != (ListKey{}) {
		switch v, depends := t.first(f, in.Addresses); {
		case depends:
			return ruling{reason: "foreign-address", depends: true}
		case v == rules.Drop:
			return ruling{reason: "dropped-address", drops: true}
		case v != rules.Normal:
			return ruling{reason: "foreign-address"}
		}
	}
	if in.Rules == (ListKey{}) && !in.Scoped {
		return ruling{}
	}
	keys := []ListKey{in.Rules}
	if in.Scoped {
		keys = append(keys, ListKey{Kind: DestinationRules, Bridge: in.Bridge, Dst: f.Dst})
	}
	switch v, depends := t.first(f, keys...); {
	case depends:
		return ruling{reason: "rule", depends: true}
	case v == rules.Drop:
		return ruling{reason: "dropped", drops: true}
	case v != rules.Normal:
		return ruling{reason: "rule"}
	}
	return ruling{}
}

func (r Rule) decidedByLists() bool {
	return r.Rules != ListKey{} || r.Scoped || r.Addresses != ListKey{}
}

// first returns the verdict of the rule that matches first of those in the lists.
// depends tells that there are several verdicts among frames that carry anything.
func (t *Tables) first(f Frame, keys ...ListKey) (verdict rules.Verdict, depends bool) {
	var all []ListRule
	for _, k := range keys {
		if l := t.List(k); l != nil {
			all = append(all, l.Rules...)
		}
	}
	slices.SortStableFunc(all, func(a, b ListRule) int { return int(a.Order) - int(b.Order) })
	fields := f.fields()
	possible := make(map[rules.Verdict]bool)
	for i := range all {
		m := all[i].Match
		certain := true
		if f.Any {
			known := ovs.Fields{Dst: m.Mask.Dst, Src: m.Mask.Src, TCI: m.Mask.TCI}
			certain = m.Mask == known
			m.Mask, m.Value = known, ovs.Fields{Dst: m.Value.Dst, Src: m.Value.Src, TCI: m.Value.TCI}
		}
		if !m.Matches(fields) {
			continue
		}
		possible[all[i].Verdict] = true
		if certain {
			return all[i].Verdict, len(possible) > 1
		}
	}
	possible[rules.Pass] = true
	return rules.Pass, len(possible) > 1
}
