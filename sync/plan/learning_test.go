// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"testing"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

func TestTeaches(t *testing.T) {
	for _, tt := range []struct {
		want    bool
		actions []string
	}{
		{false, []string{"NORMAL"}},
		{false, []string{"drop"}},
		{false, []string{"output:2", "NORMAL"}},
		{false, []string{"mod_dl_dst:52:54:00:00:00:01", "NORMAL"}},
		{false, []string{"set_field:52:54:00:00:00:01->eth_dst", "NORMAL"}},
		{false, []string{"load:0x5->NXM_NX_REG0[]", "resubmit(,10)"}},
		{false, []string{"mod_vlan_vid:20", "output:3"}},
		{false, []string{"push_vlan:0x8100", "set_field:4116->vlan_vid", "output:3"}},
		{false, []string{"learn(table=30,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[])", "NORMAL"}},
		{true, []string{"mod_vlan_vid:20", "NORMAL"}},
		{true, []string{"mod_dl_src:52:54:00:00:00:01", "NORMAL"}},
		{true, []string{"set_field:52:54:00:00:00:01->eth_src", "goto_table:10"}},
		{true, []string{"load:0->NXM_OF_VLAN_TCI[]", "NORMAL"}},
		{true, []string{"load:0x3->NXM_OF_IN_PORT[]", "resubmit(,10)"}},
		{true, []string{"push_vlan:0x8100", "set_field:4116->vlan_vid", "resubmit(,10)"}},
		{true, []string{"resubmit(3,)"}},
		{true, []string{"resubmit(3,10)"}},
		{true, []string{"group:1"}},
		{true, []string{"clone(mod_vlan_vid:20,NORMAL)"}},
		{true, []string{"something_new"}},
	} {
		if got := teaches(&ovs.Rule{Actions: tt.actions}); got != tt.want {
			t.Errorf("%q: %t, want %t", tt.actions, got, tt.want)
		}
	}
}

// A bridge with such a rule stays with OVS.
func TestTeachingRuleIsRefused(t *testing.T) {
	b := builder{}
	br := &ovs.Bridge{Name: "br0", Detail: &ovs.Detail{Rules: []ovs.Rule{
		{Actions: []string{"NORMAL"}}, {Priority: 1, Actions: []string{"mod_vlan_vid:20", "NORMAL"}},
	}}}
	if table, why := b.judgeRules(br); table != nil || why == "" {
		t.Errorf("the rules are taken: %v", table)
	}
}
