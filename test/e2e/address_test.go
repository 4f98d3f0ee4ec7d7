// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// A port with an attached-mac and xdp-addresses: frames with another source are
// left to OVS, or dropped with xdp-validate=drop, live.
func TestAddresses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	mac := w.NewMAC()
	vm := untagged(w.port((*lab.Lab).AddVeth, "v1", lab.PortOptions{MAC: mac, Columns: []string{"tag=10"},
		Interface: []string{declare(mac), `external_ids:xdp-addresses="` + frame.IP4(mac).String() + ` 2001:db8::/32"`}}), 10)
	peer := untagged(w.veth("v2", "tag=10"), 10)
	w.open(vm, peer)
	own := vm.frameTo(peer.mac)
	other := vm.frameTo(peer.mac, frame.IPs(frame.IP4(peer.mac), frame.IP4(w.NewMAC())))
	foreign6 := frame.UDP6(peer.mac, mac, frame.IPs(frame.IP6(peer.mac), netip.MustParseAddr("2001:db9::1")))
	listed6 := frame.UDP6(peer.mac, mac, frame.IPs(frame.IP6(peer.mac), netip.MustParseAddr("2001:db8::1")))
	nobody := vm.frameTo(frame.Broadcast, frame.IPs(netip.MustParseAddr("255.255.255.255"), netip.MustParseAddr("0.0.0.0")), frame.Ports(67, 68))
	arp := frame.ARPReply(peer.mac, mac, frame.IP4(mac), frame.IP4(peer.mac))
	arpOther := frame.ARPReply(peer.mac, mac, frame.IP4(peer.mac), frame.IP4(peer.mac))
	otherMAC := frame.UDP4(peer.mac, w.NewMAC(), frame.IPs(frame.IP4(peer.mac), frame.IP4(mac)))

	passes := func(b []byte, reason string) func(w *world) {
		return func(w *world) {
			w.t.Helper()
			got, p := w.send(vm.port, b, "v2")
			w.arrivals(got, map[string][]byte{"v2": b})
			if p.lane != 0 || p.reasons[reason] < burst-3 {
				w.t.Errorf("should go by OVS (%s): %s", reason, p)
			}
		}
	}
	takesLane := func(b []byte) func(w *world) {
		return func(w *world) { w.lane(vm.port, peer.port, b, b) }
	}
	drops := func(b []byte) func(w *world) {
		return func(w *world) { w.dropped(vm.port, b, "dropped-address") }
	}
	w.run("own", takesLane(own))
	w.run("prefix", takesLane(listed6))
	w.run("link-local of another", passes(foreign6, "foreign-address"))
	w.run("another address", passes(other, "foreign-address"))
	w.run("ARP", passes(arp, "not-ip"))
	w.run("ARP of another", passes(arpOther, "foreign-address"))
	w.run("not yet an address", passes(nobody, "foreign-address"))
	w.run("other direction", func(w *world) { f := peer.frameTo(mac); w.lane(peer.port, vm.port, f, f) })

	set := func(columns ...string) {
		t.Helper()
		_, err := w.OVS(append([]string{"set", "interface", "v1"}, columns...)...)
		w.must(err)
	}
	set("external_ids:xdp-validate=drop")
	w.eventually(func() error {
		_, p := w.send(vm.port, other)
		if p.reasons["dropped-address"] != burst {
			return fmt.Errorf("%s", p)
		}
		return nil
	})
	w.run("drop: own", takesLane(own))
	w.run("drop: prefix", takesLane(listed6))
	w.run("drop: another address", drops(other))
	w.run("drop: another MAC address", drops(otherMAC))
	w.run("drop: ARP", passes(arp, "not-ip"))
	w.run("drop: ARP of another", drops(arpOther))
	w.run("drop: another IPv6 address", drops(foreign6))
	w.run("drop: not yet an address", passes(nobody, "foreign-address"))

	set("external_ids:xdp-validate=maybe")
	if text := w.refused("br0/v1"); text == "" {
		t.Error("a bad value is not told of")
	}
	w.bridge(vm.port, other, map[string][]byte{"v2": other})
	set("external_ids:xdp-validate=drop", `external_ids:xdp-addresses=10.0.0.0/33`)
	t.Logf("the refusal: %s", w.refused("br0/v1"))
}
