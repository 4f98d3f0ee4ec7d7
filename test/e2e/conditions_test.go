// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"testing"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// OVS floods every frame of flood_vlans; the other VLANs keep their lane.
func TestFloodVLANs(t *testing.T) {
	t.Parallel()
	w, a, b := openLane(t)
	c := untagged(w.veth("v2", "tag=10"), 10)
	d, e := untagged(w.veth("v3", "tag=20"), 20), untagged(w.tap("t2", "tag=20"), 20)
	w.announce(d, "lane")
	w.announce(e, "lane")
	w.set("flood_vlans=10")
	t.Logf("the refusal: %s", w.refused("br0/VLAN 10"))
	w.row(b, "")
	// The change has made OVS forget every station, of all VLANs.
	w.announce(d, "lane")
	w.announce(e, "lane")
	w.hello(b)
	f := a.frameTo(b.mac)
	w.bridge(a.port, f, map[string][]byte{"t1": f, "v2": f})
	w.laneBetween(d, e)
	_, err := w.OVS("clear", "bridge", "br0", "flood_vlans")
	w.must(err)
	w.announce(b, "lane")
	w.announce(c, "lane")
	w.laneBetween(c, b)
}

// A row that fdb/add made never moves, whoever sends with its address.
func TestStaticRows(t *testing.T) {
	t.Parallel()
	w, a, b := openLane(t)
	c := untagged(w.veth("v2", "tag=10"), 10)
	w.tap("t30", "tag=30")
	w.announce(c, "lane")
	static := station{port: b.port, mac: w.NewMAC(), vlan: 10}
	_, err := w.Appctl("fdb/add", "br0", "t1", "10", static.mac.String())
	w.must(err)
	w.row(static, "lane")
	f := a.frameTo(static.mac)
	w.lane(a.port, b.port, f, f)

	// Its address on another port: left to OVS, which delivers it.
	g := frame.UDP4(a.mac, static.mac)
	w.bridge(c.port, g, map[string][]byte{"v1": g})
	got, p := w.send(a.port, f, "t1")
	w.arrivals(got, map[string][]byte{"t1": f})
	t.Logf("right after frames of its address from elsewhere: %s", p)
	w.row(static, "lane")
	w.lane(a.port, b.port, f, f)
	w.lane(b.port, a.port, g, g)

	// In a VLAN that the port does not carry OVS delivers all the same.
	odd := w.NewMAC()
	_, err = w.Appctl("fdb/add", "br0", "t30", "10", odd.String())
	w.must(err)
	f = a.frameTo(odd)
	w.bridge(a.port, f, map[string][]byte{"t30": f})
}

// OVS drops frames between protected ports.
func TestProtectedPorts(t *testing.T) {
	t.Parallel()
	w, a, b := openLane(t)
	c := untagged(w.veth("v2", "tag=10"), 10)
	w.announce(c, "lane")
	w.must(a.port.Set("protected=true"))
	w.must(b.port.Set("protected=true"))
	// The change has made OVS forget every station.
	for _, s := range []station{a, b, c} {
		w.announce(s, "lane")
	}
	w.bridge(a.port, a.frameTo(b.mac), nil)
	w.bridge(b.port, b.frameTo(a.mac), nil)
	w.laneBetween(a, c)
	w.laneBetween(c, b)
	w.must(b.port.Set("protected=false"))
	w.announce(a, "lane")
	w.announce(b, "lane")
	w.laneBetween(a, b)
}

// The configuration bits of an OpenFlow port, changed while frames flow.
func TestPortBits(t *testing.T) {
	t.Parallel()
	w, a, b := openLane(t)
	ab, ba := a.frameTo(b.mac), b.frameTo(a.mac)
	for _, c := range []struct {
		off, on string
		check   func(w *world)
	}{
		{"no-forward", "forward", func(w *world) {
			w.bridge(a.port, ab, nil)
			w.lane(b.port, a.port, ba, ba)
		}},
		{"no-receive", "receive", func(w *world) {
			w.lane(a.port, b.port, ab, ab)
			got, p := w.send(b.port, ba)
			w.arrivals(got, nil)
			if p.lane != 0 || p.passed != burst {
				w.t.Errorf("frames from a port with no-receive: %s", p)
			}
		}},
		{"down", "up", func(w *world) {
			_, p := w.send(a.port, ab)
			if p.lane != 0 || p.passed != burst {
				w.t.Errorf("frames to a port that is down: %s", p)
			}
		}},
	} {
		w.run(c.off, func(w *world) {
			_, err := w.Ofctl("mod-port", "br0", "t1", c.off)
			w.must(err)
			w.refused("br0/t1")
			c.check(w)
			_, err = w.Ofctl("mod-port", "br0", "t1", c.on)
			w.must(err)
			w.announce(b, "lane")
			w.row(a, "lane")
			w.laneBetween(a, b)
		})
	}
}

// Tags in every VLAN mode, both ways, exact to the priority.
func TestVLANModes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	access := untagged(w.veth("v1", "tag=10"), 10)
	trunkPort := w.tap("t1", "trunks=10,20")
	tagPort := w.veth("v2", "vlan_mode=native-tagged", "tag=10", "trunks=20")
	nakedPort := w.tap("t2", "vlan_mode=native-untagged", "tag=10", "trunks=20")
	wide := w.veth("v3")
	w.mode("on")

	// On each of the ports with tags a station in VLAN 10 and one in VLAN 20.
	type place struct {
		ten, twenty station
		// in10 and out10 are the tags of VLAN 10 towards the bridge and from it.
		in10, out10 []frame.Tag
	}
	ten := []frame.Tag{{VID: 10}}
	places := []place{
		{ten: tagged(trunkPort, w.NewMAC(), 10), twenty: tagged(trunkPort, w.NewMAC(), 20), in10: ten, out10: ten},
		{ten: tagged(tagPort, w.NewMAC(), 10), twenty: tagged(tagPort, w.NewMAC(), 20), in10: nil, out10: ten},
		{ten: tagged(tagPort, w.NewMAC(), 10), twenty: tagged(tagPort, w.NewMAC(), 20), in10: ten, out10: ten},
		{ten: tagged(nakedPort, w.NewMAC(), 10), twenty: tagged(nakedPort, w.NewMAC(), 20), in10: nil, out10: nil},
		{ten: tagged(nakedPort, w.NewMAC(), 10), twenty: tagged(nakedPort, w.NewMAC(), 20), in10: ten, out10: nil},
		{ten: tagged(wide, w.NewMAC(), 10), twenty: tagged(wide, w.NewMAC(), 20), in10: ten, out10: ten},
	}
	for i := range places {
		places[i].ten.tags = places[i].in10
		w.must(places[i].ten.port.Send(places[i].ten.frameTo(frame.Broadcast)))
		w.must(places[i].twenty.port.Send(places[i].twenty.frameTo(frame.Broadcast)))
	}
	w.announce(access, "lane")
	for _, p := range places {
		w.row(p.ten, "lane")
		w.row(p.twenty, "lane")
	}
	for i, p := range places {
		to := places[(i+2)%len(places)]
		if to.ten.port == p.ten.port {
			to = places[0]
		}
		f := p.ten.frameTo(to.ten.mac)
		w.lane(p.ten.port, to.ten.port, f, frame.Retag(f, to.out10...))
		f = p.twenty.frameTo(to.twenty.mac)
		w.lane(p.ten.port, to.ten.port, f, f)
		f = access.frameTo(p.ten.mac)
		w.lane(access.port, p.ten.port, f, frame.Retag(f, p.out10...))
		f = p.ten.frameTo(access.mac)
		w.lane(p.ten.port, access.port, f, frame.Retag(f))
	}
	w.run("priority", func(w *world) {
		from, to := places[0].twenty, places[2].twenty
		f := frame.UDP4(to.mac, from.mac, frame.Tagged(frame.Tag{VID: 20, PCP: 6}))
		w.lane(from.port, to.port, f, f)
	})
	w.run("VLAN off the list", func(w *world) {
		w.bridge(trunkPort, frame.UDP4(access.mac, w.NewMAC(), frame.OnVLAN(30)), nil)
		w.bridge(tagPort, frame.UDP4(access.mac, w.NewMAC(), frame.OnVLAN(30)), nil)
		w.bridge(trunkPort, frame.UDP4(access.mac, places[0].ten.mac), nil) // VLAN 0
	})
	w.run("odd tags", func(w *world) {
		from, to := places[0].ten, places[5].ten
		for name, tags := range map[string][]frame.Tag{
			"DEI": {{VID: 10, DEI: true}}, "802.1ad": {{TPID: frame.TypeQinQ, VID: 10}}, "two": {{VID: 10}, {VID: 11}},
		} {
			_, p := w.send(from.port, frame.UDP4(to.mac, from.mac, frame.Tagged(tags...)))
			if p.lane != 0 || p.passed != burst || p.rules != burst {
				w.t.Errorf("%s: %s", name, p)
			}
		}
	})
}

// Frames that just fit take the lane, tag or no tag; a byte more and they are
// OVS's.
func TestLargestFrames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	small := untagged(w.port((*lab.Lab).AddTap, "t1", lab.PortOptions{MTU: 1400, Columns: []string{"tag=10"}}), 10)
	a := untagged(w.veth("v1", "tag=10"), 10)
	up := w.veth("up")
	h := tagged(up, w.NewMAC(), 10)
	smallTrunk := w.port((*lab.Lab).AddTap, "t2", lab.PortOptions{MTU: 1400})
	g := tagged(smallTrunk, w.NewMAC(), 10)
	w.mode("on")
	for _, s := range []station{small, a, h, g} {
		w.announce(s, "lane")
	}
	for _, c := range []struct {
		name     string
		from, to station
		length   int // of the longest that fits
	}{
		{"untagged", a, small, 1414},
		{"tag pushed", a, g, 1414},
		{"tag popped", h, small, 1418},
		{"tag kept", h, g, 1418},
		{"full length, pushed", a, h, 1514},
		{"full length, popped", h, a, 1518},
	} {
		w.run(c.name, func(w *world) {
			f := c.from.frameTo(c.to.mac, frame.Length(c.length))
			w.lane(c.from.port, c.to.port, f, c.to.out(f, 0))
			if c.length > 1500 {
				return // a longer one does not leave the machine
			}
			before := w.counts()
			w.must(c.from.port.Send(c.from.frameTo(c.to.mac, frame.Length(c.length+1))))
			w.drain(quiet)
			if p := before.to(w.counts(), c.from.port.Name); p.lane != 0 || p.passed != 1 {
				w.t.Errorf("one byte more: %s", p)
			}
		})
	}
}
