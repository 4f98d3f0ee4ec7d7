// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// Ingress policing limits what takes the lane, TCP and UDP, and a new rate counts
// at once.
func TestPolicing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var machines []*lab.Port
	for i, name := range []string{"v1", "v2"} {
		p, err := w.AddVeth("br0", name, lab.PortOptions{
			Addr: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, 0, byte(i + 1)}), 24), Columns: []string{"tag=10"}})
		w.must(err)
		machines = append(machines, p)
	}
	a, b := machines[0], machines[1]
	_, err := w.Start(b.VM, "iperf3", "--server")
	w.must(err)
	police := func(kbps, burst int) {
		t.Helper()
		_, err := w.OVS("set", "interface", "v1", "ingress_policing_rate="+strconv.Itoa(kbps), "ingress_policing_burst="+strconv.Itoa(burst))
		w.must(err)
	}
	police(20_000, 200)
	w.mode("on")
	const seconds = 10
	measure := func(want float64, seconds int, kind string, args ...string) {
		t.Helper()
		before := w.counts()
		rate := w.transfer(a, b, seconds, args...)
		p := before.to(w.counts(), "v1")
		if kind == "UDP" { // what arrives may be too much at once for the receiver
			rate = float64(p.lane) * 1428 * 8 / 1e6 / float64(seconds)
		}
		t.Logf("%s, policed at %.0f Mbit/s: %.2f Mbit/s; %s", kind, want, rate, p)
		if rate > 1.05*want || rate < 0.95*want {
			t.Errorf("%s: %.2f Mbit/s, want %.0f", kind, rate, want)
		}
		if p.reasons["policed"] == 0 || p.lane < 9*p.passed {
			t.Errorf("%s was not policed on the lane: %s", kind, p)
		}
	}
	w.eventually(func() error { // learned
		_, err := a.VM.Exec(t.Context(), "ping", "-c", "1", "-W", "1", b.Addr.Addr().String())
		return err
	})
	time.Sleep(time.Second)
	measure(20, seconds, "TCP")
	measure(20, seconds, "UDP", "--udp", "--bitrate", "60M", "--length", "1400")
	police(50_000, 5_000)
	time.Sleep(time.Second)
	measure(50, seconds, "UDP", "--udp", "--bitrate", "90M", "--length", "1400")
}

// transfer sends for so many seconds and returns the rate at which TCP arrived,
// with the headers of IP and above, in Mbit/s; 0 of UDP.
func (w *world) transfer(from, to *lab.Port, seconds int, args ...string) float64 {
	w.t.Helper()
	var out string
	w.eventually(func() (err error) {
		out, err = from.VM.Exec(w.t.Context(), "iperf3", append([]string{"--json", "--client", to.Addr.Addr().String(), "--time", fmt.Sprint(seconds)}, args...)...)
		return err
	})
	var report struct {
		End struct {
			Received struct { // of TCP
				Rate float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		w.t.Fatal(fmt.Errorf("read what iperf3 says: %w", err))
	}
	return report.End.Received.Rate / 1e6 * 1500 / 1448
}
