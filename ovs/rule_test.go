// SPDX-License-Identifier: Apache-2.0

package ovs

import "testing"

func TestRule(t *testing.T) {
	for _, tt := range []struct {
		rule   Rule
		normal bool
		text   string
	}{
		{Rule{Actions: []string{"NORMAL"}}, true, "table=0,priority=0 actions=NORMAL"},
		{Rule{Priority: 32768, Cookie: 7, Packets: 1, Bytes: 60, Actions: []string{"NORMAL"}}, true, "table=0,priority=32768 actions=NORMAL"},
		{Rule{Table: 254, Actions: []string{"NORMAL"}}, true, "table=254,priority=0 actions=NORMAL"},
		{Rule{Actions: []string{"normal"}}, false, "table=0,priority=0 actions=normal"},
		{Rule{Actions: []string{"NORMAL", "output:2"}}, false, "table=0,priority=0 actions=NORMAL,output:2"},
		{Rule{Actions: []string{"drop"}}, false, "table=0,priority=0 actions=drop"},
		{Rule{}, false, "table=0,priority=0 actions="},
		{Rule{IdleTimeout: 10, Actions: []string{"NORMAL"}}, true, "table=0,priority=0,idle_timeout=10 actions=NORMAL"},
		{Rule{HardTimeout: 20, Actions: []string{"NORMAL"}}, false, "table=0,priority=0,hard_timeout=20 actions=NORMAL"},
		{
			Rule{Match: []Match{{Field: "tcp"}, {Field: "tp_dst", Value: "80"}}, Actions: []string{"NORMAL"}},
			false, "table=0,priority=0,tcp,tp_dst=80 actions=NORMAL",
		},
		{Rule{Unknown: []string{"send_flow_rem"}, Actions: []string{"NORMAL"}}, false, "table=0,priority=0,send_flow_rem actions=NORMAL"},
		{
			Rule{
				Table: 1, Priority: 100, IdleTimeout: 1, HardTimeout: 2, Match: []Match{{Field: "dl_vlan", Value: "10"}},
				Unknown: []string{"what"}, Actions: []string{"strip_vlan", "resubmit(,2)"},
			},
			false, "table=1,priority=100,idle_timeout=1,hard_timeout=2,dl_vlan=10,what actions=strip_vlan,resubmit(,2)",
		},
	} {
		if got := tt.rule.IsNormal(); got != tt.normal {
			t.Errorf("IsNormal of %s is %v", &tt.rule, got)
		}
		if got := tt.rule.String(); got != tt.text {
			t.Errorf("String() = %q, want %q", got, tt.text)
		}
	}
}
