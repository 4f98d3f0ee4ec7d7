// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// queueLoses is how many frames a device may lose because its queue is full,
// before its port is closed (LOSS_BURST in bpf/src/layout.h, on each CPU).
var queueLoses = uint64(512 * runtime.NumCPU())

// underWay is how many frames a device may lose before the program is seen to
// close it: those of one round of a driver (NAPI_POLL_WEIGHT of the kernel) on
// one CPU. Frames of one sender come in on one at a time.
const underWay = 64

// gro turns GRO of a VM's device on or off; a veth takes redirected frames only
// while its far end has it on.
func (w *world) gro(p *lab.Port, state string) {
	w.t.Helper()
	_, err := p.VM.Exec(context.Background(), "ethtool", "-K", "eth0", "gro", state)
	w.must(err)
}

// portStatus returns what the daemon says of a port.
func (w *world) portStatus(p *lab.Port) lab.PortStatus {
	w.t.Helper()
	for _, s := range ask[[]lab.PortStatus](w, "port/show", p.Bridge) {
		if s.Interface == p.Name {
			return s
		}
	}
	w.t.Fatalf("port/show has no port %s", p.Name)
	return lab.PortStatus{}
}

// isTarget waits until frames may take the lane to a port, or not.
func (w *world) isTarget(p *lab.Port, want bool) {
	w.t.Helper()
	w.until(time.Now(), fmt.Sprintf("frames to %s may take the lane: %v", p.Name, want), func() bool {
		return w.portStatus(p).Egress == want
	})
}

// tellsOfLosses checks that everything that tells of a port tells of so many
// lost frames.
func (w *world) tellsOfLosses(p *lab.Port, lost uint64) {
	w.t.Helper()
	if got := w.portStatus(p).TX.Lost; got != lost {
		w.t.Errorf("%d frames to %s were lost, and port/show tells of %d", lost, p.Name, got)
	}
	if got := ask[map[string]uint64](w, "coverage/show")["frames-lost"]; got != lost {
		w.t.Errorf("%d frames were lost, and coverage/show tells of %d", lost, got)
	}
	want := ""
	if lost > 0 {
		want = fmt.Sprintf("%d frames lost on the lane", lost)
	}
	text, err := w.Ctl("status")
	w.must(err)
	if !strings.Contains(text, want) || strings.Contains(text, "lost on the lane") != (lost > 0) {
		w.t.Errorf("status does not say %q:\n%s", want, text)
	}
}

// A VM turns its GRO off, and its device takes no more frames from XDP. The
// kernel itself closes the port: the daemon is stopped meanwhile. Few frames are
// lost, and all of those are told of.
func TestVethTurnsGROOff(t *testing.T) {
	t.Parallel()
	for name, add := range map[string]func(*world, string, ...string) *lab.Port{"from a veth": (*world).veth, "from a tap": (*world).tap} {
		if testing.Short() && name == "from a veth" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a, b := untagged(add(w, "p1", "tag=10"), 10), untagged(w.veth("v2", "tag=10"), 10)
			w.mode("on")
			w.announce(a, "lane")
			w.announce(b, "lane")
			w.laneBetween(a, b)
			w.tellsOfLosses(b.port, 0)
			before := w.portStatus(a.port)

			w.signal(syscall.SIGSTOP)
			w.gro(b.port, "off")
			const rounds = 3
			arrived := 0
			for range rounds {
				for i := range burst {
					w.must(a.port.Send(a.frameTo(b.mac)))
					if i%20 == 19 {
						time.Sleep(time.Millisecond) // no queue need be deep
					}
				}
				frames, err := b.port.Drain(quiet)
				w.must(err)
				arrived += len(frames)
			}
			w.signal(syscall.SIGCONT)
			const sent = rounds * burst
			lost := uint64(sent - arrived)
			if lost == 0 || lost > underWay {
				t.Errorf("%d frames of %d were lost, want 1 to %d", lost, sent, underWay)
			}
			if closed := w.portStatus(a.port).Reasons["loses-frames"] - before.Reasons["loses-frames"]; closed == 0 {
				t.Error("no frame passed because the device loses frames")
			}
			w.tellsOfLosses(b.port, lost)

			w.isTarget(b.port, false)
			if text := w.refused("br0/v2"); !strings.Contains(text, "redirected frames") {
				t.Errorf("the refusal is %q", text)
			}
			f := a.frameTo(b.mac)
			w.bridge(a.port, f, map[string][]byte{"v2": f})
			w.gro(b.port, "on")
			w.isTarget(b.port, true)
			w.laneBetween(a, b)
			w.tellsOfLosses(b.port, lost)
		})
	}
}

// stream is frames with a number each, from one station to another, until end.
type stream struct {
	sent atomic.Uint32
	stop chan struct{}
	done sync.WaitGroup
	err  error
}

// stream starts one. A frame comes each pause, and more when the machine was busy.
func (w *world) stream(from, to station, pause time.Duration) *stream {
	s := &stream{stop: make(chan struct{})}
	s.done.Go(func() {
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for began := time.Now(); s.err == nil; {
			select {
			case <-s.stop:
				return
			case <-tick.C:
			}
			for due := uint32(time.Since(began) / pause); s.sent.Load() < due && s.err == nil; {
				number := binary.BigEndian.AppendUint32(nil, s.sent.Add(1))
				s.err = from.port.Send(from.frameTo(to.mac, frame.Payload(number)))
			}
		}
	})
	w.t.Cleanup(func() { s.end() })
	return s
}

// end ends the stream and returns how many frames were sent.
func (s *stream) end() (int, error) {
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
	s.done.Wait()
	return int(s.sent.Load()), s.err
}

// The same under steady traffic, with the daemon at work: the port leaves the
// lane and comes back, and hardly a frame is missing.
func TestVethTurnsGROOffAndOn(t *testing.T) {
	w := newWorld(t)
	a, b := untagged(w.tap("t1", "tag=10"), 10), untagged(w.veth("v2", "tag=10"), 10)
	w.open(a, b)
	const times = 3
	s := w.stream(a, b, time.Millisecond)
	for range times {
		w.gro(b.port, "off")
		w.isTarget(b.port, false)
		time.Sleep(200 * time.Millisecond)
		w.gro(b.port, "on")
		w.isTarget(b.port, true)
		lane := w.portStatus(b.port).TX.Lane
		w.until(time.Now(), "frames take the lane again", func() bool { return w.portStatus(b.port).TX.Lane > lane+10 })
	}
	sent, err := s.end()
	w.must(err)
	frames, err := b.port.Drain(quiet)
	w.must(err)
	told := w.portStatus(b.port).TX.Lost
	if told == 0 {
		t.Error("port/show tells of no lost frame")
	}
	// The driver also drops what is in its own queue when GRO is turned off.
	if missing := sent - len(frames); missing < 0 || missing > times*2*underWay {
		t.Errorf("%d frames of %d are missing, want %d at most", missing, sent, times*2*underWay)
	}
	w.laneBetween(a, b)
	t.Logf("%d frames of %d are missing; told of: %d", sent-len(frames), sent, told)
}

// A VM stops reading its tap until the queue is full: frames to it go by OVS,
// which finds the queue as full, and the lane is tried again and again, losing
// little each time. When the VM reads again, the port is back on the lane.
func TestTapQueueFull(t *testing.T) {
	w := newWorld(t)
	a, b := untagged(w.veth("v1", "tag=10"), 10), untagged(w.tap("t1", "tag=10"), 10)
	w.open(a, b)
	before, began := w.counts(), time.Now()
	s := w.stream(a, b, time.Millisecond/2)
	var text string
	w.until(time.Now(), "status tells that the device loses frames", func() bool {
		status := ask[lab.Status](w, "offload/show")
		br, err := status.Bridge("br0")
		w.must(err)
		for _, r := range br.Refusals {
			if r.Subject == "br0/t1" {
				text = r.Reason + ": " + r.Detail
			}
		}
		return text != ""
	})
	if !strings.HasPrefix(text, "loses-frames: ") || !strings.Contains(text, "tried again after") {
		t.Errorf("the refusal is %q", text)
	}
	// What the VM sends takes the lane all the same.
	sends := w.portStatus(b.port).RX.Lane
	for range burst {
		w.must(b.port.Send(b.frameTo(a.mac)))
	}
	const keepAlive = 3
	w.until(time.Now(), "frames from the port take the lane", func() bool {
		return w.portStatus(b.port).RX.Lane-sends >= burst-keepAlive
	})
	time.Sleep(2 * time.Second) // some tries
	sent, err := s.end()
	w.must(err)
	p := before.to(w.counts(), "v1")
	took := time.Since(began)
	lost := w.portStatus(b.port).TX.Lost
	frames, err := b.port.Drain(quiet)
	w.must(err)
	arrived := len(frames)
	tries := uint64(2)
	for wait := 100 * time.Millisecond; wait < took; wait *= 2 {
		tries++
	}
	t.Logf("%d frames sent in %v, %d arrived, %d lost on the lane: %s; %s", sent, took, arrived, lost, p, text)
	if most := queueLoses + tries*underWay; lost == 0 || lost > most {
		t.Errorf("%d frames were lost on the lane, want 1 to %d", lost, most)
	}
	if silent := int(p.sent["t1"]) - int(lost) - arrived; silent > 0 {
		t.Errorf("%d frames took the lane and neither arrived nor are told of", silent)
	}
	if p.reasons["loses-frames"]+p.reasons["egress-closed"] == 0 || p.passed < uint64(sent)/2 {
		t.Errorf("of %d frames only %d went by OVS: %s", sent, p.passed, p)
	}
	w.isTarget(b.port, true)
	w.drain(quiet)
	w.laneBetween(a, b)
}
