// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// stpShort are the shortest times of STP that fit together.
var stpShort = []string{"other_config:stp-forward-delay=4", "other_config:stp-max-age=6", "other_config:stp-hello-time=1"}

// forwarding waits until no port of br0 is refused for its spanning tree. At
// the shortest a port listens for 4 s and learns for 4 s.
func (w *world) forwarding() {
	w.t.Helper()
	w.must(lab.Eventually(30*time.Second, func() error {
		s, err := w.Status()
		if err != nil {
			return err
		}
		b, err := s.Bridge("br0")
		if err == nil && len(b.Refusals) > 0 {
			err = fmt.Errorf("refusals: %+v", b.Refusals)
		}
		return err
	}))
}

// closed checks that no frame takes the lane, and that none arrives: OVS
// drops them while the port is not forwarding.
func (w *world) closed(from, to station) {
	w.t.Helper()
	got, p := w.send(from.port, from.frameTo(to.mac))
	if p.lane != 0 || len(p.sent) != 0 || p.passed < burst {
		w.t.Errorf("from %s to %s the lane should be closed: %s", from.port.Name, to.port.Name, p)
	}
	w.arrivals(got, nil)
}

// Ports take part when the spanning tree lets them forward, and no earlier.
func TestSpanningTree(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, on string
		before   []string
	}{
		{"STP", "stp_enable", stpShort},
		{"RSTP", "rstp_enable", []string{"other_config:rstp-forward-delay=4", "other_config:rstp-max-age=6"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // it mostly waits
			w := newWorld(t)
			a, b := untagged(w.veth("v1", "tag=10"), 10), untagged(w.tap("t1", "tag=10"), 10)
			w.set(c.before...)
			w.mode("on")
			w.announce(a, "lane")
			w.announce(b, "lane")
			w.laneBetween(a, b)
			w.set(c.on + "=true")
			w.refused("br0/v1")
			w.noLaneTo(b)
			started := time.Now()
			w.closed(a, b)
			w.closed(b, a)
			w.forwarding()
			t.Logf("forwarding after %v", time.Since(started))
			w.announce(a, "lane")
			w.announce(b, "lane")
			w.laneBetween(a, b)

			// Off and on again: from the start.
			w.set(c.on + "=false")
			w.row(b, "lane")
			w.set(c.on + "=true")
			w.refused("br0/t1")
			w.closed(a, b)
		})
	}
}

// A port that STP blocks because of a loop leaves the lane; the others stay.
func TestSpanningTreeBlocksPort(t *testing.T) {
	t.Parallel() // it mostly waits
	w := newWorld(t)
	a, b := untagged(w.veth("v1", "tag=10"), 10), untagged(w.tap("t1", "tag=10"), 10)
	c := untagged(w.veth("v2", "tag=10"), 10)
	w.set(append([]string{"stp_enable=true"}, stpShort...)...)
	w.mode("on")
	w.forwarding()
	for _, s := range []station{a, b, c} {
		w.announce(s, "lane")
	}
	w.laneBetween(a, b)

	// Another bridge, nearer to the root, is behind both v1 and t1.
	w.must(a.port.Send(bpdu(a.mac, 1)))
	w.must(b.port.Send(bpdu(b.mac, 2)))
	t.Logf("the refusal: %s", w.refused("br0/t1"))
	w.noLaneTo(b)
	w.closed(b, a)
	w.announce(a, "lane")
	w.announce(c, "lane")
	w.laneBetween(a, c)
}

// bpdu is a configuration BPDU (IEEE 802.1D, 9.3.1) from a port of a bridge
// that is the root.
func bpdu(src ovs.MAC, port byte) []byte {
	root := []byte{0x10, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01}
	p := []byte{0x42, 0x42, 0x03, 0, 0, 0, 0, 0}
	p = append(append(p, root...), 0, 0, 0, 0) // path cost
	p = append(append(p, root...), 0x80, port) // bridge, port
	p = append(p, 0, 0, 20, 0, 2, 0, 4, 0)     // ages and delays in 1/256 s
	p = append(p, make([]byte, 46-len(p))...)
	return frame.Frame{Dst: ovs.MAC{0x01, 0x80, 0xc2}, Src: src, EtherType: 38, Payload: p}.Bytes()
}
