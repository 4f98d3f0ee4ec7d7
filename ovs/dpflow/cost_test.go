// SPDX-License-Identifier: Apache-2.0

package dpflow

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// cpu returns the CPU time of ovs-vswitchd so far, all threads: utime and stime in
// /proc/PID/stat, which count 100 ticks a second.
func (w *world) cpu() time.Duration { return w.cpuOf(w.Vswitchd.PID) }

func (w *world) cpuOf(pid int) time.Duration {
	w.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
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

// own is the CPU time of this process so far.
func (w *world) own() time.Duration {
	w.t.Helper()
	var r unix.Rusage
	w.must(unix.Getrusage(unix.RUSAGE_SELF, &r))
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkDump measures what a dump costs ovs-vswitchd beyond what it does anyway
// with so many flows (ms-of-ovs/op), and whoever reads it (ms-of-reader/op), and how
// long the reply takes. On the kernel datapath it also asks the kernel itself, for
// all of each flow or for its name and counters alone; what the kernel does for that
// counts for the reader, as what it does for ovs-vswitchd counts for that.
func BenchmarkDump(b *testing.B) {
	w := newWorld(b)
	w.vsctl("set", "open_vswitch", ".", "other_config:max-idle=3600000")
	w.bridge("br0")
	w.taps("br0", "a", "b")
	type way struct {
		name string
		read func() int // returns its bytes
	}
	ask := func(command ...string) way {
		var r Reader // as the daemon: what has not changed is read once
		return way{strings.ReplaceAll(command[0], "/", "-"), func() int {
			text, err := w.Appctl(command...)
			w.must(err)
			if strings.HasSuffix(command[0], "/dump-flows") {
				_, err = r.Parse(text)
				w.must(err)
			}
			return len(text)
		}}
	}
	ways := []way{ask("dpif/dump-flows", "-m", "--names", "br0"), ask("dpctl/dump-flows", "-m", "--names"), ask("fdb/stats-show", "br0")}
	for _, size := range [][2]int{{10, 10}, {100, 10}, {100, 100}} {
		n := w.fill(size[0], size[1])
		ways := ways
		if w.DatapathType == "system" {
			kernel := func(omit uint32) int {
				flows, bytes := w.kernelFlows(omit)
				if flows != n {
					w.t.Errorf("the kernel has %d flows, ovs-vswitchd says %d", flows, n)
				}
				return bytes
			}
			ways = append(ways[:len(ways):len(ways)], way{"netlink", func() int { return kernel(0) }},
				way{"netlink-counters", func() int { return kernel(ovsOmitKey | ovsOmitMask | ovsOmitActions) }})
		}
		time.Sleep(3 * time.Second)
		before := w.cpu()
		time.Sleep(5 * time.Second)
		idle := float64(w.cpu()-before) / 5 // of a second
		for _, way := range ways {
			b.Run(fmt.Sprintf("%s/%d", way.name, n), func(b *testing.B) {
				way.read()
				start, before, own := time.Now(), w.cpu(), w.own()
				for b.Loop() {
					b.SetBytes(int64(way.read()))
				}
				spent := float64(w.cpu()-before) - idle*time.Since(start).Seconds()
				b.ReportMetric(spent/1e6/float64(b.N), "ms-of-ovs/op")
				b.ReportMetric((w.own()-own).Seconds()*1e3/float64(b.N), "ms-of-reader/op")
			})
		}
	}
}

// pollingFor is how long BenchmarkPolling looks, each time.
const pollingFor = 20 * time.Second

// BenchmarkPolling measures what the daemon costs ovs-vswitchd, and itself, with
// 10,000 flows on the lane while nothing changes: percent of a core, with the daemon
// and alone by turns, three times. It must be less than 2 % more than alone, but in an
// emulated machine, whose cores are slower.
func BenchmarkPolling(b *testing.B) {
	w := newWorld(b)
	w.vsctl("set", "open_vswitch", ".", "other_config:max-idle=3600000")
	w.bridge("br0", "external_ids:xdp-offload=on", "external_ids:xdp-lane=flows")
	w.taps("br0", "a", "b")
	n := w.fill(100, 100)
	var alone, with, daemon []float64
	// percent is what ovs-vswitchd, and d, take of a core.
	percent := func(d *lab.Daemon) (ovs, own float64) {
		time.Sleep(5 * time.Second) // what the start has left to do
		began, before, ownBefore := time.Now(), w.cpu(), time.Duration(0)
		if d != nil {
			ownBefore = w.cpuOf(d.PID)
		}
		time.Sleep(pollingFor)
		took := time.Since(began)
		if d != nil {
			own = 100 * float64(w.cpuOf(d.PID)-ownBefore) / float64(took)
		}
		return 100 * float64(w.cpu()-before) / float64(took), own
	}
	for range 3 {
		ovs, _ := percent(nil)
		alone = append(alone, ovs)
		d, err := w.StartDaemon()
		w.must(err)
		w.must(lab.Eventually(30*time.Second*lab.Patience(), func() error {
			text, err := w.Appctl("-t", "ovs-xdpd", "flow/show")
			if got := strings.Count(text, "\n") - 1; err == nil && got < 10_000 {
				err = fmt.Errorf("%d of 10,000 flows are on the lane", got)
			}
			return err
		}))
		ovs, own := percent(d)
		with, daemon = append(with, ovs), append(daemon, own)
		w.must(d.Stop())
	}
	b.Logf("%d flows: ovs-vswitchd %.2f %% with the daemon, %.2f %% alone; ovs-xdpd %.2f %%", n, with, alone, daemon)
	more := median(with) - median(alone)
	b.ReportMetric(more, "%-of-a-core-of-ovs")
	b.ReportMetric(median(alone), "%-alone")
	b.ReportMetric(median(daemon), "%-of-ovs-xdpd")
	if more >= 2 && lab.Patience() == 1 {
		b.Errorf("polling costs ovs-vswitchd %.2f %% of a core, want less than 2", more)
	}
}

func median(of []float64) float64 {
	s := slices.Sorted(slices.Values(of))
	return s[len(s)/2]
}
