// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// ask asks the daemon for a document in less than a millisecond.
func ask[T any](w *world, method string, args ...string) T {
	w.t.Helper()
	v, err := lab.Ask[T](w.Lab, method, args...)
	w.must(err)
	return v
}

// sentTo returns how many frames the lane has sent to a port.
func (w *world) sentTo(p *lab.Port) uint64 {
	w.t.Helper()
	for _, s := range ask[[]lab.PortStatus](w, "port/show", p.Bridge) {
		if s.Interface == p.Name {
			return s.TX.Lane
		}
	}
	return 0
}

// stateOf returns the state of a station's row, if it is on its port.
func (w *world) stateOf(s station) string {
	w.t.Helper()
	for _, r := range ask[[]lab.FDBRow](w, "fdb/show", s.port.Bridge) {
		if r.VLAN == int(s.vlan) && r.MAC == s.mac.String() && r.Port == s.port.Name {
			return r.State
		}
	}
	return ""
}

// until waits for ok and returns how long it took since a moment.
func (w *world) until(since time.Time, what string, ok func() bool) time.Duration {
	w.t.Helper()
	for !ok() {
		if time.Since(since) > settle {
			w.t.Fatalf("not within %v: %s", settle, what)
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(since)
}

// median logs what was measured and returns the median.
func (w *world) median(what string, took []time.Duration) time.Duration {
	w.t.Helper()
	slices.Sort(took)
	w.t.Logf("%s: median %v, all %v", what, took[len(took)/2].Round(time.Millisecond/10), took)
	return took[len(took)/2]
}

// A station may announce its move in any way. From then on no frame takes the
// lane to its old port, and soon all take the lane to the new one.
func TestMoves(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := untagged(w.veth("v1", "tag=10"), 10)
	one := untagged(w.veth("v2", "tag=10"), 10)
	two := station{port: w.tap("t1", "tag=10"), mac: one.mac, vlan: 10}
	w.mode("on")
	w.announce(a, "lane")
	w.announce(one, "lane")
	time.Sleep(2 * time.Second) // a look costs more while OVS may be taking up ports
	rarp := frame.Frame{Dst: frame.Broadcast, Src: one.mac, EtherType: 0x8035, Payload: make([]byte, 46)}
	copy(rarp.Payload, []byte{0, 1, 8, 0, 6, 4, 0, 3}) // request reverse (RFC 903)
	copy(rarp.Payload[8:], one.mac[:])
	copy(rarp.Payload[18:], one.mac[:])
	for _, c := range []struct {
		name string
		news []byte
	}{
		{"unicast", one.frameTo(a.mac)},
		{"broadcast", one.frameTo(frame.Broadcast)},
		{"gratuitous ARP", frame.ARPRequest(one.mac, frame.IP4(one.mac), frame.IP4(one.mac))},
		{"RARP", rarp.Bytes()},
	} {
		w.run(c.name, func(w *world) {
			from, to := one, two
			if w.stateOf(from) == "" {
				from, to = to, from
			}
			var took []time.Duration
			for range 10 {
				took = append(took, w.move(a, from, to, c.news))
				from, to = to, from
			}
			if m := w.median("on the lane at the new port", took); m > limit(time.Second) {
				w.t.Errorf("a station that moves is on the lane %v later", m)
			}
		})
	}
	w.laneBetween(a, one)
}

// A frame that hits a megaflow tells OVS nothing until the flow is revalidated:
// its MAC table has the old place for half a second then, and it is too old to
// be believed. Once OVS has learned, the lane follows.
func TestMoveThatOVSLearnsLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := untagged(w.veth("v1", "tag=10"), 10)
	from := untagged(w.veth("v2", "tag=10"), 10)
	to := station{port: w.tap("t1", "tag=10"), mac: from.mac, vlan: 10}
	w.mode("on")
	w.announce(a, "lane")
	w.announce(to, "lane")
	var late, took []time.Duration
	for range 3 {
		// Both ports have a megaflow for its broadcasts.
		for range 2 {
			w.hello(from)
		}
		w.row(from, "lane")
		time.Sleep(time.Second) // OVS counts these frames before the next ones
		before := w.sentTo(from.port)
		moved := time.Now()
		w.must(to.port.Send(to.frameTo(frame.Broadcast)))
		learned := time.Duration(0)
		took = append(took, w.until(moved, "the row at the new port", func() bool {
			w.must(a.port.Send(a.frameTo(to.mac)))
			if learned == 0 && w.learnedOn(to) {
				learned = time.Since(moved)
			}
			return w.stateOf(to) == "lane"
		}))
		late = append(late, learned)
		if n := w.sentTo(from.port) - before; n > 0 {
			t.Errorf("%d frames took the lane to the old port", n)
		}
		from, to = to, from
	}
	w.median("learned by OVS", late)
	w.median("on the lane at the new port", took)
}

// learnedOn tells whether OVS has a station on its port.
func (w *world) learnedOn(s station) bool {
	w.t.Helper()
	ofport, err := w.OVS("get", "interface", s.port.Name, "ofport")
	w.must(err)
	text, err := w.Appctl("fdb/show", s.port.Bridge)
	w.must(err)
	for _, line := range strings.Split(text, "\n") {
		if f := strings.Fields(line); len(f) == 4 && f[0] == strings.TrimSpace(ofport) && f[2] == s.mac.String() {
			return true
		}
	}
	return false
}

// move moves a station and returns when it was on the lane again.
func (w *world) move(a, from, to station, news []byte) time.Duration {
	w.t.Helper()
	w.drain(time.Millisecond)
	f := a.frameTo(from.mac)
	before := w.sentTo(from.port)
	moved := time.Now()
	w.must(to.port.Send(news))
	_, err := a.port.Recv(time.Second) // so the frame has been through
	w.must(err)
	sent := 0
	took := w.until(moved, "the row at the new port", func() bool {
		w.must(a.port.Send(f))
		sent++
		return w.stateOf(to) == "lane"
	})
	// Until its megaflow is gone, OVS itself may send to the old port.
	if n := w.arrived(sent, from.port, to.port); n[0]+n[1] != sent {
		w.t.Errorf("%d frames of %d arrived anywhere", n[0]+n[1], sent)
	}
	_, err = w.Appctl("revalidator/purge")
	w.must(err)
	const next = 5
	for range next {
		w.must(a.port.Send(f))
	}
	if n := w.arrived(next, from.port, to.port); n[0] != 0 || n[1] != next {
		w.t.Errorf("after the move to %s: %d frames of %d there, %d at the old port", to.port.Name, n[1], next, n[0])
	}
	if n := w.sentTo(from.port) - before; n > 0 {
		w.t.Errorf("%d frames took the lane to the old port %s", n, from.port.Name)
	}
	return took
}

// arrived waits until some unicast frames have arrived at ports, or have had
// time to, and returns how many did at each.
func (w *world) arrived(want int, ports ...*lab.Port) []int {
	w.t.Helper()
	n, sum := make([]int, len(ports)), 0
	for start := time.Now(); sum < want && time.Since(start) < time.Second; {
		for i, p := range ports {
			frames, err := p.Drain(time.Millisecond)
			w.must(err)
			for _, f := range frames {
				if f[0]&1 == 0 {
					n[i]++
					sum++
				}
			}
		}
	}
	return n
}

// A move to a port without a program shows in OVS alone.
func TestMovesToUnseenPorts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := untagged(w.veth("v1", "tag=10"), 10)
	home := untagged(w.veth("v2", "tag=10"), 10)
	target := station{port: w.tap("t1", "tag=10", "external_ids:xdp-offload=target"), mac: home.mac, vlan: 10}
	off := station{port: w.tap("t2", "tag=10", "external_ids:xdp-offload=off"), mac: home.mac, vlan: 10}
	w.mode("on")
	w.announce(a, "lane")
	host, err := w.Hypervisor.OpenPacket("br0")
	w.must(err)
	defer host.Close()
	for _, c := range []struct {
		name string
		news func()
		lane *station // where it is on the lane then
	}{
		{"target", func() { w.must(target.port.Send(target.frameTo(frame.Broadcast))) }, &target},
		{"off", func() { w.must(off.port.Send(off.frameTo(frame.Broadcast))) }, nil},
		{"the bridge's own port", func() {
			w.must(host.Send(frame.UDP4(frame.Broadcast, home.mac, frame.OnVLAN(10))))
		}, nil},
	} {
		w.run(c.name, func(w *world) {
			var took []time.Duration
			for range 5 {
				w.hello(home)
				w.row(home, "lane")
				f := a.frameTo(home.mac)
				moved := time.Now()
				c.news()
				took = append(took, w.until(moved, "no lane to the old port", func() bool { return w.stateOf(home) != "lane" }))
				before := w.sentTo(home.port)
				_, err := w.Appctl("revalidator/purge")
				w.must(err)
				w.must(a.port.Send(f))
				w.drain(20 * time.Millisecond)
				if n := w.sentTo(home.port) - before; n > 0 {
					w.t.Errorf("a frame took the lane to the old port")
				}
			}
			if m := w.median("no longer on the lane at the old port", took); m > limit(2*time.Second) {
				w.t.Errorf("a move to a port without a program is noticed %v later", m)
			}
			if c.lane != nil {
				w.row(*c.lane, "lane")
				f := a.frameTo(home.mac)
				w.lane(a.port, c.lane.port, f, f)
			}
		})
	}
}

// A station that is seen on two ports in turns never has a frame on the lane
// to the port that it has left, and settles when it stops.
func TestFlapping(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := untagged(w.veth("v1", "tag=10"), 10)
	one := untagged(w.veth("v2", "tag=10"), 10)
	two := station{port: w.tap("t1", "tag=10"), mac: one.mac, vlan: 10}
	w.mode("on")
	w.announce(a, "lane")
	w.announce(one, "lane")
	f := a.frameTo(one.mac)
	left, at := two, one
	byLane, lost := uint64(0), 0
	for range 300 {
		left, at = at, left
		w.must(at.port.Send(at.frameTo(frame.Broadcast)))
		if _, err := a.port.Recv(time.Second); errors.Is(err, os.ErrDeadlineExceeded) {
			lost++
			continue
		} else {
			w.must(err)
		}
		before, there := w.sentTo(left.port), w.sentTo(at.port)
		for range 3 {
			w.must(a.port.Send(f))
		}
		time.Sleep(2 * time.Millisecond)
		if n := w.sentTo(left.port) - before; n > 0 {
			t.Fatalf("%d frames took the lane to %s, which the station had left", n, left.port.Name)
		}
		byLane += w.sentTo(at.port) - there
	}
	t.Logf("while it flapped %d frames of 900 took the lane, all to the right port; %d of its broadcasts were lost", byLane, lost)
	// OVS counts the frames of both ports when it revalidates their megaflows,
	// in any order, and may end up with either place: one more frame tells it.
	time.Sleep(time.Second)
	_, err := w.Appctl("revalidator/purge")
	w.must(err)
	stopped := time.Now()
	w.must(at.port.Send(at.frameTo(frame.Broadcast)))
	t.Logf("on the lane %v after it stopped", w.until(stopped, "the row where it stopped", func() bool { return w.stateOf(at) == "lane" }))
	w.drain(quiet)
	w.laneBetween(a, at)
	if s, err := w.Status(); err != nil || s.Lane != "open" {
		t.Errorf("the lane is %s, error %v", s.Lane, err)
	}
	if out := w.daemon.Output(1000); strings.Contains(out, "level=ERROR") || strings.Contains(out, "level=WARN") {
		t.Errorf("the daemon complains:\n%s", out)
	}
}
