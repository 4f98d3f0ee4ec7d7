// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// count and stats are what stats/show says, as far as it is looked at here.
type (
	count struct{ Frames, Bytes uint64 }
	stats struct {
		Bridges []struct {
			Name             string
			Lane, OVS, Total count
			Error            string
		}
		Ports []struct {
			Interface string
			RX, TX    lab.Frames
			Reasons   map[string]uint64
			Device    struct {
				RX uint64 `json:"rx_packets"`
				TX uint64 `json:"tx_packets"`
			}
		}
	}
)

// Counters of OVS and of the lane add up to the frames that were sent, each
// counted once, and status says which part took the lane.
func TestStatsAddUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "--keepalive=1h")
	a, b := untagged(w.veth("v1", "tag=10"), 10), untagged(w.tap("t1", "tag=10"), 10)
	w.open(a, b)
	read := func() stats {
		t.Helper()
		_, err := w.FlowPackets("br0") // has OVS collect its counts
		w.must(err)
		return ask[stats](w, "stats/show", "br0")
	}
	before := read()
	quick, flood := a.frameTo(b.mac), b.frameTo(frame.Broadcast)
	w.lane(a.port, b.port, quick, quick)
	w.bridge(b.port, flood, map[string][]byte{"v1": flood})
	after := read()
	if n := len(after.Bridges); n != 1 || after.Bridges[0].Error != "" {
		t.Fatalf("bridges: %+v", after.Bridges)
	}
	was, now := before.Bridges[0], after.Bridges[0]
	if lane, ovs, total := now.Lane.Frames-was.Lane.Frames, now.OVS.Frames-was.OVS.Frames, now.Total.Frames-was.Total.Frames; total != 2*burst || lane+ovs != total || lane < burst-3 {
		t.Errorf("of %d frames %d took the lane and %d went by OVS, together %d", 2*burst, lane, ovs, total)
	}
	if lane, want := now.Lane.Bytes-was.Lane.Bytes, (now.Lane.Frames-was.Lane.Frames)*uint64(len(quick)); lane != want {
		t.Errorf("%d bytes on the lane, want %d", lane, want)
	}
	for i, p := range after.Ports {
		q := before.Ports[i]
		var reasons uint64
		for name, n := range p.Reasons {
			reasons += n - q.Reasons[name]
		}
		if all := p.RX.Lane + p.RX.OVS - q.RX.Lane - q.RX.OVS; (p.Interface == "v1" || p.Interface == "t1") && (all != burst || reasons != burst) {
			t.Errorf("%d frames from %s, %d by reason, want %d", all, p.Interface, reasons, burst)
		}
		t.Logf("%s: device rx %d, tx %d; lane in %d, out %d", p.Interface, p.Device.RX-q.Device.RX, p.Device.TX-q.Device.TX, p.RX.Lane-q.RX.Lane, p.TX.Lane-q.TX.Lane)
	}
	for args, want := range map[string]string{
		"stats":  fmt.Sprintf("bridge br0: %d frames = %d on the lane", now.Total.Frames, now.Lane.Frames),
		"status": "of bytes on the lane; the rest: ",
	} {
		if text := w.ctl(0, args); !strings.Contains(text, want) {
			t.Errorf("ovs-xdpctl %s: %q is not in\n%s", args, want, text)
		} else {
			t.Logf("ovs-xdpctl %s:\n%s", args, text)
		}
	}
	w.mode("observe")
	w.announce(a, "lane")
	w.announce(b, "lane")
	w.bridge(a.port, quick, map[string][]byte{"t1": quick})
	if text := w.ctl(0, "status"); !strings.Contains(text, "of bytes would take the lane; the rest: ") {
		t.Errorf("status in observe mode:\n%s", text)
	}
}
