// SPDX-License-Identifier: Apache-2.0

// Package emulated counts what a frame costs the whole kernel on its way
// through the bridge, on OVS's kernel datapath and on the lane. It runs in an
// emulated machine whose clock counts instructions (make bench-kernels), so that
// its figures can be repeated on a busy host; elsewhere they are nanoseconds.
package emulated

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/bench/figure"
	"github.com/ovs-xdp/ovs-xdp/test/bench/wire"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

var figuresFile = flag.String("figures", "", "add the figures to this file, as JSON")

// record adds figures to the file.
func record(t *testing.T, s figure.Set) {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	r := figure.Report{
		Title:   "Measured in an emulated machine",
		Command: "make bench-kernels",
		Machine: "Linux " + unix.ByteSliceToString(u.Release[:]) + " and the kernel datapath, in a machine of QEMU with one CPU on which each instruction takes a nanosecond",
	}
	t.Log(figure.Report{Sets: []figure.Set{s}}.Text())
	if *figuresFile == "" {
		return
	}
	if b, err := os.ReadFile(*figuresFile); err == nil {
		if r, err = figure.Read(b); err != nil {
			t.Fatal(err)
		}
	}
	r.Sets = append(r.Sets, s)
	b, err := r.Marshal()
	if err == nil {
		err = os.WriteFile(*figuresFile, b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// How many frames one measurement sends; those to a tap wait in its queue.
const (
	manyFrames = 16 * wire.Round
	tapFrames  = 8 * wire.Round
)

// Ways of a frame through the bridge.
const (
	alone  = "OVS alone"
	onLane = "ovs-xdp"
	missed = "ovs-xdp, missed"
)

// settings are the keys of the bridge for a way: a lane of 0 per cent of the
// destinations looks all of them up, and passes their frames.
var settings = map[string][]string{
	alone:  {"xdp-offload=off", "xdp-canary=100"},
	onLane: {"xdp-offload=on", "xdp-canary=100"},
	missed: {"xdp-offload=on", "xdp-canary=0"},
}

// flow is one kind of frame, from one port to another.
type flow struct {
	name    string
	in, out *lab.Port
	sink    wire.Sink
	end     string // what the sink is
	from    *wire.Generator
	// frames is how many one measurement sends.
	frames int
	// atLeast is how many times fewer instructions the lane is to take.
	atLeast float64
}

func (f flow) String() string { return f.name + "; sink: " + f.end }

func TestInstructions(t *testing.T) {
	r := newRig(t)
	fewer, dearer := figure.Ratio{Name: "times fewer", Of: alone, By: onLane}, figure.Ratio{Name: "missed by alone", Of: missed, By: alone}
	set := figure.Set{
		Name:  "instructions",
		Title: "What a frame costs the kernel, from the device that it comes in at to its sink",
		Unit:  "instructions a frame", Ways: []string{alone, onLane, missed}, Ratios: []figure.Ratio{fewer, dearer}, Least: true,
	}
	rounds := 3
	if testing.Short() {
		rounds = 1
	}
	floors := map[int]float64{} // by number of frames
	for _, frames := range []int{manyFrames, tapFrames} {
		floors[frames] = r.floor(frames)
		for range 5 {
			floors[frames] = min(floors[frames], r.floor(frames))
		}
		t.Logf("generator and first veth alone, %d frames: %.0f", frames, floors[frames])
	}
	for range rounds {
		for _, way := range set.Ways {
			r.way(way)
			for _, f := range r.flows {
				cost := r.measure(f, way)
				set.Add(f.String(), way, cost-floors[f.frames])
			}
		}
	}
	for _, f := range r.flows {
		t := []figure.Target{{Of: dearer.Name, AtMost: 1.03}}
		if f.atLeast > 0 {
			t = append(t, figure.Target{Of: fewer.Name, AtLeast: f.atLeast})
		}
		set.Figure(f.String()).Targets = t
	}
	set.Note = fmt.Sprintf("Beyond the generator and its veth, which take %.0f. UDP frames of 60 bytes, 64 with a tag, in rounds of %d; "+
		"\"missed\" is the lane with `xdp-canary=0`: it looks everything up, and passes the frame.", floors[manyFrames], wire.Round)
	record(t, set)
}

// rig is a lab with an uplink and machines, whose far ends are generators and
// sinks.
type rig struct {
	*lab.Lab
	t        *testing.T
	flows    []flow
	stations []station
	floorGen *wire.Generator
	floorEnd *wire.XDPSink
}

// station is who sends from a port, or is sent to, and its VLAN on the cable.
type station struct {
	port *lab.Port
	tags []frame.Tag
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func newRig(t *testing.T) *rig {
	r := &rig{Lab: lab.NewT(t), t: t}
	r.must(r.AddBridge("br0"))
	up := r.veth("up")
	vm1, vm2 := r.veth("vm1", "tag=10"), r.veth("vm2", "tag=10")
	t1, err := r.AddTap("br0", "t1", lab.PortOptions{Columns: []string{"tag=10"}})
	r.must(err)
	onVLAN := []frame.Tag{{VID: 10}}
	r.stations = []station{{up, onVLAN}, {vm1, nil}, {vm2, nil}, {t1, nil}}

	skbVM, skbUp := r.bufferSink(vm2.VM, "eth0"), r.bufferSink(up.VM, "eth0")
	for _, f := range []flow{
		{name: "uplink to VM, VLAN pop", in: up, out: vm2, sink: skbVM, end: "socket buffers"},
		{name: "uplink to VM, VLAN pop", in: up, out: t1, sink: wire.TapSink{Port: t1}, end: "tap"},
		{name: "VM to VM", in: vm1, out: vm2, sink: skbVM, end: "socket buffers"},
		{name: "VM to VM", in: vm1, out: t1, sink: wire.TapSink{Port: t1}, end: "tap"},
		{name: "VM to uplink, VLAN push", in: vm1, out: up, sink: skbUp, end: "socket buffers"},
	} {
		var tags []frame.Tag
		if f.in == up {
			tags = onVLAN
		}
		f.from, f.frames = r.generator(f.in.VM, "eth0", frame.UDP4(f.out.MAC, f.in.MAC, frame.Tagged(tags...))), manyFrames
		if f.out == t1 {
			f.frames = tapFrames
		} else {
			g := f
			g.sink, g.end, g.atLeast = r.xdpSink(f.out.VM, "eth0"), "XDP counter", 5
			if f.in == up {
				g.atLeast, f.atLeast = 6, 2.5
			}
			r.flows = append(r.flows, g)
		}
		r.flows = append(r.flows, f)
	}
	// The generator alone: to a device that is no port.
	_, err = r.Hypervisor.Exec(t.Context(), "ip", "link", "add", "floor0", "type", "veth", "peer", "name", "floor1")
	r.must(err)
	for _, name := range []string{"floor0", "floor1"} {
		r.must(r.Hypervisor.SetLink(name, true, 0))
		r.gro(name)
	}
	r.floorGen, r.floorEnd = r.generator(r.Hypervisor, "floor1", frame.UDP4(ovs.MAC{2}, ovs.MAC{4})), r.xdpSink(r.Hypervisor, "floor0")
	r.must(r.floorEnd.Open())

	d, err := r.StartDaemon()
	r.must(err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("end of the log of ovs-xdpd:\n%s", d.Output(40))
		}
	})
	return r
}

// veth adds a machine that is silent, though it has an address: a port for raw
// frames would have a socket that gets each frame.
func (r *rig) veth(name string, columns ...string) *lab.Port {
	r.t.Helper()
	n := byte(len(r.stations) + len(name))
	p, err := r.AddVeth("br0", name, lab.PortOptions{Columns: columns,
		Addr: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, 0, n}), 24)})
	r.must(err)
	// A veth takes a machine's frames as a card does, and not one by one, when it
	// has GRO or a program.
	r.gro(name)
	return p
}

func (r *rig) gro(device string) {
	r.t.Helper()
	_, err := r.Hypervisor.Exec(context.Background(), "ethtool", "-K", device, "gro", "on")
	r.must(err)
}

func (r *rig) generator(ns *lab.Namespace, device string, b []byte) *wire.Generator {
	r.t.Helper()
	g, err := wire.NewGenerator(ns, device, b)
	r.must(err)
	r.t.Cleanup(func() { g.Close() })
	return g
}

func (r *rig) xdpSink(ns *lab.Namespace, device string) *wire.XDPSink {
	r.t.Helper()
	s, err := wire.NewXDPSink(ns, device)
	r.must(err)
	return s
}

func (r *rig) bufferSink(ns *lab.Namespace, device string) *wire.BufferSink {
	r.t.Helper()
	s, err := wire.NewBufferSink(ns, device)
	r.must(err)
	return s
}

// floor returns what a frame costs on its way to the first device.
func (r *rig) floor(frames int) float64 {
	r.t.Helper()
	took, err := r.floorGen.Send(frames)
	r.must(err)
	got, err := r.floorEnd.Taken(frames)
	r.must(err)
	if got != frames {
		r.t.Fatalf("the generator has sent %d frames of %d", got, frames)
	}
	return float64(took)
}

// way changes the bridge's keys, and waits until the daemon obeys and knows all
// stations.
func (r *rig) way(name string) {
	r.t.Helper()
	args := []string{"set", "bridge", "br0"}
	for _, s := range settings[name] {
		args = append(args, "external_ids:"+s)
	}
	_, err := r.OVS(args...)
	r.must(err)
	for _, s := range r.stations {
		r.must(r.announce(s))
	}
	want := map[string]string{onLane: "lane", missed: "source-only"}[name]
	r.must(lab.Eventually(20*time.Second*lab.Patience(), func() error {
		rows, err := r.FDB()
		if err != nil {
			return err
		}
		var known int
		for _, row := range rows {
			if row.State == want {
				known++
			}
		}
		if want != "" && known != len(r.stations) || want == "" && len(rows) > 0 {
			return fmt.Errorf("%s: rows %+v", name, rows)
		}
		return nil
	}))
}

// announce has a station send to everybody.
func (r *rig) announce(s station) error {
	b := frame.UDP4(frame.Broadcast, s.port.MAC, frame.Tagged(s.tags...))
	if s.port.VM == nil {
		return s.port.Send(b)
	}
	e, err := s.port.VM.OpenPacket("eth0")
	if err != nil {
		return err
	}
	return errors.Join(e.Send(b), e.Close())
}

// measure returns what a frame of the flow costs, the least of some runs.
func (r *rig) measure(f flow, way string) float64 {
	r.t.Helper()
	r.must(f.sink.Open())
	defer func() { r.must(f.sink.Close()) }()
	_, err := f.from.Send(wire.Round) // OVS asks for a flow
	r.must(err)
	time.Sleep(300 * time.Millisecond)
	_, err = f.sink.Taken(0)
	r.must(err)
	least := time.Hour
	before := r.lane(f.in)
	const runs = 5
	for range runs {
		took, err := f.from.Send(f.frames)
		r.must(err)
		got, err := f.sink.Taken(f.frames)
		r.must(err)
		if got != f.frames {
			r.t.Fatalf("%s, %s: of %d frames %d arrived", way, f, f.frames, got)
		}
		least = min(least, took)
	}
	const keepAlive = 5 // frames that pass
	switch took := r.lane(f.in) - before; {
	case way == onLane && took < runs*uint64(f.frames)-keepAlive, way != onLane && took > 0:
		r.t.Fatalf("%s, %s: of %d frames %d took the lane", way, f, runs*f.frames, took)
	}
	return float64(least)
}

// lane returns how many frames of a port have taken the lane.
func (r *rig) lane(p *lab.Port) uint64 {
	r.t.Helper()
	ports, err := r.Lab.Ports()
	r.must(err)
	for _, q := range ports {
		if q.Interface == p.Name {
			return q.RX.Lane
		}
	}
	return 0
}
