// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// seconds is how long one TCP run takes.
const seconds = 2

// result holds the throughputs of one direction, in bits per second.
type result struct {
	title     string
	from, to  string
	ovs, lane []float64
}

func (d *demo) machine(name string) *machine {
	i := slices.IndexFunc(d.machines, func(m *machine) bool { return m.name == name })
	return d.machines[i]
}

// pings has every machine ping every other one of its VLAN.
func (d *demo) pings() error {
	n := 0
	for _, a := range d.machines {
		for _, b := range d.machines {
			if a == b || a.vlan != b.vlan {
				continue
			}
			if out, err := a.ns.Exec(d.ctx, "ping", "-q", "-c", "5", "-i", "0.002", "-W", "2", b.addr.String()); err != nil {
				return fmt.Errorf("ping from %s to %s: %w\n%s", a.name, b.name, err, out)
			}
			n++
		}
	}
	d.say("pings inside the VLANs: %d pairs of machines, all answered", n)
	return nil
}

// isolation has a machine of each VLAN send to one of the other, whose MAC
// address it is told, and fails when an answer comes.
func (d *demo) isolation() error {
	for _, pair := range [][2]string{{"vm1", "vm3"}, {"vm4", "vm2"}, {"host10", "vm4"}} {
		a, b := d.machine(pair[0]), d.machine(pair[1])
		if _, err := a.ns.Exec(d.ctx, "ip", "neigh", "replace", b.addr.String(), "lladdr", b.mac.String(), "dev", "eth0", "nud", "permanent"); err != nil {
			return err
		}
		before, err := b.ns.Received("eth0")
		if err != nil {
			return err
		}
		_, pingErr := a.ns.Exec(d.ctx, "ping", "-q", "-c", "20", "-i", "0.002", "-W", "0.3", b.addr.String())
		if err := d.ctx.Err(); err != nil {
			return err
		}
		after, err := b.ns.Received("eth0")
		if err != nil {
			return err
		}
		if pingErr == nil || after != before {
			return fmt.Errorf("%s in VLAN %d reaches %s in VLAN %d: %d frames", a.name, a.vlan, b.name, b.vlan, after-before)
		}
	}
	d.say("pings across the VLANs, to MAC addresses that are known there: no frame arrives, as it must be")
	return nil
}

var answer = regexp.MustCompile(`bytes from ([0-9.]+):`)

// broadcasts has one machine of each VLAN ping everybody.
func (d *demo) broadcasts() error {
	for _, name := range []string{"vm1", "vm4"} {
		m := d.machine(name)
		out, err := m.ns.Exec(d.ctx, "ping", "-b", "-c", "2", "-i", "0.1", "-W", "1", address(255).Addr().String())
		if err != nil {
			return fmt.Errorf("ping everybody from %s: %w", name, err)
		}
		var got, want []string
		for _, a := range answer.FindAllStringSubmatch(out, -1) {
			for _, o := range d.machines {
				if o.addr.String() == a[1] && o != m && !slices.Contains(got, o.name) {
					got = append(got, o.name)
				}
			}
		}
		for _, o := range d.machines {
			if o.vlan == m.vlan && o != m {
				want = append(want, o.name)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			return fmt.Errorf("a broadcast of %s is answered by %q, want %q", name, got, want)
		}
		d.say("broadcast of %s: answered by %s", name, strings.Join(got, " and "))
	}
	return nil
}

// throughput runs TCP once in each direction and files the results with the
// path.
func (d *demo) throughput(lane bool) error {
	if d.results == nil {
		d.results = []*result{
			{title: "VM to VM", from: "vm1", to: "vm2"},
			{title: "VM to VM on a tap", from: "vm3", to: "vm4"},
			{title: "uplink to VM", from: "host10", to: "vm2"},
			{title: "VM to uplink", from: "vm1", to: "host10"},
		}
	}
	path := "OVS alone"
	if lane {
		path = "with lane"
	}
	var line []string
	for _, r := range d.results {
		bps, err := d.tcp(d.machine(r.from), d.machine(r.to))
		if err != nil {
			return err
		}
		if lane {
			r.lane = append(r.lane, bps)
		} else {
			r.ovs = append(r.ovs, bps)
		}
		line = append(line, fmt.Sprintf("%s to %s %s", r.from, r.to, gigabits(bps)))
	}
	d.say("TCP, %d s each, %s, Gb/s: %s", seconds, path, strings.Join(line, ", "))
	return nil
}

// tcp sends TCP and returns what has arrived, in bits per second.
func (d *demo) tcp(from, to *machine) (float64, error) {
	var out string
	var err error
	for range 20 { // the server may not be ready
		out, err = from.ns.Exec(d.ctx, "iperf3", "--json", "--client", to.addr.String(), "--time", fmt.Sprint(seconds))
		if err == nil || d.ctx.Err() != nil || !strings.Contains(out, "refused") && !strings.Contains(out, "busy") {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	var report struct {
		Error string
		End   struct {
			Received struct {
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	if jsonErr := json.Unmarshal([]byte(out), &report); err == nil {
		err = jsonErr
	}
	if err == nil && report.End.Received.BitsPerSecond == 0 {
		err = errors.New("nothing has arrived")
	}
	if err != nil {
		return 0, fmt.Errorf("TCP from %s to %s: %w %s", from.name, to.name, err, report.Error)
	}
	return report.End.Received.BitsPerSecond, nil
}

func gigabits(bps float64) string { return fmt.Sprintf("%.2f", bps/1e9) }

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}
