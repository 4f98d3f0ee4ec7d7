// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

func TestVMToVM(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stations := []station{
		untagged(w.veth("v1", "tag=10"), 10),
		untagged(w.veth("v2", "tag=10"), 10),
		untagged(w.tap("t1", "tag=10"), 10),
		untagged(w.tap("t2", "tag=10"), 10),
	}
	w.mode("on")
	for _, s := range stations {
		w.announce(s, "lane")
	}
	for i, a := range stations {
		for _, b := range stations[i+1:] {
			w.laneBetween(a, b)
			six := frame.UDP6(b.mac, a.mac, frame.Length(1514))
			w.lane(a.port, b.port, six, six)
		}
	}
}

// A known address in another VLAN is unknown: the frame stays in its VLAN.
func TestAcrossVLANs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := untagged(w.veth("v1", "tag=10"), 10), untagged(w.tap("t1", "tag=20"), 20)
	c := untagged(w.tap("t2", "tag=10"), 10) // where OVS floods to
	w.mode("on")
	for _, s := range []station{a, b, c} {
		w.announce(s, "lane")
	}
	f := a.frameTo(b.mac)
	w.bridge(a.port, f, map[string][]byte{c.port.Name: f})
	w.bridge(b.port, b.frameTo(a.mac), nil)
}

func TestUplink(t *testing.T) {
	t.Parallel()
	for name, add := range map[string]func(*world, string, ...string) *lab.Port{"veth": (*world).veth, "tap": (*world).tap} {
		if testing.Short() && name == "tap" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			up := add(w, "up")
			v10, t20 := untagged(w.veth("v1", "tag=10"), 10), untagged(w.tap("t1", "tag=20"), 20)
			h10, h20 := tagged(up, w.NewMAC(), 10), tagged(up, w.NewMAC(), 20)
			w.mode("on")
			for _, s := range []station{v10, t20, h10, h20} {
				w.announce(s, "lane")
			}
			w.laneBetween(v10, h10)
			w.laneBetween(t20, h20)

			// From one trunk to another the tag stays, with its priority.
			up2 := w.veth("up2")
			far := tagged(up2, w.NewMAC(), 10)
			w.announce(far, "lane")
			f := frame.UDP4(far.mac, h10.mac, frame.Tagged(frame.Tag{VID: 10, PCP: 5}))
			w.lane(up, up2, f, f)
			// And it goes, priority and all, where the port is an access port.
			f = frame.UDP4(v10.mac, h10.mac, frame.Tagged(frame.Tag{VID: 10, PCP: 5}))
			w.lane(up, v10.port, f, frame.Retag(f))

			// Known addresses, but in the other VLAN: flooded there by OVS.
			f = frame.UDP4(v10.mac, h20.mac, frame.OnVLAN(20))
			w.bridge(up, f, map[string][]byte{"t1": frame.Retag(f), "up2": f})
		})
	}
}

// Frames that Open vSwitch floods reach the same ports with the lane as
// without it, and in the same shape.
func TestFloodsAreTheSame(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	up := w.veth("up")
	v10, v11 := untagged(w.veth("v1", "tag=10"), 10), untagged(w.veth("v2", "tag=10"), 10)
	t10, t20 := untagged(w.tap("t1", "tag=10"), 10), untagged(w.tap("t2", "tag=20"), 20)
	h10 := tagged(up, w.NewMAC(), 10)
	stations := []station{v10, v11, t10, t20, h10}

	destinations := map[string]ovs.MAC{
		"broadcast": frame.Broadcast,
		"multicast": {0x01, 0x00, 0x5e, 0x01, 0x02, 0x03},
		"unknown":   w.NewMAC(),
	}
	flood := func() map[string]map[string][]byte {
		t.Helper()
		seen := make(map[string]map[string][]byte)
		for name, dst := range destinations {
			for _, s := range stations {
				got, p := w.send(s.port, s.frameTo(dst))
				if p.lane != 0 || p.rules != burst {
					t.Errorf("%s from %s: %s", name, s.port.Name, p)
				}
				ports := make(map[string][]byte)
				for port, frames := range got {
					ports[port] = frames[0]
					if len(frames) != burst {
						t.Errorf("%s from %s: %d frames of %d reach %s", name, s.port.Name, len(frames), burst, port)
					}
				}
				seen[name+" from "+s.port.Name] = ports
			}
		}
		return seen
	}
	w.state("off")
	for _, s := range stations {
		w.hello(s)
	}
	want := flood()
	if n := len(want["broadcast from v1"]); n != 3 {
		t.Fatalf("a broadcast of v1 reaches %d ports without the daemon, want 3", n)
	}
	w.mode("on")
	for _, s := range stations {
		w.announce(s, "lane")
	}
	if d := cmp.Diff(want, flood()); d != "" {
		t.Errorf("ports that frames reach (-without lane +with lane):\n%s", d)
	}
	w.laneBetween(v10, h10) // so the lane was open all the time
}

// Frames to a known station that are not plain enough for the lane.
func TestFramesLeftToOVS(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	up := w.veth("up")
	a, b := untagged(w.veth("v1", "tag=10"), 10), untagged(w.tap("t1", "tag=10"), 10)
	h := tagged(up, w.NewMAC(), 10)
	w.mode("on")
	for _, s := range []station{a, b, h} {
		w.announce(s, "lane")
	}
	same := func(f []byte) map[string][]byte { return map[string][]byte{b.port.Name: f} }
	plain := frame.Frame{Dst: b.mac, Src: a.mac, Payload: make([]byte, 46)}
	priority := frame.UDP4(b.mac, a.mac, frame.Tagged(frame.Tag{VID: 0, PCP: 5}))
	other := plain
	other.EtherType = 0x88b5 // IEEE 802 local experimental
	for _, c := range []struct {
		name string
		from *lab.Port
		sent []byte
		want map[string][]byte
	}{
		{"ARP", a.port, frame.ARPReply(b.mac, a.mac, frame.IP4(a.mac), frame.IP4(b.mac)), same(frame.ARPReply(b.mac, a.mac, frame.IP4(a.mac), frame.IP4(b.mac)))},
		{"other protocol", a.port, other.Bytes(), same(other.Bytes())},
		{"unfinished checksum", a.port, frame.UDP4(b.mac, a.mac, frame.PartialChecksum()), same(frame.UDP4(b.mac, a.mac, frame.PartialChecksum()))},
		{"priority tag", a.port, priority, same(frame.Retag(priority))},
		{"tagged on an access port", a.port, frame.UDP4(b.mac, a.mac, frame.OnVLAN(10)), nil},
		{"to itself", a.port, frame.UDP4(a.mac, a.mac), nil},
		{"to its own port", up, frame.UDP4(h.mac, w.NewMAC(), frame.OnVLAN(10)), nil},
		{"two tags", up, frame.UDP4(b.mac, h.mac, frame.Tagged(frame.Tag{VID: 10}, frame.Tag{VID: 7})),
			same(frame.UDP4(b.mac, h.mac, frame.OnVLAN(7)))},
	} {
		t.Run(c.name, func(t *testing.T) {
			sub := *w
			sub.t = t
			sub.bridge(c.from, c.sent, c.want)
		})
	}
	w.laneBetween(a, b)
}

// A frame that is longer than the target's MTU is not for the lane, and frames
// that fit still are.
func TestFrameLongerThanMTU(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := untagged(w.veth("v1", "tag=10"), 10)
	b := untagged(w.port((*lab.Lab).AddTap, "t1", lab.PortOptions{MTU: 1400, Columns: []string{"tag=10"}}), 10)
	w.mode("on")
	w.announce(a, "lane")
	w.announce(b, "lane")
	before := w.counts()
	w.must(a.port.Send(a.frameTo(b.mac, frame.Length(1415))))
	w.drain(quiet)
	if p := before.to(w.counts(), "v1"); p.lane != 0 || p.passed != 1 {
		t.Errorf("one byte over the MTU: %s", p)
	}
	f := a.frameTo(b.mac, frame.Length(1414))
	w.lane(a.port, b.port, f, f)
}
