// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"testing"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// Bridges that have the same addresses in the same VLANs have nothing to do
// with each other.
func TestSeveralBridges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	macs := []ovs.MAC{w.NewMAC(), w.NewMAC(), w.NewMAC()}
	bridges := []string{"br0", "br1", "br2"}
	on := make(map[string][]station)
	for i, br := range bridges {
		if i > 0 {
			w.must(w.AddBridge(br))
		}
		_, err := w.OVS("set", "bridge", br, "external_ids:xdp-offload=on")
		w.must(err)
		suffix := string('a' + rune(i))
		for _, p := range []struct {
			name string
			add  func(*lab.Lab, string, string, lab.PortOptions) (*lab.Port, error)
			mac  ovs.MAC
		}{{"v" + suffix, (*lab.Lab).AddVeth, macs[i]}, {"t" + suffix, (*lab.Lab).AddTap, macs[(i+1)%3]}} {
			on[br] = append(on[br], untagged(w.portOn(br, p.add, p.name, lab.PortOptions{MAC: p.mac, Columns: []string{"tag=10"}}), 10))
		}
	}
	for _, br := range bridges {
		for _, s := range on[br] {
			w.announce(s, "lane")
		}
	}
	for i, br := range bridges {
		w.laneBetween(on[br][0], on[br][1])
		// The third address is known on both other bridges, and not here.
		f := on[br][0].frameTo(macs[(i+2)%3])
		w.bridge(on[br][0].port, f, map[string][]byte{on[br][1].port.Name: f})
	}
	// What happens to one does not concern the others.
	_, err := w.OVS("set", "bridge", "br1", "external_ids:xdp-offload=off")
	w.must(err)
	w.eventually(func() error {
		s, err := w.Status()
		if err != nil {
			return err
		}
		b, err := s.Bridge("br1")
		if err == nil && b.State != "off" {
			err = fmt.Errorf("br1 is in the state %q", b.State)
		}
		return err
	})
	w.row(on["br1"][0], "")
	w.bridgeBetween(on["br1"][0], on["br1"][1])
	w.laneBetween(on["br0"][0], on["br0"][1])
	_, err = w.Appctl("fdb/flush", "br0")
	w.must(err)
	w.row(on["br0"][0], "")
	w.laneBetween(on["br2"][0], on["br2"][1])
	_, err = w.OVS("del-br", "br2")
	w.must(err)
	w.row(on["br2"][0], "")
	for _, s := range on["br2"] {
		w.remove(s.port)
	}
	w.announce(on["br0"][0], "lane")
	w.announce(on["br0"][1], "lane")
	w.laneBetween(on["br0"][0], on["br0"][1])
}
