// SPDX-License-Identifier: Apache-2.0

package dpflow

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// cpu returns the CPU time of ovs-vswitchd so far, all threads: utime and stime in
// /proc/PID/stat, which count 100 ticks a second.
func (w *world) cpu() time.Duration {
	w.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.Vswitchd.PID))
	w.must(err)
	_, rest, _ := strings.Cut(string(b), ") ")
	var ticks uint64
	for _, field := range strings.Fields(rest)[11:13] {
		n, err := strconv.ParseUint(field, 10, 64)
		w.must(err)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// fill has OVS make a flow of each pair of so many stations behind a and b.
func (w *world) fill(a, b int) int {
	w.t.Helper()
	station := func(side, n int) ovs.MAC { return ovs.MAC{0x52, 0x54, 1, byte(side), byte(n >> 8), byte(n)} }
	for i := range a {
		w.must(w.ports["a"].Send(frame.UDP4(frame.Broadcast, station(0, i))))
	}
	for i := range b {
		w.must(w.ports["b"].Send(frame.UDP4(frame.Broadcast, station(1, i))))
	}
	time.Sleep(time.Second)
	lane := 0
	for range 50 { // some frames are lost while flows are being made
		for i := range a {
			for j := range b {
				w.must(w.ports["a"].Send(frame.UDP4(station(1, j), station(0, i))))
			}
			time.Sleep(5 * time.Millisecond)
		}
		text, err := w.Appctl("dpif/dump-flows", "-m", "--names", "br0")
		w.must(err)
		flows, err := Parse(text)
		w.must(err)
		lane = 0
		for _, f := range flows {
			if f.Lane != nil {
				lane++
			}
		}
		if lane >= a*b {
			return len(flows)
		}
	}
	w.t.Fatalf("%d flows of the lane, want %d", lane, a*b)
	return 0
}

// BenchmarkDump measures what a dump costs ovs-vswitchd beyond what it does anyway
// with so many flows (ms-of-ovs/op), and how long the reply takes.
func BenchmarkDump(b *testing.B) {
	w := newWorld(b)
	w.vsctl("set", "open_vswitch", ".", "other_config:max-idle=3600000")
	w.bridge("br0")
	w.taps("br0", "a", "b")
	for _, size := range [][2]int{{10, 10}, {100, 10}, {100, 100}} {
		n := w.fill(size[0], size[1])
		time.Sleep(3 * time.Second)
		before := w.cpu()
		time.Sleep(5 * time.Second)
		idle := float64(w.cpu()-before) / 5 // of a second
		for _, command := range [][]string{
			{"dpif/dump-flows", "-m", "--names", "br0"},
			{"dpctl/dump-flows", "-m", "--names"},
			{"fdb/stats-show", "br0"},
		} {
			b.Run(fmt.Sprintf("%s/%d", strings.ReplaceAll(command[0], "/", "-"), n), func(b *testing.B) {
				start, before := time.Now(), w.cpu()
				for b.Loop() {
					text, err := w.Appctl(command...)
					w.must(err)
					b.SetBytes(int64(len(text)))
				}
				spent := float64(w.cpu()-before) - idle*time.Since(start).Seconds()
				b.ReportMetric(spent/1e6/float64(b.N), "ms-of-ovs/op")
			})
		}
	}
}
