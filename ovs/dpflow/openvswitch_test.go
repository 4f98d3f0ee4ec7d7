// SPDX-License-Identifier: Apache-2.0

package dpflow

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// The tests of this file send frames through a real Open vSwitch and read the
// flows that it makes of them. They need root, and fail where it is missing.

var capture = flag.String("capture", "", "write what Open vSwitch 3.1 prints into this folder")

// world is a lab with taps for raw frames.
type world struct {
	*lab.Lab
	t     testing.TB
	ports map[string]*lab.Port
}

func newWorld(t testing.TB) *world {
	t.Helper()
	return &world{lab.NewT(t), t, map[string]*lab.Port{}}
}

// in returns the world for a subtest.
func (w *world) in(t testing.TB) *world { return &world{w.Lab, t, w.ports} }

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) bridge(name string, columns ...string) {
	w.t.Helper()
	w.must(w.AddBridge(name, columns...))
}

// taps adds ports to a bridge, each perhaps with a column: "tap1", "tap2 tag=10".
func (w *world) taps(bridge string, ports ...string) {
	w.t.Helper()
	for _, words := range ports {
		name, column, _ := strings.Cut(words, " ")
		var columns []string
		if column != "" {
			columns = strings.Fields(column)
		}
		p, err := w.AddTap(bridge, name, lab.PortOptions{Columns: columns})
		w.must(err)
		w.ports[name] = p
	}
}

func (w *world) vsctl(args ...string) {
	w.t.Helper()
	_, err := w.OVS(args...)
	w.must(err)
}

// rules replaces the OpenFlow table of a bridge.
func (w *world) rules(bridge string, rules ...string) {
	w.t.Helper()
	_, err := w.Ofctl("-O", "OpenFlow15", "del-flows", bridge)
	w.must(err)
	for _, r := range rules {
		_, err := w.Ofctl("-O", "OpenFlow15", "add-flow", bridge, r)
		w.must(err)
	}
}

func (w *world) mac(port string) ovs.MAC { return w.ports[port].MAC }

// sent is a frame and what is to come of it.
type sent struct {
	from, to string // ports; the frame's addresses are those of the machines
	opts     []frame.Option
	make     func(dst, src ovs.MAC, opts ...frame.Option) []byte // nil: UDP4
	src, dst ovs.MAC                                             // instead of theirs
	// lane is the actions that the flow must have on the lane, or else one of why
	// is the reason that it must be refused for.
	lane string
	why  []Reason
	// notOn is the datapath that gets no flow: OVS handles each frame itself.
	notOn string
}

func refused(why ...Reason) []Reason { return why }

func (s sent) frame(w *world) []byte {
	make := s.make
	if make == nil {
		make = frame.UDP4
	}
	return make(s.dstMAC(w), s.srcMAC(w), s.opts...)
}

func (s sent) srcMAC(w *world) ovs.MAC {
	if !s.src.IsZero() {
		return s.src
	}
	return w.mac(s.from)
}

func (s sent) dstMAC(w *world) ovs.MAC {
	if !s.dst.IsZero() {
		return s.dst
	}
	return w.mac(s.to)
}

// flow sends one frame and returns what OVS prints of it, with its reading.
func (w *world) flow(bridge string, s sent) (string, Flow) {
	w.t.Helper()
	w.purge(bridge)
	w.must(w.ports[s.from].Send(s.frame(w)))
	// The kernel prints no address that is wildcarded.
	marks := []string{"in_port(" + s.from + ")", "recirc_id(0)"}
	var line string
	var f Flow
	w.must(lab.Eventually(10*time.Second*lab.Patience(), func() error {
		text, err := w.Appctl("dpif/dump-flows", "-m", "--names", bridge)
		if err != nil {
			return err
		}
		flows, err := Parse(text)
		if err != nil {
			return err
		}
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		for i := range flows {
			found := true
			for _, m := range marks {
				found = found && strings.Contains(lines[i], m)
			}
			if found {
				line, f = lines[i], flows[i]
				return nil
			}
		}
		return fmt.Errorf("no flow of %q in:\n%s", marks, text)
	}))
	return line, f
}

// none sends a frame and sees that no flow comes of it.
func (w *world) none(bridge string, s sent) {
	w.t.Helper()
	w.purge(bridge)
	w.must(w.ports[s.from].Send(s.frame(w)))
	time.Sleep(500 * time.Millisecond)
	if text, err := w.Appctl("dpif/dump-flows", "-m", "--names", bridge); err != nil || text != "" {
		w.t.Errorf("%v; a flow:\n%s", err, text)
	}
}

// purge forgets the datapath flows, and what has come out of the ports. A flow
// that has just been installed can outlive a purge.
func (w *world) purge(bridge string) {
	w.t.Helper()
	w.must(lab.Eventually(10*time.Second*lab.Patience(), func() error {
		_, err := w.Appctl("revalidator/purge")
		w.must(err)
		text, err := w.Appctl("dpif/dump-flows", "-m", "--names", bridge)
		if err == nil && text != "" {
			err = fmt.Errorf("flows are left:\n%s", text)
		}
		return err
	}))
	for _, p := range w.ports {
		_, err := p.Drain(time.Millisecond)
		w.must(err)
	}
}

// apply does with a frame what a LaneFlow says. The frame must be one of its key.
func apply(t *testing.T, l *LaneFlow, b []byte) []byte {
	t.Helper()
	f, err := frame.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	tag := TagMatch{}
	if len(f.Tags) > 0 {
		tag = TagMatch{Tag{true, f.Tags[0].VID & l.Tag.VIDMask, f.Tags[0].PCP & l.Tag.PCPMask}, l.Tag.VIDMask, l.Tag.PCPMask}
	}
	if k := (Key{l.InPort, tag, f.EtherType, f.Src, f.Dst}); k != l.Key {
		t.Errorf("key %+v, but the frame has %+v", l.Key, k)
	}
	if l.Pop {
		f.Tags = f.Tags[1:]
	}
	if l.Push.Present {
		f.Tags = []frame.Tag{{VID: l.Push.VID, PCP: l.Push.PCP}}
	}
	return f.Bytes()
}

// check sends frames, one by one, and holds the flows of each against what is
// expected; those of the lane also against the frame that comes out.
func (w *world) check(t *testing.T, bridge string, cases map[string]sent) {
	t.Helper()
	for name, s := range cases {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			if s.notOn == w.DatapathType {
				w.none(bridge, s)
				return
			}
			line, f := w.flow(bridge, s)
			t.Logf("%s\n%s %s %v", line, f.Refusal, f.Detail, f.Lane)
			if s.lane == "" {
				if !slices.Contains(s.why, f.Refusal) {
					t.Errorf("refused for %q (%s), want one of %q:\n%s", f.Refusal, f.Detail, s.why, line)
				}
				return
			}
			if f.Lane == nil {
				t.Fatalf("refused for %q (%s):\n%s", f.Refusal, f.Detail, line)
			}
			if _, actions, _ := strings.Cut(f.Lane.String(), ", actions:"); actions != s.lane {
				t.Errorf("actions %s, want %s", actions, s.lane)
			}
			if w.ports[f.Lane.Output] == nil {
				return // a port without a cable
			}
			out, err := w.ports[f.Lane.Output].Recv(5 * time.Second * lab.Patience())
			w.must(err)
			if want := apply(t, f.Lane, s.frame(w)); !bytes.Equal(out, want) {
				t.Errorf("%s: out of %s comes\n% x\nwant\n% x", f.Lane, f.Lane.Output, out, want)
			}
		})
	}
	w.in(t).capture(bridge, cases)
}

// capture sends all frames and writes down what OVS prints of them together.
func (w *world) capture(bridge string, cases map[string]sent) {
	if *capture == "" {
		return
	}
	w.purge(bridge)
	for range 2 {
		for _, s := range cases {
			w.must(w.ports[s.from].Send(s.frame(w)))
		}
		time.Sleep(200 * time.Millisecond)
	}
	w.save("dump", "", "dpif/dump-flows", "-m", "--names", bridge)
	if !strings.Contains(w.t.Name(), "/") {
		w.save("dpctl", "", "dpctl/dump-flows", "-m", "--names")
	}
}

// save writes down what a command prints.
func (w *world) save(prefix, suffix string, command ...string) {
	if *capture == "" {
		return
	}
	text, err := w.Appctl(command...)
	w.must(err)
	name := strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(w.t.Name(), "TestOpenVSwitch")), "/", "-")
	kind := map[string]string{"netdev": "", "system": "-kernel"}[w.DatapathType]
	w.must(os.WriteFile(fmt.Sprintf("%s/%s-3.1-%s%s%s.txt", *capture, prefix, name, suffix, kind), []byte(text), 0o644))
}
