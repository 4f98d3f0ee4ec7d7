// SPDX-License-Identifier: Apache-2.0

package report

import (
	"errors"
	"testing"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

func TestFlowsText(t *testing.T) {
	vm, far := ovs.MAC{0x52, 0x54, 5: 1}, ovs.MAC{0x52, 0x54, 5: 9}
	expect(t, `
bridge  from    tag  type  source             destination        to      tag
br-int  vm1     -    IPv4  52:54:00:00:00:01  52:54:00:00:00:09  uplink  100
br-ex   uplink  100  IPv6  52:54:00:00:00:09  52:54:00:00:00:01  vm1     20/5
`, FlowsText([]Flow{
		{Bridge: "br-int", InPort: "vm1", EtherType: "0x0800", Src: vm, Dst: far, To: "uplink", NewTag: 100},
		{Bridge: "br-ex", InPort: "uplink", Tag: 100, EtherType: "0x86dd", Src: far, Dst: vm, To: "vm1", NewTag: 20, NewPriority: 5},
	}))
}

func TestExplainFlow(t *testing.T) {
	for _, tt := range []struct {
		err  error
		m    *Megaflow
		want string
	}{
		{nil, nil, "OVS has no megaflow for such frames now: it makes one when the first comes"},
		{errors.New("gone"), nil, "OVS's megaflows can't be read: gone"},
		{nil, &Megaflow{Reason: "masked-mac", Detail: "eth(…)", Also: []string{"conntrack", "recirc"}}, "OVS's megaflow for such frames stays with OVS: masked-mac (eth(…)), conntrack, recirc"},
		{nil, &Megaflow{Detail: "actions:tap1"}, "OVS has a megaflow that the lane has not, or whose port or stations are not on it: actions:tap1"},
	} {
		w := Why{Megaflow: tt.m}
		if w.explainFlow(tt.err); w.Detail != tt.want {
			t.Errorf("%q, want %q", w.Detail, tt.want)
		}
	}
}
