// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"text/tabwriter"
	"time"
)

// before shows the network without ovs-xdpd.
func (d *demo) before() error {
	for _, check := range []func() error{d.pings, d.isolation, d.broadcasts} {
		if err := check(); err != nil {
			return err
		}
	}
	return d.throughput(false)
}

// observe starts the daemon and lets it only count.
func (d *demo) observe() error {
	if err := d.startDaemon(); err != nil {
		return err
	}
	if err := d.mode("observe"); err != nil {
		return err
	}
	if err := d.pings(); err != nil { // everybody is heard, so learned
		return err
	}
	if err := d.waitForStations(); err != nil {
		return err
	}
	before, err := d.count()
	if err != nil {
		return err
	}
	if err := d.pings(); err != nil {
		return err
	}
	after, err := d.count()
	if err != nil {
		return err
	}
	var would, lane, total uint64
	for port, c := range after {
		would += c.would - before[port].would
		lane += c.inLane - before[port].inLane
		total += c.inOVS - before[port].inOVS
	}
	d.say("of %d frames the lane would have taken %d; it has taken %d", total, would, lane)
	if would == 0 || lane != 0 {
		return errors.New("observe mode should count frames and redirect none")
	}
	return nil
}

// open opens the lane and shows the same traffic on it.
func (d *demo) open() error {
	if err := d.mode("on"); err != nil {
		return err
	}
	if err := d.pings(); err != nil {
		return err
	}
	if err := d.waitForStations(); err != nil {
		return err
	}
	before, err := d.count()
	if err != nil {
		return err
	}
	for _, check := range []func() error{d.pings, d.isolation, d.broadcasts} {
		if err := check(); err != nil {
			return err
		}
	}
	if err := d.throughput(true); err != nil {
		return err
	}
	after, err := d.count()
	if err != nil {
		return err
	}
	d.say("")
	d.say("Frames since the lane opened, counted by ovs-xdpd and by the machines:")
	d.say("")
	if err := d.frameTable(before, after); err != nil {
		return err
	}
	d.say("")
	d.say("What stays on OVS: broadcast, ARP, what is unknown, and a frame of each station now and then,")
	d.say("so that OVS sees that it lives.")
	return nil
}

// compare measures both paths again, in turn.
func (d *demo) compare() error {
	for _, m := range []string{"off", "on"} {
		if err := d.mode(m); err != nil {
			return err
		}
		if m == "on" {
			if err := d.waitForStations(); err != nil {
				return err
			}
		}
		if err := d.throughput(m == "on"); err != nil {
			return err
		}
	}
	return nil
}

// after stops the daemon while a machine pings, and shows that traffic goes on
// without any program left.
func (d *demo) after() error {
	vm1, vm2 := d.machine("vm1"), d.machine("vm2")
	pinged := make(chan error, 1)
	go func() {
		out, err := vm1.ns.Exec(d.ctx, "ping", "-q", "-c", "200", "-i", "0.005", "-W", "1", vm2.addr.String())
		if err != nil {
			err = fmt.Errorf("ping across the end of ovs-xdpd: %w\n%s", err, out)
		}
		pinged <- err
	}()
	time.Sleep(300 * time.Millisecond)
	err := d.daemon.Stop()
	if err := errors.Join(err, <-pinged); err != nil {
		return err
	}
	d.say("SIGTERM, exit code 0, while vm1 was pinging vm2 200 times a second: the pings go on")
	programs, err := d.lab.Hypervisor.XDPPrograms()
	if err != nil {
		return err
	}
	if len(programs) > 0 {
		return fmt.Errorf("XDP programs are left: %v", programs)
	}
	d.say("no device has an XDP program any more")
	seen, err := d.lab.FlowPackets("br0")
	if err != nil {
		return err
	}
	for _, check := range []func() error{d.pings, d.isolation, d.broadcasts} {
		if err := check(); err != nil {
			return err
		}
	}
	now, err := d.lab.FlowPackets("br0")
	if err != nil {
		return err
	}
	d.say("Open vSwitch's own rules have counted %d frames of that", now-seen)
	return d.throughput(false)
}

// summary prints the throughputs.
func (d *demo) summary() error {
	fmt.Fprintf(d.out, "\nThroughput of one TCP connection in Gb/s, median of the runs above:\n\n")
	t := tabwriter.NewWriter(d.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "   direction\tfrom\tto\tOVS alone\twith lane\tratio\t")
	for _, r := range d.results {
		ovs, lane := median(r.ovs), median(r.lane)
		fmt.Fprintf(t, "   %s\t%s\t%s\t%s\t%s\t%.1f\t\n", r.title, r.from, r.to, gigabits(ovs), gigabits(lane), lane/ovs)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(d.out, "\nThe machines are namespaces on this host and share its processors with the switch, so take\n"+
		"the ratios as a hint; frames per second and processor time on real hardware are another matter.\n")
	return nil
}
