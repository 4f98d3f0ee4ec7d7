// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// scrape reads a metric of the daemon, -1 when it is not there. address is that of
// --metrics-listen, in the namespace of the hypervisor.
func (w *world) scrape(address, series string) float64 {
	w.t.Helper()
	network, at := "tcp", address
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, at = "unix", path
	}
	var text []byte
	w.eventually(func() error {
		return w.Hypervisor.Do(func() error {
			c, err := net.Dial(network, at)
			if err != nil {
				return err
			}
			defer c.Close()
			once := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
				DialContext: func(context.Context, string, string) (net.Conn, error) { return c, nil }}}
			r, err := once.Get("http://ovs-xdpd/metrics")
			if err != nil {
				return err
			}
			defer r.Body.Close()
			if text, err = io.ReadAll(r.Body); err == nil && r.StatusCode != http.StatusOK {
				err = fmt.Errorf("%s: %s", r.Status, text)
			}
			return err
		})
	})
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			f, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			w.must(err)
			return f
		}
	}
	return -1
}

// Metrics tell what happens on the lane, and go on when another daemon takes
// over.
func TestMetrics(t *testing.T) {
	t.Parallel()
	for name, address := range map[string]func(w *world) string{
		"TCP":  func(w *world) string { return "127.0.0.1:9517" },
		"unix": func(w *world) string { return "unix:" + filepath.Join(w.Dir, "metrics.sock") },
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{Lab: lab.NewT(t), t: t}
			w.must(w.AddBridge("br0"))
			_, err := w.Hypervisor.Exec(context.Background(), "ip", "link", "set", "lo", "up")
			w.must(err)
			at := address(w)
			w.start("--metrics-listen=" + at)
			a, b := untagged(w.veth("v1", "tag=10"), 10), untagged(w.tap("t1", "tag=10"), 10)
			if got := w.scrape(at, `ovs_xdp_bridge_state{bridge="br0",state="off"}`); got != 1 {
				t.Errorf("a bridge that is off: %v", got)
			}
			w.open(a, b)
			const lane, sent = `ovs_xdp_port_receive_frames_total{bridge="br0",interface="v1",reason="lane"}`, `ovs_xdp_port_transmit_frames_total{bridge="br0",interface="t1"}`
			in, out := w.scrape(at, lane), w.scrape(at, sent)
			bpffs := w.bpffs()
			w.takeOver(bpffs, "--metrics-listen="+at)
			f := a.frameTo(b.mac)
			w.lane(a.port, b.port, f, f)
			in, out = w.scrape(at, lane)-in, w.scrape(at, sent)-out
			if in < burst-3 || in > burst || in != out {
				t.Errorf("metrics tell of %v frames on the lane and %v to the port, want %d", in, out, burst)
			}
			for series, want := range map[string]float64{
				"ovs_xdp_lane_open": 1, "ovs_xdp_losses_seen": 1, "ovs_xdp_fdb_full_stations": 0,
				`ovs_xdp_bridge_state{bridge="br0",state="on"}`: 1, `ovs_xdp_bridge_ports{bridge="br0"}`: 2,
				`ovs_xdp_bridge_stations{bridge="br0"}`:                                    2,
				`ovs_xdp_port_on_lane{bridge="br0",direction="from",interface="v1"}`:       1,
				`ovs_xdp_port_transmit_lost_frames_total{bridge="br0",interface="t1"}`:     0,
				`ovs_xdp_port_receive_bytes_total{bridge="br0",interface="v1",path="ovs"}`: -2,
			} {
				if got := w.scrape(at, series); got != want && (want != -2 || got <= 0) {
					t.Errorf("%s is %v, want %v", series, got, want)
				}
			}
			if got := w.scrape(at, "ovs_xdp_lane_lease_seconds"); got <= 0 || got > 4 {
				t.Errorf("the lease is %v s", got)
			}
			w.stop()
			w.noPrograms()
		})
	}
}

// An address that can't be had ends the daemon before it touches anything.
func TestMetricsAddress(t *testing.T) {
	w := &world{Lab: lab.NewT(t), t: t}
	for address, why := range map[string]string{"localhost": "no port", "192.0.2.1:9517": "cannot assign", "unix:/nowhere/m.sock": "no such file"} {
		p, err := w.StartSecondDaemon("--metrics-listen=" + address)
		w.must(err)
		if err := p.Wait(settle); err == nil || !strings.Contains(p.Output(5), why) {
			t.Errorf("--metrics-listen=%s: %v: %s", address, err, p.Output(5))
		}
	}
}
