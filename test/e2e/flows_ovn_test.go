// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"strings"
	"testing"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// VMs of OVN's logical switch with a localnet port take the lane, in IPv4; with an ACL
// they do not, and why says that it is connection tracking.
func TestFlowsOVN(t *testing.T) {
	w := &world{Lab: lab.NewT(t), t: t, keepsMegaflows: true}
	w.must(w.AddBridge("br-ex"))
	w.must(w.StartOVN("physnet:br-ex"))
	p := &pair{world: w, far: w.NewMAC()}
	p.uplink = w.portOn("br-ex", (*lab.Lab).AddVeth, "uplink", lab.PortOptions{})
	line := ""
	for i, name := range []string{"vm1", "vm2", "vm3"} {
		port := w.portOn("br-int", (*lab.Lab).AddTap, name, lab.PortOptions{Columns: []string{}})
		_, err := w.OVS("set", "interface", name, "external_ids:iface-id="+name)
		w.must(err)
		net := []string{"plain", "plain", "guarded"}[i]
		line += " -- lsp-add " + net + " " + name + " -- lsp-set-addresses " + name + " " + port.MAC.String()
		*[]**lab.Port{&p.vm1, &p.vm2, &p.vm3}[i] = port
	}
	nbctl := func(line string) {
		t.Helper()
		_, err := w.Nbctl(strings.Fields(line)...)
		w.must(err)
	}
	nbctl("ls-add plain -- ls-add guarded" + line)
	for i, net := range []string{"plain", "guarded"} {
		nbctl("lsp-add " + net + " out-" + net + " -- lsp-set-type out-" + net + " localnet -- lsp-set-addresses out-" + net +
			" unknown -- lsp-set-options out-" + net + " network_name=physnet -- set logical_switch_port out-" + net + " tag=" + []string{"100", "200"}[i])
	}
	nbctl("acl-add guarded from-lport 1000 ip4 allow-related")
	w.start()
	p.key("xdp-offload=on", "on", "br-int", "br-ex")
	for _, vlan := range []ovs.VLAN{100, 200} {
		w.must(p.uplink.Send(frame.UDP4(frame.Broadcast, p.far, frame.OnVLAN(vlan))))
	}
	w.drain(quiet)

	b, want := p.out(p.vm1, 100, frame.UDP4)
	p.taken(p.vm1, p.uplink, b, want)
	b, want = p.in(p.vm1, 100, frame.TCP4)
	p.taken(p.uplink, p.vm1, b, want)
	inside := frame.UDP4(p.vm2.MAC, p.vm1.MAC)
	p.taken(p.vm1, p.vm2, inside, inside)

	b, want = p.out(p.vm3, 200, frame.UDP4)
	p.left(p.vm3, p.uplink, b, want)
	text, err := w.Ctl("why", "br-int", "vm3", "0", p.far.String())
	if err != nil || !strings.Contains(text, "conntrack") {
		t.Errorf("why: %v\n%s", err, text)
	}

	// An ACL comes: its frames leave the lane.
	nbctl("acl-add plain from-lport 1000 ip4 allow-related")
	p.eventually(func() error {
		got, path := p.send(p.vm1, inside, "vm2")
		p.arrivals(got, map[string][]byte{"vm2": inside})
		if path.lane > 0 {
			return &unexpected{"vm1", path}
		}
		return nil
	})
}
