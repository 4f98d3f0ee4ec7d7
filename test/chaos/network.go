// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// wire is where a place sends and receives.
type wire interface {
	Send(frame []byte) error
	Recv(timeout time.Duration) ([]byte, error)
}

// place is a port of a bridge with a machine behind it, or a bridge's own
// device: everything where a frame can come out.
type place struct {
	name   string // of the device
	bridge string
	vlan   ovs.VLAN // of an access port; 0 is a trunk
	mac    ovs.MAC
	port   *lab.Port // nil for a bridge's own device

	mu sync.Mutex
	on wire
}

func (p *place) wire() wire {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.on
}

func (p *place) rewire(w wire) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if old, ok := p.on.(lab.Endpoint); ok {
		old.Close()
	}
	p.on = w
}

// tags tells how frames of a VLAN look at the place, and whether OVS floods that
// VLAN there.
func (p *place) tags(bridge string, v ovs.VLAN) ([]frame.Tag, bool) {
	switch {
	case p.bridge != bridge, p.vlan != 0 && p.vlan != v:
		return nil, false
	case p.vlan == v:
		return nil, true
	}
	return []frame.Tag{{VID: v}}, true
}

// flow is steady traffic from one station to another.
type flow struct {
	name     string
	from, to *place
	src, dst ovs.MAC
	vlan     ovs.VLAN
	// covered is false on the bridge that is not on the lane.
	covered bool
}

// network is a lab with three bridges. On br0, VLAN 10, are the machines A (a
// veth) and B (a tap), in VLAN 20 machine C; behind the trunk "up" are gateway G
// in VLAN 10 and host H in VLAN 20. There is a bystander in each VLAN, to whom nobody sends; and two ports of hostile
// machines. br1 has machines with the addresses of A and B. br2 is not on the
// lane: its traffic shows what the same OVS does at the same time by itself.
type network struct {
	*lab.Lab
	places map[string]*place
	order  []*place
	flows  []*flow
	host   ovs.MAC // H
	// gateway is G, behind the trunk in the VLAN of A and B.
	gateway ovs.MAC
	via     string // the run directory with the proxies
}

// newNetwork makes the network. lane is the xdp-lane of its bridges.
func newNetwork(lane string) (*network, error) {
	l, err := lab.New(lab.Config{})
	if err != nil {
		return nil, err
	}
	n := &network{Lab: l, places: make(map[string]*place), host: l.NewMAC(), gateway: l.NewMAC(), via: filepath.Join(l.Dir, "via")}
	if err := n.build(lane); err != nil {
		return nil, errors.Join(fmt.Errorf("make a network for chaos: %w", err), l.Close())
	}
	return n, nil
}

func (n *network) build(lane string) error {
	if err := os.Mkdir(n.via, 0o755); err != nil {
		return err
	}
	for _, br := range []string{"br0", "br1", "br2"} {
		var columns []string
		if br != "br2" {
			columns = []string{"external_ids:xdp-offload=on", "external_ids:xdp-lane=" + lane}
		}
		if err := n.AddBridge(br, columns...); err != nil {
			return err
		}
		if err := n.add(&place{name: br, bridge: br}); err != nil {
			return err
		}
	}
	a, b := n.NewMAC(), n.NewMAC()
	for _, p := range []struct {
		*place
		add func(*lab.Lab, string, string, lab.PortOptions) (*lab.Port, error)
	}{
		{&place{bridge: "br0", name: "v1", vlan: 10, mac: a}, (*lab.Lab).AddVeth},
		{&place{bridge: "br0", name: "t1", vlan: 10, mac: b}, (*lab.Lab).AddTap},
		{&place{bridge: "br0", name: "v2", vlan: 20}, (*lab.Lab).AddVeth},
		{&place{bridge: "br0", name: "up"}, (*lab.Lab).AddVeth},
		{&place{bridge: "br0", name: "by10", vlan: 10}, (*lab.Lab).AddVeth},
		{&place{bridge: "br0", name: "by20", vlan: 20}, (*lab.Lab).AddVeth},
		{&place{bridge: "br0", name: "ev1", vlan: 10}, (*lab.Lab).AddVeth},
		{&place{bridge: "br0", name: "ev2", vlan: 10}, (*lab.Lab).AddVeth},
		{&place{bridge: "br1", name: "w1", vlan: 10, mac: a}, (*lab.Lab).AddVeth},
		{&place{bridge: "br1", name: "w2", vlan: 10, mac: b}, (*lab.Lab).AddVeth},
		{&place{bridge: "br1", name: "wby", vlan: 10}, (*lab.Lab).AddVeth},
		{&place{bridge: "br2", name: "c1", vlan: 10}, (*lab.Lab).AddVeth},
		{&place{bridge: "br2", name: "c2", vlan: 10}, (*lab.Lab).AddVeth},
	} {
		at := p.place
		o := lab.PortOptions{MAC: p.mac}
		if p.vlan != 0 {
			o.Columns = []string{fmt.Sprintf("tag=%d", p.vlan)}
		}
		var err error
		if at.port, err = p.add(n.Lab, p.bridge, p.name, o); err != nil {
			return err
		}
		at.mac, at.on = at.port.MAC, at.port
		if err := n.add(at); err != nil {
			return err
		}
	}
	n.both("A", "v1", a, "B", "t1", b, 10, true)
	n.both("A", "v1", a, "G", "up", n.gateway, 10, true)
	n.both("C", "v2", n.places["v2"].mac, "H", "up", n.host, 20, true)
	n.both("E", "w1", a, "F", "w2", b, 10, true)
	n.both("control-1", "c1", n.places["c1"].mac, "control-2", "c2", n.places["c2"].mac, 10, false)
	return nil
}

// add takes a place in; a bridge's own device is opened.
func (n *network) add(p *place) error {
	n.places[p.name] = p
	n.order = append(n.order, p)
	if p.port != nil {
		return nil
	}
	return n.openLocal(p)
}

func (n *network) openLocal(p *place) error {
	if err := n.Hypervisor.SetLink(p.name, true, 0); err != nil {
		return err
	}
	w, err := n.Hypervisor.OpenPacket(p.name)
	if err != nil {
		return err
	}
	p.rewire(w)
	return nil
}

// openLocals opens the bridges' own devices anew, which OVS has made anew.
func (n *network) openLocals() error {
	var errs []error
	for _, p := range n.order {
		if p.port == nil {
			errs = append(errs, lab.Eventually(10*time.Second*lab.Patience(), func() error { return n.openLocal(p) }))
		}
	}
	return errors.Join(errs...)
}

func (n *network) both(a, at string, aMAC ovs.MAC, b, bt string, bMAC ovs.MAC, v ovs.VLAN, covered bool) {
	p, q := n.places[at], n.places[bt]
	n.flows = append(n.flows,
		&flow{name: a + ">" + b, from: p, to: q, src: aMAC, dst: bMAC, vlan: v, covered: covered},
		&flow{name: b + ">" + a, from: q, to: p, src: bMAC, dst: aMAC, vlan: v, covered: covered})
}

// ovs runs ovs-vsctl.
func (n *network) ovs(args ...string) error {
	_, err := n.OVS(args...)
	return err
}

// covered is how many flows are on bridges with the lane.
const covered = 8

// Devices whose counters tell how many frames the lane has sent to them: those
// that flows end at, and those that nobody sends to.
var (
	metered    = []string{"v1", "v2", "up", "w1", "w2"}
	bystanders = []string{"by10", "by20", "wby", "c1", "c2"}
	hostile    = []string{"ev1", "ev2"}
)
