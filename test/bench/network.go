// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/ovs-xdp/ovs-xdp/test/bench/figure"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// Ways of a frame through the bridge, which are columns of the tables.
const (
	alone  = "OVS alone"
	onLane = "ovs-xdp"
)

var ways = []string{alone, onLane}

var times = figure.Ratio{Name: "times", Of: onLane, By: alone}

// network is a bridge with machines and an uplink.
type network struct {
	*lab.Lab
	ctx context.Context
	// vms are machines on veths in VLAN 10; remote is one behind the uplink.
	vms    []*lab.Port
	uplink *lab.Trunk
	remote *lab.TrunkHost
	// traffic is the program that talks.
	traffic string
}

func newNetwork(ctx context.Context) (*network, error) {
	l, err := lab.New(lab.Config{})
	if err != nil {
		return nil, err
	}
	n := &network{Lab: l, ctx: ctx}
	if err := n.build(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return n, nil
}

func address(n int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, 0, byte(n)}), 24)
}

func (n *network) build() error {
	if err := n.AddBridge("br0"); err != nil {
		return err
	}
	for i := range 4 {
		p, err := n.AddVeth("br0", fmt.Sprintf("vm%d", i+1), lab.PortOptions{Addr: address(i + 1), Columns: []string{"tag=10"}})
		if err != nil {
			return err
		}
		n.vms = append(n.vms, p)
	}
	n.remote = &lab.TrunkHost{Name: "remote", VLAN: 10, Addr: address(100)}
	var err error
	if n.uplink, err = n.AddTrunk("br0", "uplink", false, lab.PortOptions{}, n.remote); err != nil {
		return err
	}
	n.traffic = filepath.Join(n.Dir, "traffic")
	if out, err := exec.CommandContext(n.ctx, "go", "build", "-o", n.traffic, "./test/lab/traffic").CombinedOutput(); err != nil {
		return fmt.Errorf("build the program that talks: %w\n%s", err, out)
	}
	for _, server := range [][]string{{n.traffic, "serve", address(2).Addr().String() + ":7"}, {"iperf3", "--server"}} {
		if _, err := n.Start(n.vms[1].VM, server[0], server[1:]...); err != nil {
			return err
		}
	}
	if _, err := n.Start(n.remote.VM, "iperf3", "--server"); err != nil {
		return err
	}
	_, err = n.StartDaemon()
	return err
}

// way changes the bridge's key and waits until the daemon obeys and knows all
// stations.
func (n *network) way(name string) error {
	mode := map[string]string{alone: "off", onLane: "on"}[name]
	if _, err := n.OVS("set", "bridge", "br0", "external_ids:xdp-offload="+mode); err != nil {
		return err
	}
	err := lab.Eventually(20*time.Second*lab.Patience(), func() error {
		if err := n.ctx.Err(); err != nil {
			return nil // which the next step tells
		}
		for _, to := range []netip.Prefix{address(2), address(4), address(100)} {
			for _, from := range []*lab.Namespace{n.vms[0].VM, n.vms[2].VM} {
				if out, err := from.Exec(n.ctx, "ping", "-c", "1", "-W", "1", to.Addr().String()); err != nil {
					return fmt.Errorf("%w\n%s", err, out)
				}
			}
		}
		rows, err := n.FDB()
		if err != nil {
			return err
		}
		known := 0
		for _, r := range rows {
			if r.State == "lane" {
				known++
			}
		}
		if want := map[string]int{alone: 0, onLane: len(n.vms) + 1}[name]; known != want {
			return fmt.Errorf("%d stations are on the lane, not %d: %+v", known, want, rows)
		}
		return nil
	})
	if err == nil {
		err = n.ctx.Err()
	}
	return err
}

// laneFrames returns how many frames of all ports have taken the lane.
func (n *network) laneFrames() (uint64, error) {
	ports, err := n.Ports()
	if err != nil {
		return 0, err
	}
	var sum uint64
	for _, p := range ports {
		sum += p.RX.Lane
	}
	return sum, nil
}

// gro turns GRO of the hypervisor's devices on or off: what a generator sends a
// veth takes only with it, or with a program.
func (n *network) gro(state string) error {
	for _, device := range []string{"vm1", "vm3", "uplink"} {
		if _, err := n.Hypervisor.Exec(n.ctx, "ethtool", "-K", device, "gro", state); err != nil {
			return err
		}
	}
	return nil
}

// machine says on what the figures were measured.
func (n *network) machine() string {
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	version, _ := n.Appctl("version")
	datapath := map[string]string{"netdev": "userspace datapath", "system": "kernel datapath"}[n.DatapathType]
	return describe(string(release), version, datapath)
}
