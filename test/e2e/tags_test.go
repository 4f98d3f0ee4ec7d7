// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// refusedForTags waits until a port whose peer hands tags over beside the frames
// is refused for that, where XDP can't ask for them.
func (w *world) refusedForTags(port string) {
	w.t.Helper()
	if lab.TagsTold() {
		return
	}
	if text := w.refused("br0/" + port); !strings.HasPrefix(text, "vlan-offload") || !strings.Contains(text, "tx-vlan-offload off") {
		w.t.Errorf("%s is refused: %s", port, text)
	}
}

// Frames whose VLAN tag Linux keeps beside the frame look untagged to XDP.
// The addresses are known in VLAN 0 too, so a lane that believes its eyes
// delivers VLAN 10 to VLAN 0.
func TestTagsBesideTheFrame(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	mac, host := w.NewMAC(), w.NewMAC()
	h := &lab.TrunkHost{Name: "h10", VLAN: 10, MAC: host}
	trunk, err := w.AddTrunk("br0", "up", true, lab.PortOptions{}, h)
	w.must(err)
	v10 := station{port: w.veth("v10", "tag=10"), mac: mac, vlan: 10}
	v0 := station{port: w.tap("v0"), mac: mac, vlan: 0}
	w.mode("on")
	w.refusedForTags("up")
	w.hello(v10)
	w.hello(v0)

	inside, err := h.VM.OpenPacket("eth0")
	w.must(err)
	defer inside.Close()
	onCable, err := trunk.Switch.OpenPacket("uplink")
	w.must(err)
	defer onCable.Close()
	send := func(e lab.Endpoint, dst ovs.MAC) {
		t.Helper()
		w.must(e.Send(frame.UDP4(dst, host)))
	}
	send(inside, frame.Broadcast)  // the host, in VLAN 10
	send(onCable, frame.Broadcast) // its twin, in VLAN 0
	time.Sleep(time.Second)
	w.drain(quiet)

	for range burst {
		send(inside, mac)
	}
	got := make(map[string]int)
	for _, s := range []station{v10, v0} {
		frames, err := s.port.Drain(quiet)
		w.must(err)
		got[s.port.Name] = len(frames)
	}
	if got["v10"] != burst || got["v0"] != 0 {
		t.Errorf("of %d frames in VLAN 10, %d reached VLAN 10 and %d reached VLAN 0", burst, got["v10"], got["v0"])
	}
}

// The same on an access port, which drops what is tagged, also with its own
// VLAN. The sender is known there, for it has sent untagged frames as well.
func TestTagBesideTheFrameOnAccessPort(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := &lab.TrunkHost{Name: "h10", VLAN: 10, MAC: w.NewMAC()}
	access, err := w.AddTrunk("br0", "v1", true, lab.PortOptions{Columns: []string{"tag=10"}}, h)
	w.must(err)
	b := untagged(w.tap("t1", "tag=10"), 10)
	w.mode("on")
	w.refusedForTags("v1")
	onCable, err := access.Switch.OpenPacket("uplink")
	w.must(err)
	defer onCable.Close()
	w.must(onCable.Send(frame.UDP4(frame.Broadcast, h.MAC)))
	w.announce(b, "lane")
	time.Sleep(time.Second) // for the sender's row, if the daemon gives it one

	inside, err := h.VM.OpenPacket("eth0")
	w.must(err)
	defer inside.Close()
	for range burst {
		w.must(inside.Send(frame.UDP4(b.mac, h.MAC)))
	}
	frames, err := b.port.Drain(quiet)
	w.must(err)
	if len(frames) > 0 {
		t.Errorf("%d tagged frames of %d crossed an access port", len(frames), burst)
	}
}

// Whoever owns the far end of a veth may turn tx-vlan-offload on and off at any
// time: the lane follows where it must, and tells how to help.
func TestVethPeerHidesTags(t *testing.T) {
	t.Parallel()
	w, a, b := openLane(t)
	offload := func(value string) {
		t.Helper()
		_, err := a.port.VM.Exec(context.Background(), "ethtool", "-K", "eth0", "tx-vlan-offload", value)
		w.must(err)
	}
	offload("on")
	w.refusedForTags("v1")
	if lab.TagsTold() {
		w.laneBetween(a, b)
		return
	}
	if text, want := w.refused("br0/v1"), "ip netns exec "+a.port.VM.Name+" ethtool -K eth0"; !strings.Contains(text, want) {
		t.Errorf("%q is not in: %s", want, text)
	}
	w.noPrograms("t1")
	w.bridgeBetween(a, b)
	offload("off")
	w.announce(a, "lane")
	w.laneBetween(a, b)
}
