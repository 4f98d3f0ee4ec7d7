// SPDX-License-Identifier: Apache-2.0

package dpflow

import (
	"strings"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// What OVN makes of a logical switch with a localnet port: IPv4 that it decides by
// addresses alone qualifies; of IPv6 it looks at more (multicast listeners,
// neighbours), and for ACLs it tracks connections.
func TestOVN(t *testing.T) {
	w := newWorld(t)
	w.bridge("br-ex")
	w.taps("br-ex", "uplink")
	w.must(w.StartOVN("physnet:br-ex"))
	nbctl := func(line string) {
		t.Helper()
		_, err := w.Nbctl(strings.Fields(line)...)
		w.must(err)
	}
	w.taps("br-int", "vm1", "vm2", "vm3", "vm4")
	line := ""
	for i, name := range []string{"vm1", "vm2", "vm3", "vm4"} {
		w.vsctl("set", "interface", name, "external_ids:iface-id="+name)
		net := []string{"plain", "guarded"}[i/2]
		line += " -- lsp-add " + net + " " + name + " -- lsp-set-addresses " + name + " " + w.mac(name).String()
	}
	nbctl("ls-add plain -- ls-add guarded" + line)
	for i, net := range []string{"plain", "guarded"} {
		nbctl("lsp-add " + net + " out-" + net + " -- lsp-set-type out-" + net + " localnet -- lsp-set-addresses out-" + net +
			" unknown -- lsp-set-options out-" + net + " network_name=physnet -- set logical_switch_port out-" + net + " tag=" + []string{"100", "200"}[i])
	}
	nbctl("acl-add guarded from-lport 1000 ip4 allow-related")
	outside := w.NewMAC()
	for _, v := range []ovs.VLAN{100, 200} {
		w.must(w.ports["uplink"].Send(frame.UDP4(frame.Broadcast, outside, frame.OnVLAN(v))))
	}
	time.Sleep(300 * time.Millisecond)
	w.check(t, "br-int", map[string]sent{
		"in the network":  {from: "vm1", to: "vm2", lane: "vm2"},
		"IPv6":            {from: "vm2", to: "vm1", make: frame.UDP6, why: refused(L3Match)},
		"to the provider": {from: "vm1", dst: outside, lane: "push_vlan(vid=100,pcp=0),uplink"},
		"ACL":             {from: "vm3", to: "vm4", why: refused(MaskedMAC, Conntrack)},
	})
	t.Run("from the provider", func(t *testing.T) {
		w.in(t).check(t, "br-ex", map[string]sent{
			"to a VM": {from: "uplink", src: outside, to: "vm1", opts: []frame.Option{frame.OnVLAN(100)}, lane: "pop_vlan,vm1"},
		})
	})
}
