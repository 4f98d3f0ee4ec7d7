// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"testing"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// The VLANs that a port carries, as Open vSwitch has them.
func TestVLANsOfAPort(t *testing.T) {
	tag := func(v ovs.VLAN) *ovs.VLAN { return &v }
	for _, tt := range []struct {
		name string
		port ovs.Port
		want ovs.VLANSet
	}{
		{"trunk", ovs.Port{Trunks: []ovs.VLAN{10, 20}}, ovs.VLANs(10, 20)},
		{"access", ovs.Port{Tag: tag(10)}, ovs.VLANs(10)},
		{"access without a tag", ovs.Port{VLANMode: "access"}, ovs.VLANs(0)},
		{"native", ovs.Port{VLANMode: "native-tagged", Tag: tag(10), Trunks: []ovs.VLAN{20}}, ovs.VLANs(10, 20)},
		{"native, VLAN 0 listed", ovs.Port{VLANMode: "native-untagged", Tag: tag(10), Trunks: []ovs.VLAN{0, 20}}, ovs.VLANs(10, 20)},
		{"native without a tag", ovs.Port{VLANMode: "native-untagged", Trunks: []ovs.VLAN{20}}, ovs.VLANs(0, 20)},
	} {
		var rule Rule
		if !vlanRule(&tt.port, &rule) || rule.VLANs != tt.want {
			t.Errorf("%s: carries %s, want %s", tt.name, rule.VLANs, tt.want)
		}
	}
}
