// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"net/netip"
	"regexp"
	"testing"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// Where counts are compared it must be certain which rule a frame hits: no two
// rules of a table have one priority.
func TestPoliciesWithoutOverlaps(t *testing.T) {
	place := regexp.MustCompile(`^table=\d+,priority=\d+\b`)
	policies, overlaps := 0, 0
	for seed := range uint64(200) {
		for _, b := range Generate(seed, 20).Config.Bridges {
			if b.Policy == nil {
				continue
			}
			policies++
			seen, twice := make(map[string]bool), false
			for _, r := range b.Policy.Rules {
				at := place.FindString(r.Flow)
				twice = twice || seen[at] || at == ""
				seen[at] = true
			}
			if twice && !b.Policy.Overlaps {
				t.Errorf("seed %d: two rules in one place:\n%v", seed, b.Policy.words())
			}
			if twice {
				overlaps++
			}
		}
	}
	if policies < 100 || overlaps == 0 {
		t.Errorf("%d policies, %d of them with overlaps: too few to tell", policies, overlaps)
	}
}

// What a port may use is known without asking the lane.
func TestVouches(t *testing.T) {
	a, b := ovs.MAC{0x52, 0x54, 0, 0, 0, 1}, ovs.MAC{0x52, 0x54, 0, 0, 0, 2}
	for _, tt := range []struct {
		port Port
		data []byte
		want bool
	}{
		{Port{}, frame.UDP4(b, a), true},
		{Port{AttachedMAC: b.String()}, frame.UDP4(b, a), false},
		{Port{Addresses: "10.0.0.2,10.0.0.1"}, frame.UDP4(b, a), true},
		{Port{Addresses: "10.0.0.2 10.0.0.3"}, frame.UDP4(b, a), false},
		{Port{Addresses: "10.0.0.0/30"}, frame.UDP4(b, a), true},
		{Port{Addresses: "10.0.0.0/30"}, frame.UDP6(b, a), false},
		{Port{Addresses: "fd00::/16"}, frame.UDP6(b, a, frame.OnVLAN(10)), true},
		{Port{Addresses: "10.0.0.0/8"}, frame.UDP4(b, a, frame.IPs(frame.IP4(b), netip.MustParseAddr("192.0.2.1"))), false},
	} {
		if got := tt.port.vouches(&Frame{Data: tt.data}); got != tt.want {
			t.Errorf("%s, %s: %t, want %t", &tt.port, describe(tt.data), got, tt.want)
		}
	}
}

// Counts that differ are told, but for what is uncertain.
func TestDiffCounts(t *testing.T) {
	counts := func(frames, bytes uint64) map[string]hits { return map[string]hits{"rule": {frames, bytes}} }
	for _, tt := range []struct {
		alone, lane map[string]hits
		uncertain   int
		differ      bool
	}{
		{counts(3, 300), counts(3, 300), 0, false},
		{counts(3, 300), counts(2, 200), 5, true},
		{counts(3, 300), counts(4, 400), 0, true},
		{counts(3, 300), counts(4, 400), 1, false},
		{counts(3, 300), counts(3, 304), 1, true},
		{counts(3, 300), nil, 9, true},
		{map[string]hits{}, counts(0, 0), 9, true},
	} {
		if got := diffCounts(tt.alone, tt.lane, tt.uncertain); (got != "") != tt.differ {
			t.Errorf("%v alone, %v with the lane, %d uncertain: %q", tt.alone, tt.lane, tt.uncertain, got)
		}
	}
}
