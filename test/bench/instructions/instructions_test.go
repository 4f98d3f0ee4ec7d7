// SPDX-License-Identifier: Apache-2.0

// Package instructions counts what a frame costs the whole kernel on its way
// through the bridge, on OVS's kernel datapath and on the lane. It runs in an
// emulated machine whose clock counts instructions (make bench-kernels), so that
// its figures can be repeated on a busy host; elsewhere they are nanoseconds.
package instructions

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/bench/figure"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

var resultFile = flag.String("result", "", "write the figures into this file, as JSON")

// How many frames one measurement sends; those to a tap wait in its queue.
const (
	manyFrames = 16 * round
	tapFrames  = 8 * round
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
	sink    sink
	end     string // what the sink is
	from    *generator
	// frames is how many one measurement sends.
	frames int
}

func (f flow) String() string { return f.name + "; sink: " + f.end }

func TestInstructions(t *testing.T) {
	r := newRig(t)
	set := figure.Set{
		Title: "What a frame costs the kernel from the device that it comes in at to its sink",
		Unit:  "instructions a frame",
		Ways:  []string{alone, onLane, missed},
		Ratios: []figure.Ratio{
			{Name: "fewer", Of: alone, By: onLane}, {Name: "missed", Of: missed, By: alone},
		},
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
				t.Logf("%s, %s: %.0f", way, f, cost-floors[f.frames])
				set.Add(f.String(), way, cost-floors[f.frames])
			}
		}
	}
	set.Note = fmt.Sprintf("Beyond the generator and its veth, which take %.0f. UDP of 64 bytes in rounds of %d.", floors[manyFrames], round)
	for _, f := range set.Figures {
		t.Logf("%s: %.0f %.0f %.0f, %.1f times fewer, missed %.3f", f.Name, f.Values[alone], f.Values[onLane], f.Values[missed],
			f.Ratio(set.Ratios[0]), f.Ratio(set.Ratios[1]))
	}
	if *resultFile == "" {
		return
	}
	b, err := set.Marshal()
	if err == nil {
		err = os.WriteFile(*resultFile, b, 0o644)
	}
	r.must(err)
}

// rig is a lab with an uplink and machines, whose far ends are generators and
// sinks.
type rig struct {
	*lab.Lab
	t        *testing.T
	flows    []flow
	stations []station
	floorGen *generator
	floorEnd *xdpSink
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

	skbVM, skbUp := newSkbSink(t, vm2.VM, "eth0"), newSkbSink(t, up.VM, "eth0")
	for _, f := range []flow{
		{name: "uplink to VM, VLAN pop", in: up, out: vm2, sink: skbVM, end: "socket buffers"},
		{name: "uplink to VM, VLAN pop", in: up, out: t1, sink: tapSink{t1}, end: "tap"},
		{name: "VM to VM", in: vm1, out: vm2, sink: skbVM, end: "socket buffers"},
		{name: "VM to VM", in: vm1, out: t1, sink: tapSink{t1}, end: "tap"},
		{name: "VM to uplink, VLAN push", in: vm1, out: up, sink: skbUp, end: "socket buffers"},
	} {
		var tags []frame.Tag
		if f.in == up {
			tags = onVLAN
		}
		f.from, f.frames = newGenerator(t, f.in.VM, "eth0", frame.UDP4(f.out.MAC, f.in.MAC, frame.Tagged(tags...))), manyFrames
		if f.out == t1 {
			f.frames = tapFrames
		} else {
			g := f
			g.sink, g.end = newXDPSink(t, f.out.VM, "eth0"), "XDP counter"
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
	r.floorGen, r.floorEnd = newGenerator(t, r.Hypervisor, "floor1", frame.UDP4(ovs.MAC{2}, ovs.MAC{4})), newXDPSink(t, r.Hypervisor, "floor0")
	r.must(r.floorEnd.open())

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

// floor returns what a frame costs on its way to the first device.
func (r *rig) floor(frames int) float64 {
	r.t.Helper()
	took, err := r.floorGen.send(frames)
	r.must(err)
	if got := r.floorEnd.taken(frames); got != frames {
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
	r.must(f.sink.open())
	defer func() { r.must(f.sink.close()) }()
	_, err := f.from.send(round) // OVS asks for a flow
	r.must(err)
	time.Sleep(300 * time.Millisecond)
	f.sink.taken(0)
	least := time.Hour
	before := r.lane(f.in)
	const runs = 3
	for range runs {
		took, err := f.from.send(f.frames)
		r.must(err)
		if got := f.sink.taken(f.frames); got != f.frames {
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
