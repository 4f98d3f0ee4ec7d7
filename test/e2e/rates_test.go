// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// way is one of those that frames with unfinished checksums can take.
type way struct{ name, mode, port, flag string }

var ways = []way{
	{"OVS alone", "off", "on", ""},
	{"xdp-offload=on", "on", "on", ""},
	{"xdp-offload=on, " + finishFlag, "on", "on", finishFlag},
	{"xdp-offload=target", "on", "target", ""},
}

// inRounds runs fn for each way by turns, of which it returns figures, logs their
// medians, and checks that most frames from the port took the way.
func (w *world) inRounds(rounds int, ports []string, names []string, ready func(), fn func() []float64) {
	w.t.Helper()
	figures := make([][][]float64, len(ways)) // by way and name
	for range rounds {
		for i, way := range ways {
			w.set("external_ids:xdp-offload=" + way.mode)
			for _, p := range ports {
				_, err := w.OVS("set", "interface", p, "external_ids:xdp-offload="+way.port)
				w.must(err)
			}
			w.stop()
			w.start(slices.DeleteFunc([]string{way.flag}, func(s string) bool { return s == "" })...)
			w.mode(way.mode)
			ready()
			before := w.counts()
			got := fn()
			p := before.to(w.counts(), ports[0])
			finished := w.counts().ports[ports[0]].RX.Finished
			if (finished > 100 && finished > p.lane/2) != (way.flag != "") || (p.reasons["checksum"] > 100) != (way.mode == "on" && way.port == "on" && way.flag == "") {
				w.t.Errorf("%s: %d finished; %s", way.name, finished, p)
			}
			figures[i] = append(figures[i], got)
		}
	}
	for i, way := range ways {
		for j, name := range names {
			var all []float64
			for _, round := range figures[i] {
				all = append(all, round[j])
			}
			w.t.Logf("%s, %s: %.0f %.0f", way.name, name, median(all), all)
		}
	}
}

// rounds is how often each way is measured.
func rounds() int {
	if testing.Short() {
		return 1
	}
	return 3
}

// What finishing checksums gains and costs: small TCP round trips and bulk TCP
// between containers that leave checksums to their devices.
func TestRatesWithUnfinishedChecksums(t *testing.T) {
	w := newWorld(t)
	if w.DatapathType == "netdev" {
		t.Skip("OVS's userspace datapath corrupts such frames itself: the kernel lab runs this test")
	}
	a, b := w.machines()
	_, err := w.Start(b.VM, "iperf3", "--server")
	w.must(err)
	w.inRounds(rounds(), []string{"v1", "v2"}, []string{"round trips of 64 bytes a second", "bulk TCP in Mbit/s"}, func() {
		w.reaches(a, b.Addr.Addr())
		time.Sleep(time.Second)
	}, func() []float64 {
		return []float64{w.roundTrips(a, b, 2*time.Second), w.iperf(a, b)}
	})
}

// The same for frames of virtual machines on taps, one way.
func TestRatesFromTapsWithUnfinishedChecksums(t *testing.T) {
	w := newWorld(t)
	if w.DatapathType == "netdev" || lab.TapsTakeMetadata() {
		t.Skip("needs the kernel datapath, and taps before Linux 6.15: the kernel lab runs this test")
	}
	a, b := w.virtioTap("t1"), w.virtioTap("t2")
	sizes := []int{64, 512, 1448}
	var names []string
	for _, n := range sizes {
		names = append(names, fmt.Sprintf("TCP segments with %d bytes a second", n))
	}
	w.inRounds(rounds(), []string{"t1", "t2"}, names, func() {
		for _, from := range []*virtioTap{a, b} {
			w.must(from.write(make([]byte, 10), frame.UDP4(frame.Broadcast, from.mac)))
		}
		time.Sleep(2 * time.Second)
		b.drain()
	}, func() (rates []float64) {
		for _, n := range sizes {
			rates = append(rates, w.segments(a, b, n))
		}
		return rates
	})
}

// virtioTap is a tap as QEMU opens one: a struct virtio_net_hdr stands in front
// of each frame.
type virtioTap struct {
	file *os.File
	mac  ovs.MAC
}

func (w *world) virtioTap(name string) *virtioTap {
	w.t.Helper()
	v := &virtioTap{mac: w.NewMAC()}
	w.must(w.Hypervisor.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		req, err := unix.NewIfreq(name)
		if err == nil {
			req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
		}
		if err == nil {
			err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM)
		}
		if err != nil {
			return errors.Join(err, unix.Close(fd))
		}
		v.file = os.NewFile(uintptr(fd), name)
		return nil
	}))
	w.t.Cleanup(func() { v.file.Close() })
	_, err := w.Hypervisor.Exec(w.t.Context(), "ip", "link", "set", name, "up")
	w.must(err)
	_, err = w.OVS("add-port", "br0", name, "tag=10")
	w.must(err)
	return v
}

func (v *virtioTap) write(header, b []byte) error {
	_, err := v.file.Write(append(slices.Clone(header), b...))
	return err
}

// drain reads until nothing comes.
func (v *virtioTap) drain() {
	buf := make([]byte, 2000)
	for {
		_ = v.file.SetReadDeadline(time.Now().Add(quiet))
		if _, err := v.file.Read(buf); err != nil {
			return
		}
	}
}

// segments returns how many TCP segments with so many bytes, and an unfinished
// checksum, go from one tap to another a second.
func (w *world) segments(from, to *virtioTap, payload int) float64 {
	w.t.Helper()
	const total, batch = 20000, 16
	sent := frame.TCP4(to.mac, from.mac, frame.Payload(noise(payload)), frame.PartialChecksum())
	finished := bytes.Clone(sent[:14+20+16])
	b := append([]byte{1, 0, 0, 0, 0, 0, 34, 0, 16, 0}, sent...) // VIRTIO_NET_HDR_F_NEEDS_CSUM
	buf := make([]byte, 2000)
	start := time.Now()
	for n := 0; n < total; n += batch {
		for range batch {
			if _, err := from.file.Write(b); err != nil {
				w.t.Fatal(err)
			}
		}
		_ = to.file.SetReadDeadline(time.Now().Add(10 * time.Second))
		for i := 0; i < batch; {
			got, err := to.file.Read(buf)
			if err != nil {
				w.t.Fatalf("after %d frames: %v", n+i, err)
			}
			if bytes.HasPrefix(buf[10:got], finished) {
				i++
			}
		}
	}
	return total / time.Since(start).Seconds()
}

func median(v []float64) float64 {
	return slices.Sorted(slices.Values(v))[len(v)/2]
}

// roundTrips returns how often a second 64 bytes go to a machine and back over
// one TCP connection; it fails the test when they don't come back for long.
func (w *world) roundTrips(from, to *lab.Port, during time.Duration) float64 {
	w.t.Helper()
	c := w.echo(from, to, to.Addr.Addr())
	buf := make([]byte, 64)
	n, start := 0, time.Now()
	for ; time.Since(start) < during || n == 0; n++ {
		w.must(c.SetDeadline(time.Now().Add(10 * time.Second)))
		if _, err := c.Write(buf); err != nil {
			w.t.Fatal(err)
		}
		if _, err := io.ReadFull(c, buf); err != nil {
			w.t.Fatalf("after %d round trips: %v", n, err)
		}
	}
	return float64(n) / time.Since(start).Seconds()
}
