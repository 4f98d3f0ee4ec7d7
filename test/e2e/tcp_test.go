// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// TCP between containers that leave checksums to their devices: with the lane no
// frame arrives corrupt and the connection never stands still.
func TestTCPWithUnfinishedChecksums(t *testing.T) {
	w := newWorld(t)
	if w.DatapathType == "netdev" {
		t.Skip("OVS's userspace datapath corrupts such frames itself: the kernel lab runs this test")
	}
	var machines []*lab.Port
	for i, name := range []string{"v1", "v2"} {
		p, err := w.AddVeth("br0", name, lab.PortOptions{
			Addr: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, 0, byte(i + 1)}), 24), TxChecksum: true, Columns: []string{"tag=10"}})
		w.must(err)
		machines = append(machines, p)
	}
	a, b := machines[0], machines[1]
	_, err := w.Start(b.VM, "iperf3", "--server")
	w.must(err)
	// What attaching costs, and what finished checksums would gain.
	type way struct{ mode, tx string }
	ways := []way{{"off", "off"}, {"on", "off"}, {"target", "on"}, {"off", "on"}, {"on", "on"}}
	if testing.Short() {
		ways = ways[3:]
	}
	rate := make(map[way][]float64) // Mbit/s
	for range 2 {
		for _, c := range ways {
			for _, p := range machines {
				_, err := p.VM.Exec(t.Context(), "ethtool", "-K", "eth0", "tx", c.tx)
				w.must(err)
				_, err = w.OVS("set", "interface", p.Name, "external_ids:xdp-offload="+map[bool]string{true: "target", false: "on"}[c.mode == "target"])
				w.must(err)
			}
			w.mode(map[bool]string{true: "off", false: "on"}[c.mode == "off"])
			w.eventually(func() error {
				_, err := a.VM.Exec(t.Context(), "ping", "-c", "1", "-W", "1", b.Addr.Addr().String())
				return err
			})
			time.Sleep(time.Second)
			rate[c] = append(rate[c], w.iperf(a, b))
		}
	}
	for _, c := range ways {
		t.Logf("xdp-offload=%s, tx-checksumming %s: %.0f Mbit/s", c.mode, c.tx, rate[c])
	}
	ports, err := w.Lab.Ports()
	w.must(err)
	if n := reasonOf(ports, "v1", "checksum"); n < 100 {
		t.Errorf("%d unfinished checksums were seen: %+v", n, ports)
	}
}

// iperf runs one TCP connection for a few seconds and returns its rate in
// Mbit/s; it fails the test when it stands still for a second.
func (w *world) iperf(from, to *lab.Port) float64 {
	w.t.Helper()
	var out string
	w.eventually(func() (err error) {
		out, err = from.VM.Exec(w.t.Context(), "iperf3", "--json", "--client", to.Addr.Addr().String(), "--time", "4")
		return err
	})
	var report struct {
		Intervals []struct {
			Sum struct {
				Bytes uint64 `json:"bytes"`
			} `json:"sum"`
		} `json:"intervals"`
		End struct {
			Received struct {
				Rate float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		w.t.Fatal(fmt.Errorf("read what iperf3 says: %w", err))
	}
	if len(report.Intervals) < 3 {
		w.t.Fatalf("iperf3 tells of %d intervals: %s", len(report.Intervals), out)
	}
	for i, in := range report.Intervals {
		if in.Sum.Bytes == 0 {
			w.t.Errorf("the connection stood still in second %d", i)
		}
	}
	return report.End.Received.Rate / 1e6
}
