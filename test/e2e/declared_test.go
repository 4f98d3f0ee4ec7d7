// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"strings"
	"testing"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// declare returns the setting of an Interface row that declares a station.
func declare(mac ovs.MAC) string { return `external_ids:attached-mac="` + mac.String() + `"` }

// declared makes a port whose attached-mac is that of its machine.
func (w *world) declared(add func(*lab.Lab, string, string, lab.PortOptions) (*lab.Port, error), name string) station {
	w.t.Helper()
	mac := w.NewMAC()
	return untagged(w.port(add, name, lab.PortOptions{MAC: mac, Columns: []string{"tag=10"}, Interface: []string{declare(mac)}}), 10)
}

// A station that the database declares is on the lane before it has spoken,
// and one that takes its address does not get it off the lane.
func TestDeclaredStations(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	victim, peer := w.declared((*lab.Lab).AddVeth, "v1"), w.declared((*lab.Lab).AddTap, "t1")
	spoofer := w.declared((*lab.Lab).AddVeth, "v2")
	up := w.veth("up")
	w.mode("on")
	for _, s := range []station{victim, peer, spoofer} {
		w.row(s, "lane") // OVS knows none of them
		if w.learned(s) {
			t.Errorf("OVS has learned %s, which has not spoken", s.mac)
		}
	}
	f := peer.frameTo(victim.mac)

	w.run("first frame to OVS", func(w *world) {
		before := w.counts()
		w.must(peer.port.Send(f))
		w.drain(quiet)
		if p := before.to(w.counts(), "t1"); p.passed != 1 || p.lane != 0 || p.rules != 1 {
			w.t.Errorf("the first frame of a declared station: %s", p)
		}
		if !w.learned(peer) {
			w.t.Error("OVS has not learned a declared station from its first frame")
		}
		got, p := w.send(peer.port, f, "v1")
		w.arrivals(got, map[string][]byte{"v1": f})
		if p.lane != burst || p.rules != 0 {
			w.t.Errorf("to a station that has not spoken: %s", p)
		}
	})
	w.run("spoofer", func(w *world) {
		_, p := w.send(spoofer.port, frame.UDP4(frame.Broadcast, victim.mac))
		if p.lane != 0 || p.rules != burst {
			w.t.Errorf("frames of the spoofer should go through OVS: %s", p)
		}
		if s := w.stateOf(victim); s != "lane" {
			w.t.Errorf("the victim's row is %q", s)
		}
		got, p := w.send(peer.port, f, "v1")
		if p.lane < burst-3 || p.sent["v1"] != p.lane || uint64(len(got["v1"])) < p.lane {
			w.t.Errorf("frames to the victim should take the lane: %s; %d arrived", p, len(got["v1"]))
		}
		if n := reasonOf(ask[[]lab.PortStatus](w, "port/show"), "v2", "spoofed-source"); n != burst {
			w.t.Errorf("%d spoofed frames are counted, want %d", n, burst)
		}
		w.must(victim.port.Send(victim.frameTo(frame.Broadcast)))
		w.drain(quiet)
		w.row(victim, "lane")
		w.laneBetween(peer, victim)
	})
	w.run("conflict", func(w *world) {
		// Behind the uplink is no declared station.
		usurper := tagged(up, victim.mac, 10)
		w.hello(usurper)
		if text := w.refused("br0/v1"); !strings.Contains(text, "declared-conflict") || !strings.Contains(text, victim.mac.String()) {
			w.t.Errorf("the refusal of v1: %s", text)
		}
		if w.listed(victim) {
			w.t.Error("a station with two places is on the lane")
		}
		w.bridge(peer.port, f, map[string][]byte{"up": usurper.out(f, 0)})

		// The declaration is withdrawn: OVS's word counts.
		_, err := w.OVS("remove", "interface", "v1", "external_ids", "attached-mac")
		w.must(err)
		w.row(usurper, "lane")
		w.lane(peer.port, up, f, usurper.out(f, 0))

		// And back: a conflict again, until OVS sees it where it is declared.
		_, err = w.OVS("set", "interface", "v1", declare(victim.mac))
		w.must(err)
		w.refused("br0/v1")
		w.row(usurper, "")
		w.announce(victim, "lane")
		w.laneBetween(peer, victim)
		s, err := w.Status()
		w.must(err)
		if b, err := s.Bridge("br0"); err != nil || len(b.Refusals) > 0 {
			w.t.Errorf("refusals after the conflict: %+v, error %v", b.Refusals, err)
		}
	})
}

func reasonOf(ports []lab.PortStatus, name, reason string) uint64 {
	for _, p := range ports {
		if p.Interface == name {
			return p.Reasons[reason]
		}
	}
	return 0
}
