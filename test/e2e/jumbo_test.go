// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"testing"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// Ports with a jumbo MTU are on the lane. A frame that lies in several buffers
// takes it to a device that takes such frames (veth, since Linux 6.3), and goes
// by OVS to one that does not (tap).
func TestJumbo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	jumbo := lab.PortOptions{MTU: 9000, Columns: []string{"tag=10"}}
	v1 := untagged(w.port((*lab.Lab).AddVeth, "v1", jumbo), 10)
	v2 := untagged(w.port((*lab.Lab).AddVeth, "v2", jumbo), 10)
	t1 := untagged(w.port((*lab.Lab).AddTap, "t1", jumbo), 10)
	small := untagged(w.veth("v3", "tag=10"), 10)
	w.mode("on")
	for _, s := range []station{v1, v2, t1, small} {
		w.announce(s, "lane")
	}
	for _, s := range []station{v2, t1, small} {
		w.laneBetween(v1, s)
	}
	large := func(from, to station) []byte { return from.frameTo(to.mac, frame.Length(9014)) }
	f := large(v1, v2)
	if lab.TellsFeatures() {
		w.lane(v1.port, v2.port, f, f)
	} else {
		w.bridge(v1.port, f, map[string][]byte{"v2": f})
	}
	f = large(v1, t1)
	w.bridge(v1.port, f, map[string][]byte{"t1": f})
	// Larger than what the port takes: OVS drops it, or not, as it sees fit.
	before := w.counts()
	for range 5 {
		w.must(v1.port.Send(large(v1, small)))
	}
	w.drain(quiet)
	if p := before.to(w.counts(), "v1"); p.lane != 0 {
		t.Errorf("frames larger than the MTU of their destination: %s", p)
	}
}
