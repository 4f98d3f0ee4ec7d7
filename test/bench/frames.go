// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/ovs-xdp/ovs-xdp/test/bench/figure"
	"github.com/ovs-xdp/ovs-xdp/test/bench/wire"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// frames measures how many small frames a second come through the bridge, when
// more are sent.
type frames struct{ figures figure.Set }

const vmToVM = "VM to VM"

func newFrames() *frames {
	return &frames{figure.Set{
		Name:  "frames",
		Title: "Small frames through the bridge",
		Note: "UDP frames of 60 bytes (64 with a tag), sent by the kernel from the cable of one port as fast as it can, counted by an XDP program on the " +
			"cable of the other. One core sends and runs the lane; OVS's userspace datapath has the other for itself.",
		Unit: "frames a second", Ways: ways, Ratios: []figure.Ratio{times},
	}}
}

func (f *frames) set() figure.Set { return f.figures }

// half returns half of what OVS alone has carried from VM to VM.
func (f *frames) half() float64 {
	return figure.Quantile(f.figures.Figure(vmToVM).Values[alone], 0.5) / 2
}

func (f *frames) round(n *network, way string) error {
	if err := n.gro("on"); err != nil {
		return err
	}
	vm1, vm2, up := n.vms[0], n.vms[1], n.uplink
	for _, d := range []struct {
		name     string
		from, to *lab.Namespace
		device   [2]string
		frame    []byte
	}{
		{"uplink to VM, VLAN pop", up.Switch, vm2.VM, [2]string{"uplink", "eth0"}, frame.UDP4(vm2.MAC, n.remote.MAC, frame.OnVLAN(10))},
		{vmToVM, vm1.VM, vm2.VM, [2]string{"eth0", "eth0"}, frame.UDP4(vm2.MAC, vm1.MAC)},
		{"VM to uplink, VLAN push", vm1.VM, up.Switch, [2]string{"eth0", "uplink"}, frame.UDP4(n.remote.MAC, vm1.MAC)},
	} {
		rate, err := n.frameRate(way, d.from, d.device[0], d.to, d.device[1], d.frame)
		if err != nil {
			return fmt.Errorf("measure frames, %s, %s: %w", d.name, way, err)
		}
		f.figures.Add(d.name, way, rate)
	}
	return n.gro("off")
}

// frameRate returns how many frames arrive a second.
func (n *network) frameRate(way string, from *lab.Namespace, device string, to *lab.Namespace, end string, b []byte) (rate float64, err error) {
	g, err := wire.NewGenerator(from, device, b)
	if err != nil {
		return 0, err
	}
	defer g.Close()
	s, err := wire.NewXDPSink(to, end)
	if err != nil {
		return 0, err
	}
	if err := s.Open(); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	time.Sleep(100 * time.Millisecond) // a device that has got a program may be busy with itself
	if _, err := g.Send(wire.Round); err != nil {
		return 0, err
	}
	time.Sleep(200 * time.Millisecond)
	if _, err := s.Taken(0); err != nil {
		return 0, err
	}
	before, err := n.laneFrames()
	if err != nil {
		return 0, err
	}
	const sent = 300_000
	a, err := g.Send(sent)
	if err != nil {
		return 0, err
	}
	time.Sleep(100 * time.Millisecond)
	got, err := s.Taken(0)
	if err != nil {
		return 0, err
	}
	after, err := n.laneFrames()
	if err != nil {
		return 0, err
	}
	if lane := after - before; (way == onLane) != (lane > sent/2) || got == 0 {
		return 0, fmt.Errorf("of %d frames %d took the lane, %d arrived", sent, lane, got)
	}
	return float64(got) / (a * sent).Seconds(), nil
}
