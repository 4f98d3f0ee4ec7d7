// SPDX-License-Identifier: Apache-2.0

package emulated

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/bench/figure"
	"github.com/ovs-xdp/ovs-xdp/test/bench/wire"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

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

// measure returns what a frame of the flow costs, the median of some runs.
func (r *rig) measure(f flow, way string) float64 {
	r.t.Helper()
	r.must(f.sink.Open())
	defer func() { r.must(f.sink.Close()) }()
	_, err := f.from.Send(wire.Round) // OVS asks for a flow
	r.must(err)
	time.Sleep(300 * time.Millisecond)
	_, err = f.sink.Taken(0)
	r.must(err)
	var costs []float64
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
		costs = append(costs, float64(took))
	}
	const keepAlive = 5 // frames that pass
	switch took := r.lane(f.in) - before; {
	case way == onLane && took < runs*uint64(f.frames)-keepAlive, way != onLane && took > 0:
		r.t.Fatalf("%s, %s: of %d frames %d took the lane", way, f, runs*f.frames, took)
	}
	return figure.Quantile(costs, 0.5)
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
