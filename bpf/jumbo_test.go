// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// jumboTests have frames larger than a page, which lie in several buffers (Linux
// 5.18).
func jumboTests() []laneTest {
	wide := func(r Rule) Rule { return r.with(func(r *Rule) { r.MaxFrame = 9014 }) }
	takes := func(r Rule) Rule { return wide(r).with(func(r *Rule) { r.Scattered = true }) }
	sized := func(n int, opts ...frame.Option) []byte {
		return frame.UDP4(macB, macA, append(opts, frame.Length(n))...)
	}
	return on10([]laneTest{
		{name: "one buffer", in: wide(access(10)), out: wide(access(10)), frame: sized(1514), reason: "lane"},
		{name: "several", in: wide(access(10)), out: takes(access(10)), frame: sized(9014), reason: "lane"},
		{name: "several, popped", in: wide(trunk()), out: takes(access(10)), frame: sized(9018, frame.OnVLAN(10)), leaves: sized(9014), reason: "lane"},
		{name: "several, pushed", in: wide(access(10)), out: takes(trunk()), frame: sized(9014), leaves: sized(9018, frame.OnVLAN(10)), reason: "lane"},
		{name: "several, and the target takes one", in: takes(access(10)), out: wide(access(10)), frame: sized(9014), reason: "scattered"},
		{name: "several, above the MTU", in: wide(access(10)), out: takes(access(10)), frame: sized(9015), reason: "too-long"},
		{name: "several, unfinished checksum", in: wide(access(10)).with(func(r *Rule) { r.Checksum = true }), out: takes(access(10)),
			frame: sized(9014, frame.PartialChecksum()), reason: "checksum"},
		{name: "several, finished checksum", in: wide(access(10)).with(func(r *Rule) { r.Checksum = true }), out: takes(access(10)),
			frame: sized(9014), reason: "lane"},
	})
}

// Large frames of a veth with an MTU of 9000 arrive whole.
func TestAttachJumbo(t *testing.T) {
	w := newWorld(t, 4, Config{})
	for _, ifindex := range w.dev {
		l, err := netlink.LinkByIndex(ifindex)
		w.must(err)
		w.must(netlink.LinkSetMTU(l, 9000))
	}
	for _, mode := range []Mode{ModeNative, vethMode()} {
		w.reset()
		w.must(w.lane.AddPort(w.dev[0], mode))
		// A veth delivers what is redirected to it when its far end has XDP.
		w.must(w.lane.AddPort(w.dev[3], ModeNative))
		w.rule(0, access(10).with(func(r *Rule) { r.MaxFrame = 9014 }))
		w.port(2, access(10).with(func(r *Rule) { r.MaxFrame, r.Scattered = 9014, true }))
		w.row(keyA, 0, true)
		w.row(keyB, 2, true)
		far := w.listen(3)
		sent := frame.UDP4(macB, macA, frame.Length(9014))
		if !lab.TellsFeatures() {
			// The daemon never says that such a device takes them: it does not.
			w.rule(2, access(10).with(func(r *Rule) { r.MaxFrame = 9014 }))
			w.send(1, sent)
			w.counts(0, "scattered")
			far.Close()
			continue
		}
		w.send(1, sent)
		w.counts(0, "lane")
		w.must(far.SetReadDeadline(time.Now().Add(2 * time.Second)))
		buf := make([]byte, 1<<14)
		n, err := far.Read(buf)
		if err != nil || !bytes.Equal(buf[:n], sent) {
			t.Errorf("mode %d: %d bytes arrived, %v; want all %d", mode, n, err, len(sent))
		}
		far.Close()
	}
}

// listen opens a packet socket on device n.
func (w *world) listen(n int) *os.File {
	w.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	w.must(err)
	w.must(unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: w.dev[n]})) // ETH_P_ALL
	return os.NewFile(uintptr(fd), "packet socket")
}
