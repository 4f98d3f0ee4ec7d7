// SPDX-License-Identifier: Apache-2.0

package emulated

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/test/bench/figure"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// way is what an operator can choose for a port whose machine leaves segmentation
// and checksums to its device.
type way struct{ name, bridge, port, flag string }

var bulkWays = []way{
	{alone, "off", "on", ""},
	{"`on`", "on", "on", ""},
	{"`on`, `--finish-checksums`", "on", "on", "--finish-checksums"},
	{"`target`", "on", "target", ""},
}

// Bulk TCP from machines with segmentation offload: where the lane does not pay.
func TestBulk(t *testing.T) {
	l := lab.NewT(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(l.AddBridge("br0"))
	port := func(add func(*lab.Lab, string, string, lab.PortOptions) (*lab.Port, error), name string, n byte) *lab.Port {
		t.Helper()
		p, err := add(l, "br0", name, lab.PortOptions{
			Addr: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, 0, n}), 24), Columns: []string{"tag=10"}, TxChecksum: true, VirtioHeader: true})
		must(err)
		return p
	}
	pairs := []struct {
		name     string
		from, to *lab.Port
	}{
		{"veth to veth", port((*lab.Lab).AddVeth, "v1", 1), port((*lab.Lab).AddVeth, "v2", 2)},
		{"tap to tap", port((*lab.Lab).AddTap, "t1", 3), port((*lab.Lab).AddTap, "t2", 4)},
	}
	for _, p := range pairs {
		// What TCP has learned about a way must not slow down the next one.
		must(p.from.VM.Do(func() error { return os.WriteFile("/proc/sys/net/ipv4/tcp_no_metrics_save", []byte("1"), 0) }))
		_, err := l.Start(p.to.VM, "iperf3", "--server")
		must(err)
	}
	rounds := 3
	if testing.Short() {
		rounds = 1
	}
	set := figure.Set{
		Name:  "bulk",
		Title: "One TCP connection whose machines leave segmentation (TSO) and checksums to their devices",
		Note: "`xdp-offload` of both ports; the frames of taps go through a program that copies them with their struct virtio_net_hdr, as QEMU does " +
			"without vhost. On one CPU a rate is what a byte costs.",
		Unit: "Mbit/s",
	}
	for _, w := range bulkWays {
		set.Ways = append(set.Ways, w.name)
		if w.name != alone {
			set.Ratios = append(set.Ratios, figure.Ratio{Name: w.name + " by alone", Of: w.name, By: alone})
		}
	}
	for range rounds {
		for _, w := range bulkWays {
			must(bulkWay(l, w, func() error {
				for _, p := range pairs {
					if out, err := p.from.VM.Exec(t.Context(), "ping", "-c", "1", "-W", "1", p.to.Addr.Addr().String()); err != nil {
						return fmt.Errorf("%w\n%s", err, out)
					}
				}
				return nil
			}, func() error {
				for _, p := range pairs {
					rate, err := bulk(t, p.from, p.to)
					if err != nil {
						return fmt.Errorf("%s, %s: %w", p.name, w.name, err)
					}
					set.Add(p.name, w.name, rate)
				}
				return nil
			}))
		}
	}
	record(t, set)
}

// bulkWay starts the daemon and sets the keys of a way, waits until the machines
// reach one another and are on the lane, measures, and stops the daemon.
func bulkWay(l *lab.Lab, w way, reach, measure func() error) (err error) {
	args := []string{"set", "bridge", "br0", "external_ids:xdp-offload=" + w.bridge}
	for _, p := range []string{"v1", "v2", "t1", "t2"} {
		args = append(args, "--", "set", "interface", p, "external_ids:xdp-offload="+w.port)
	}
	if _, err := l.OVS(args...); err != nil {
		return err
	}
	var flags []string
	if w.flag != "" {
		flags = append(flags, w.flag)
	}
	d, err := l.StartDaemon(flags...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Stop()) }()
	err = lab.Eventually(20*time.Second*lab.Patience(), func() error {
		if err := reach(); err != nil {
			return err
		}
		rows, err := l.FDB()
		if err != nil {
			return err
		}
		ports, err := l.Ports()
		if err != nil {
			return err
		}
		attached, known := 0, 0
		for _, p := range ports {
			if p.Attach == "native" && p.Port != "br0" {
				attached++
			}
		}
		for _, r := range rows {
			if r.State == "lane" {
				known++
			}
		}
		want := map[string][2]int{"off": {0, 0}, "on": {4, 4}}[w.bridge]
		if w.port == "target" {
			want[0] = 0
		}
		if attached != want[0] || known != want[1] {
			return fmt.Errorf("%s: %d programs, %d stations on the lane: %+v", w.name, attached, known, ports)
		}
		return nil
	})
	if err != nil {
		return err
	}
	time.Sleep(3 * time.Second) // what a daemon does at its start is none of the way's
	return measure()
}

// bulk returns the rate of one TCP connection in Mbit/s.
func bulk(t *testing.T, from, to *lab.Port) (float64, error) {
	var report struct {
		End struct {
			Received struct {
				Rate float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	err := lab.Eventually(10*time.Second*lab.Patience(), func() error { // the server may be busy yet
		out, err := from.VM.Exec(t.Context(), "iperf3", "--json", "--client", to.Addr.Addr().String(), "--bytes", "120M")
		if err == nil {
			err = json.Unmarshal([]byte(out), &report)
		}
		return err
	})
	if err == nil && report.End.Received.Rate == 0 {
		err = errors.New("nothing has arrived")
	}
	return report.End.Received.Rate / 1e6, err
}
