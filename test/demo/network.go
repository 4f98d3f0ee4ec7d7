// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// demo is the network and what has been measured in it.
type demo struct {
	ctx  context.Context
	out  io.Writer
	step int

	lab    *lab.Lab
	daemon *lab.Daemon
	// machines holds the VMs and then the hosts behind the uplink.
	machines []*machine
	uplink   *lab.Trunk
	results  []*result
}

// machine is a VM, or a host behind the uplink.
type machine struct {
	name, kind string
	vlan       ovs.VLAN
	ns         *lab.Namespace
	mac        ovs.MAC
	addr       netip.Addr
	port       string // its port of the bridge
}

// All machines are in one IP network: it is the VLAN that keeps them apart.
func address(host int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, 77, byte(host)}), 24)
}

// say prints a line about the step.
func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.out, "   "+format+"\n", args...)
}

// build makes the network.
func (d *demo) build() error {
	var err error
	if d.lab, err = lab.New(lab.Config{}); err != nil {
		return err
	}
	version, err := d.lab.Appctl("version")
	if err != nil {
		return err
	}
	version, _, _ = strings.Cut(version, "\n")
	d.say("%s, with its own database in %s", version, d.lab.Dir)
	if d.lab.DatapathType == "system" {
		d.say("kernel datapath, in the network namespace %s", d.lab.Hypervisor.Name)
	} else {
		d.say("userspace datapath (this kernel has no openvswitch module), in the network namespace %s", d.lab.Hypervisor.Name)
	}
	if err := d.lab.AddBridge("br0"); err != nil {
		return err
	}
	for i, vm := range []struct {
		name, kind string
		vlan       ovs.VLAN
		add        func(*lab.Lab, string, string, lab.PortOptions) (*lab.Port, error)
	}{
		{"vm1", "veth", 10, (*lab.Lab).AddVeth},
		{"vm2", "veth", 10, (*lab.Lab).AddVeth},
		{"vm3", "veth", 20, (*lab.Lab).AddVeth},
		{"vm4", "tap", 20, (*lab.Lab).AddTap},
	} {
		if err := d.ctx.Err(); err != nil {
			return err
		}
		p, err := vm.add(d.lab, "br0", vm.name, lab.PortOptions{
			Addr:    address(i + 1),
			Columns: []string{fmt.Sprintf("tag=%d", vm.vlan)},
		})
		if err != nil {
			return err
		}
		d.machines = append(d.machines, &machine{vm.name, vm.kind, vm.vlan, p.VM, p.MAC, p.Addr.Addr(), vm.name})
	}
	return d.buildUplink()
}

func (d *demo) buildUplink() error {
	hosts := []*lab.TrunkHost{
		{Name: "host10", VLAN: 10, Addr: address(110)},
		{Name: "host20", VLAN: 20, Addr: address(120)},
	}
	var err error
	if d.uplink, err = d.lab.AddTrunk("br0", "uplink", false, lab.PortOptions{}, hosts...); err != nil {
		return err
	}
	for _, h := range hosts {
		d.machines = append(d.machines, &machine{h.Name, "uplink", h.VLAN, h.VM, h.MAC, h.Addr.Addr(), "uplink"})
	}
	d.say("")
	d.say("  vm1 (veth) ── VLAN 10 ──┐           ┌── VLAN 20 ── vm3 (veth)")
	d.say("  vm2 (veth) ── VLAN 10 ──┤    br0    ├── VLAN 20 ── vm4 (tap)")
	d.say("                          └─────┬─────┘")
	d.say("                   uplink (trunk, tagged 10 and 20)")
	d.say("                                │")
	d.say("                 top-of-rack switch ── host10, host20")
	d.say("")
	d.say("Each machine is a network namespace. The switch behind the uplink is one as well; two tc")
	d.say("programs in it push and pop the VLAN tags, so the frames on the uplink are really tagged.")
	// Machines answer broadcast pings, and one iperf3 server waits in each.
	for _, m := range d.machines {
		err := m.ns.Do(func() error {
			return os.WriteFile("/proc/sys/net/ipv4/icmp_echo_ignore_broadcasts", []byte("0"), 0)
		})
		if err != nil {
			return err
		}
		if _, err := d.lab.Start(m.ns, "iperf3", "--server"); err != nil {
			return err
		}
	}
	return nil
}

// startDaemon starts ovs-xdpd.
func (d *demo) startDaemon() error {
	var err error
	d.daemon, err = d.lab.StartDaemon()
	if err != nil {
		return err
	}
	d.say("$ ovs-xdpd    (process %d)", d.daemon.PID)
	return nil
}

// mode sets the bridge's key and waits until the daemon obeys.
func (d *demo) mode(m string) error {
	d.say("$ ovs-vsctl set bridge br0 external_ids:xdp-offload=%s", m)
	return d.setMode(m)
}

func (d *demo) setMode(m string) error {
	if _, err := d.lab.OVS("set", "bridge", "br0", "external_ids:xdp-offload="+m); err != nil {
		return err
	}
	return d.wait(func() error {
		s, err := d.lab.Status()
		if err != nil {
			return err
		}
		b, err := s.Bridge("br0")
		if err == nil && b.State != m {
			err = fmt.Errorf("br0 is %s, not %s: %q %+v", b.State, m, b.Errors, b.Refusals)
		}
		return err
	})
}

// waitForStations waits until the daemon has every machine in its table.
func (d *demo) waitForStations() error {
	return d.wait(func() error {
		rows, err := d.lab.FDB()
		if err != nil {
			return err
		}
		states := make(map[string]string)
		for _, r := range rows {
			states[fmt.Sprint(r.MAC, " ", r.VLAN)] = r.State
		}
		for _, m := range d.machines {
			if s := states[fmt.Sprint(m.mac, " ", m.vlan)]; s != "lane" {
				return fmt.Errorf("%s (%s in VLAN %d) is %q in the table of ovs-xdpd, not \"lane\"", m.name, m.mac, m.vlan, s)
			}
		}
		return nil
	})
}

// wait is lab.Eventually until the demo is interrupted.
func (d *demo) wait(fn func() error) error {
	var interrupt error
	err := lab.Eventually(10*time.Second, func() error {
		if interrupt = d.ctx.Err(); interrupt != nil {
			return nil
		}
		return fn()
	})
	if interrupt != nil {
		return interrupt
	}
	return err
}

// close removes everything.
func (d *demo) close() error {
	if d.lab == nil {
		return nil
	}
	return d.lab.Close()
}
