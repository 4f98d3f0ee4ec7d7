// SPDX-License-Identifier: Apache-2.0

package dpflow

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
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

// What Neutron makes of ports without port security on a provider network: the switch
// knows their addresses, and that there may be others behind them. OVN then copies
// frames to machines that it does not know to each such port, unless it learns what is
// behind the localnet port. Port security by MAC address alone is L2.
func TestOVNUnknown(t *testing.T) {
	w := newWorld(t)
	w.bridge("br-ex")
	w.taps("br-ex", "uplink")
	w.must(w.StartOVN("physnet:br-ex"))
	nbctl := func(line string) {
		t.Helper()
		_, err := w.Nbctl(strings.Fields(line)...)
		w.must(err)
	}
	w.taps("br-int", "vm1", "vm2", "vm3", "vm4", "vm5")
	line := ""
	for i, name := range []string{"vm1", "vm2", "vm3", "vm4"} {
		w.vsctl("set", "interface", name, "external_ids:iface-id="+name)
		line += " -- lsp-add " + []string{"open", "secure"}[i/2] + " " + name + " -- lsp-set-addresses " + name + " " + w.mac(name).String()
		line += []string{" unknown", " -- lsp-set-port-security " + name + " " + w.mac(name).String()}[i/2]
	}
	nbctl("ls-add open -- ls-add secure" + line)
	w.vsctl("set", "interface", "vm5", "external_ids:iface-id=vm5")
	both := w.mac("vm5").String() + " " + frame.IP4(w.mac("vm5")).String()
	nbctl("lsp-add secure vm5")
	for _, set := range []string{"lsp-set-addresses", "lsp-set-port-security"} {
		_, err := w.Nbctl(set, "vm5", both)
		w.must(err)
	}
	for i, net := range []string{"open", "secure"} {
		nbctl("lsp-add " + net + " out-" + net + " -- lsp-set-type out-" + net + " localnet -- lsp-set-addresses out-" + net +
			" unknown -- lsp-set-options out-" + net + " network_name=physnet -- set logical_switch_port out-" + net + " tag=" + []string{"100", "200"}[i])
	}
	outside := w.NewMAC()
	hello := func() {
		for _, v := range []ovs.VLAN{100, 200} {
			w.must(w.ports["uplink"].Send(frame.UDP4(frame.Broadcast, outside, frame.OnVLAN(v))))
		}
		time.Sleep(300 * time.Millisecond)
	}
	// learned waits until OVN has learned where a frame comes from and goes to: the first
	// ones go to ovn-controller, too.
	learned := func(w *world, s sent) {
		t.Helper()
		w.must(lab.Eventually(10*time.Second*lab.Patience(), func() error {
			if _, f := w.flow("br-int", s); f.Refusal != "" {
				return fmt.Errorf("refused for %s: %s", f.Refusal, f.Detail)
			}
			return nil
		}))
	}
	hello()
	learned(w, sent{from: "vm1", to: "vm2"})
	w.check(t, "br-int", map[string]sent{
		"in the network":         {from: "vm1", to: "vm2", lane: "vm2"},
		"to the provider":        {from: "vm1", dst: outside, why: refused(SeveralOutputs)},
		"MAC address":            {from: "vm3", to: "vm4", lane: "vm4"},
		"of it, to the provider": {from: "vm3", dst: outside, lane: "push_vlan(vid=200,pcp=0),uplink"},
		"MAC and IP address":     {from: "vm5", to: "vm3", why: refused(L3Match)},
		"another MAC address":    {from: "vm3", to: "vm4", src: w.NewMAC(), why: refused(Drop, MaskedMAC)},
	})
	nbctl("lsp-set-options out-open network_name=physnet localnet_learn_fdb=true")
	t.Run("learned from the provider", func(t *testing.T) {
		w := w.in(t)
		hello()
		learned(w, sent{from: "vm1", dst: outside})
		w.check(t, "br-int", map[string]sent{"to the provider": {from: "vm1", dst: outside, lane: "push_vlan(vid=100,pcp=0),uplink"}})
		w.check(t, "br-ex", map[string]sent{
			"to a VM":                   {from: "uplink", src: outside, to: "vm1", opts: []frame.Option{frame.OnVLAN(100)}, lane: "pop_vlan,vm1"},
			"to one with port security": {from: "uplink", src: outside, to: "vm3", opts: []frame.Option{frame.OnVLAN(200)}, lane: "pop_vlan,vm3"},
		})
	})
}
