// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"reflect"
	"testing"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// A seed is a case, always the same one: that is what makes it replayable.
func TestGenerateIsDeterministic(t *testing.T) {
	const frames = 300
	for seed := range uint64(50) {
		a, b := Generate(seed, frames), Generate(seed, frames)
		if !reflect.DeepEqual(a, b) {
			t.Fatalf("seed %d makes two cases:\n%s\n%s", seed, a, b)
		}
		if n := a.frames(); n < frames*2/3 {
			t.Errorf("seed %d: %d frames, want about %d", seed, n, frames)
		}
	}
}

// What is called settled by the generator is on VLANs that its port carries.
func TestVLANOf(t *testing.T) {
	c := Config{Bridges: []Bridge{{}}, Ports: []Port{
		{Tag: 10},
		{Tag: noTag},
		{Tag: 10, VLANMode: "native-untagged", Trunks: vids(20)},
		{Tag: noTag, VLANMode: "native-tagged", Trunks: vids(20)},
		{Tag: 10, VLANMode: "trunk", Trunks: vids(20)},
	}}
	for _, tt := range []struct {
		port, tag, vlan int
		ok              bool
	}{
		{0, noTag, 10, true}, {0, 10, 0, false},
		{1, noTag, 0, true}, {1, 7, 7, true}, {1, 0, 0, false},
		{2, noTag, 10, true}, {2, 10, 10, true}, {2, 20, 20, true}, {2, 30, 30, false},
		{3, noTag, 0, true}, {3, 20, 20, true}, {3, 10, 10, false},
		{4, noTag, 0, false}, {4, 20, 20, true}, {4, 10, 10, false},
	} {
		v, ok := c.vlanOf(tt.port, tags(tt.tag))
		if ok != tt.ok || ok && int(v) != tt.vlan {
			t.Errorf("port %d, tag %d: VLAN %d, %t; want %d, %t", tt.port, tt.tag, v, ok, tt.vlan, tt.ok)
		}
	}
}

func vids(vs ...ovs.VLAN) []ovs.VLAN { return vs }

// tags is the tag of a VID, or none.
func tags(vid int) []frame.Tag {
	if vid == noTag {
		return nil
	}
	return []frame.Tag{{VID: ovs.VLAN(vid)}}
}
