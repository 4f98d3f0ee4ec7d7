// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// counts is one reading of the counters of both sides.
type counts struct {
	// rules is what the OpenFlow rules of all bridges with ports have counted.
	rules uint64
	// ports has the daemon's counters by device.
	ports map[string]lab.PortStatus
}

func (w *world) counts() counts {
	w.t.Helper()
	c := counts{ports: make(map[string]lab.PortStatus)}
	bridges := map[string]bool{"br0": true}
	for _, p := range w.ports {
		bridges[p.Bridge] = true
	}
	if w.keepsMegaflows {
		bridges = nil
	}
	for bridge := range bridges {
		n, err := w.FlowPackets(bridge)
		w.must(err)
		c.rules += n
	}
	if w.daemon == nil {
		return c
	}
	ports, err := w.Lab.Ports()
	w.must(err)
	for _, p := range ports {
		c.ports[p.Interface] = p
	}
	return c
}

// paths is how frames of one port took their way in one check.
type paths struct {
	lane, would, passed uint64 // the daemon's counts of the sending port
	rules               uint64 // Open vSwitch's count
	attached            bool   // whether the sending port has a program
	sent                map[string]uint64
	reasons             map[string]uint64 // why the sending port's frames went their way
}

func (before counts) to(after counts, from string) paths {
	p := paths{rules: after.rules - before.rules, sent: make(map[string]uint64), reasons: make(map[string]uint64)}
	a, b := after.ports[from], before.ports[from]
	p.attached = a.Attach != "" && a.Attach != "none"
	p.lane, p.would, p.passed = a.RX.Lane-b.RX.Lane, a.RX.Would-b.RX.Would, a.RX.OVS-b.RX.OVS
	for reason, n := range a.Reasons {
		if n > b.Reasons[reason] {
			p.reasons[reason] = n - b.Reasons[reason]
		}
	}
	for name := range after.ports {
		// Less than before: the port has left the lane and its counter with it.
		if n := after.ports[name].TX.Lane - before.ports[name].TX.Lane; n > 0 && after.ports[name].TX.Lane >= before.ports[name].TX.Lane {
			p.sent[name] = n
		}
	}
	return p
}

func (p paths) String() string {
	return fmt.Sprintf("daemon: %d redirected (out of %v), %d passed, of which %d would be redirected, reasons %v; rules of OVS: %d",
		p.lane, p.sent, p.passed, p.would, p.reasons, p.rules)
}

// ofOVS tells frames that OVS itself sends now and then: BPDUs of its spanning
// tree, LACP, and RARP requests by which a bond announces stations on another
// member.
func ofOVS(b []byte) bool {
	f, err := frame.Parse(b)
	return err == nil && (bytes.HasPrefix(b, []byte{0x01, 0x80, 0xc2}) || f.EtherType == 0x8035)
}

// send sends a burst of a frame and returns what arrived at every port, by
// name, and the paths taken. It is patient with the ports named in to.
func (w *world) send(from *lab.Port, b []byte, to ...string) (map[string][][]byte, paths) {
	w.t.Helper()
	before := w.counts()
	for i := range burst {
		w.must(from.Send(b))
		if i%20 == 19 || len(b) > 2000 && i%4 == 3 {
			time.Sleep(time.Millisecond) // no queue need be deep
		}
	}
	arrived := make(map[string][][]byte)
	for _, p := range w.ports {
		if slices.Contains(to, p.Name) {
			arrived[p.Name] = w.recvBurst(p, nil)
		}
	}
	wait := quiet
	for _, p := range w.ports {
		frames, err := p.Drain(wait)
		w.must(err)
		frames = append(arrived[p.Name], slices.DeleteFunc(frames, ofOVS)...)
		if len(frames) == 0 {
			delete(arrived, p.Name)
			wait = 10 * time.Millisecond
			continue
		}
		arrived[p.Name] = w.recvBurst(p, frames)
	}
	return arrived, before.to(w.counts(), from.Name)
}

// recvBurst completes a burst of which some frames have arrived, if the rest
// comes before long.
func (w *world) recvBurst(p *lab.Port, frames [][]byte) [][]byte {
	w.t.Helper()
	for len(frames) < burst {
		f, err := p.Recv(time.Second * lab.Patience())
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		w.must(err)
		if !ofOVS(f) {
			frames = append(frames, f)
		}
	}
	return frames
}

// arrivals checks that the burst arrived complete, as these bytes, at exactly
// these ports.
func (w *world) arrivals(got map[string][][]byte, want map[string][]byte) {
	w.t.Helper()
	for name, frames := range got {
		if want[name] == nil {
			w.t.Errorf("%s got %d frames that are not for it: % x", name, len(frames), frames[0])
		}
	}
	for name, b := range want {
		if n := len(got[name]); n != burst {
			w.t.Errorf("%s got %d frames of %d", name, n, burst)
		}
		for _, f := range got[name] {
			if !bytes.Equal(f, b) {
				w.t.Errorf("%s got a changed frame:\n got % x\nwant % x", name, f, b)
				break
			}
		}
	}
}

// lane checks that frames take the express lane from a port to another, and
// arrive as want. A keep-alive frame now and then goes through Open vSwitch.
// Ports that were just added close the bridge until OVS has been read again:
// frames that meet a closed port are sent once more, later.
func (w *world) lane(from, to *lab.Port, b, want []byte) {
	w.t.Helper()
	got, p := w.send(from, b, to.Name)
	w.arrivals(got, map[string][]byte{to.Name: want})
	closed := func() bool {
		// A machine that is starved of CPU closes the lane for a while, as it should.
		return p.reasons["port-closed"] > 0 || lab.Patience() > 1 && p.reasons["lease"] > 0
	}
	for tries := 0; closed() && tries < 3*int(lab.Patience()); tries++ {
		time.Sleep(300 * time.Millisecond * lab.Patience())
		got, p = w.send(from, b, to.Name)
		w.arrivals(got, map[string][]byte{to.Name: want})
	}
	const keepAlive = 3
	if p.lane < burst-keepAlive || p.lane+p.passed != burst || p.rules != p.passed ||
		len(p.sent) != 1 || p.sent[to.Name] != p.lane {
		w.t.Errorf("%s to %s should take the lane: %s", from.Name, to.Name, p)
	}
	if w.t.Failed() || from.Kind == "" || to.Kind == "" {
		return
	}
	w.saw("frames from a %s port (%s XDP)", from.Kind, w.counts().ports[from.Name].Attach)
	w.saw("frames to a %s port", to.Kind)
	if len(b) > 4096 {
		w.saw("jumbo frames from a %s to a %s port", from.Kind, to.Kind)
	}
}

// saw notes for the feature matrix what a test has just seen working, in the
// file OVS_XDP_SAW when there is one.
func (w *world) saw(format string, args ...any) {
	w.t.Helper()
	name := os.Getenv("OVS_XDP_SAW")
	if name == "" {
		return
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	w.must(err)
	_, err = fmt.Fprintf(f, format+"\n", args...)
	w.must(errors.Join(err, f.Close()))
}

// bridge checks that frames of a port go through Open vSwitch alone and
// arrive at exactly the ports of want.
func (w *world) bridge(from *lab.Port, b []byte, want map[string][]byte) paths {
	w.t.Helper()
	got, p := w.send(from, b, slices.Collect(maps.Keys(want))...)
	w.arrivals(got, want)
	if p.lane != 0 || len(p.sent) != 0 || p.rules != burst || p.attached && p.passed != burst {
		w.t.Errorf("frames from %s should go through OVS: %s", from.Name, p)
	}
	return p
}
