// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// A tap may hand over a socket buffer, in which the checksum stays marked as
// unfinished whatever the program does: that of a frame to be segmented, and of
// one that is written in the long way. These are not touched.
func TestFinishOnTap(t *testing.T) {
	w := newWorld(t, 2, Config{FinishChecksums: true})
	w.reset()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	w.must(err)
	defer unix.Close(fd)
	req, err := unix.NewIfreq("t0")
	w.must(err)
	req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	w.must(unix.IoctlIfreq(fd, unix.TUNSETIFF, req))
	l, err := netlink.LinkByName("t0")
	w.must(err)
	w.must(netlink.LinkSetUp(l))
	w.dev = append(w.dev, l.Attrs().Index)
	const tap = 2
	w.must(w.lane.AddPort(w.dev[tap], ModeNative))
	w.rule(tap, access(10).with(func(r *Rule) { r.Checksum = true }))
	// A veth delivers what is redirected to it when its far end has XDP.
	w.must(w.lane.AddPort(w.dev[1], ModeNative))
	w.port(0, access(10))
	w.row(keyA, tap, true)
	w.row(keyB, 0, true)

	// struct virtio_net_hdr: VIRTIO_NET_HDR_F_NEEDS_CSUM, where the TCP header
	// starts and where in it the field is.
	plain := []byte{1, 0, 0, 0, 0, 0, 34, 0, 16, 0}
	segmented := changed(plain, 1, 1, 54, 0, 100, 0) // VIRTIO_NET_HDR_GSO_TCPV4, 100 bytes each
	bare := "lane"
	if lab.TapsTakeMetadata() {
		bare = "checksum"
	}
	for _, c := range []struct {
		name     string
		header   []byte
		blocking bool
		reason   string
	}{
		{"bare frame", plain, false, bare},
		{"to be segmented", segmented, false, "checksum"},
		{"written in the long way", plain, true, "checksum"},
	} {
		w.must(unix.SetNonblock(fd, !c.blocking))
		b := frame.TCP4(macB, macA, frame.PartialChecksum(), frame.Payload(make([]byte, 300)))
		before := w.counters(tap)
		_, err := unix.Write(fd, append(slices.Clone(c.header), b...))
		w.must(err)
		after := w.counters(tap)
		if after.Frames[c.reason] != before.Frames[c.reason]+1 || (after.Finished != before.Finished) != (c.reason == "lane") {
			t.Errorf("%s: %d finished, counted %v before and %v after, want %s", c.name, after.Finished-before.Finished, before.Frames, after.Frames, c.reason)
		}
	}
}

// In generic mode a frame takes its socket buffer along.
func TestFinishInGenericMode(t *testing.T) {
	w := newWorld(t, 4, Config{FinishChecksums: true})
	w.reset()
	w.must(w.lane.AddPort(w.dev[0], ModeGeneric))
	w.rule(0, access(10).with(func(r *Rule) { r.Checksum = true }))
	w.port(2, access(10))
	w.row(keyA, 0, true)
	w.row(keyB, 2, true)
	w.send(1, frame.TCP4(macB, macA, frame.PartialChecksum()))
	w.counts(0, "checksum")
	if n := w.counters(0).Finished; n > 0 {
		t.Errorf("%d checksums were finished", n)
	}
}

// A Lane that takes over finishes checksums if it was told to, whatever the
// other one did; a port has to say on the way whether its frames are bare.
func TestFinishAfterHandOver(t *testing.T) {
	w, modes := handed(t)
	dir := pins(t)
	w.rule(0, bare(access(10)))
	w.rule(2, access(10))
	sent, right := frame.TCP4(macB, macA, frame.PartialChecksum()), frame.TCP4(macB, macA)
	if v, got := w.run(0, sent, 0); v != xdpPass || !bytes.Equal(got, sent) {
		t.Errorf("before: verdict %d and % x", v, got)
	}
	w.must(w.lane.PinTables(dir))
	heir, err := Adopt(dir, Config{FinishChecksums: true})
	w.must(err)
	w.must(w.lane.PinLinks(dir))
	w.must(heir.AdoptPorts(dir, modes))
	if !heir.Holds(w.dev[0], bare(access(10))) || heir.Holds(w.dev[0], bare(access(10)).with(func(r *Rule) { r.Finish = false })) {
		t.Error("the heir does not know that frames of a port are bare")
	}
	w.must(heir.Swap())
	w.must(w.lane.UnpinLinks())
	w.must(w.lane.Close())
	w.lane = heir
	if v, got := w.run(0, sent, 0); v != xdpRedirect || !bytes.Equal(got, right) || w.counters(0).Finished != 1 {
		t.Errorf("afterwards: verdict %d, %d finished, and % x", v, w.counters(0).Finished, got)
	}
}
