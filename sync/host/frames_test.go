// SPDX-License-Identifier: Apache-2.0

package host

import (
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The counters are those that the device itself tells with all the rest.
func TestFrames(t *testing.T) {
	run(t, "ip", "link", "add", "counted", "type", "veth", "peer", "name", "counter")
	deviceLater(t, "counted")
	run(t, "ip", "link", "set", "counted", "arp", "off", "up")
	run(t, "ip", "link", "set", "counter", "arp", "off", "up")
	h := openHost(t, kernel{})
	link, err := netlink.LinkByName("counted")
	if err != nil {
		t.Fatal(err)
	}
	ifindex := link.Attrs().Index
	count := func() uint64 {
		n, err := h.Frames(ifindex)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := count()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	const sent = 5
	for range sent {
		if err := unix.Sendto(fd, make([]byte, 60), 0, &unix.SockaddrLinklayer{Ifindex: ifindex}); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(); n < before+sent {
		t.Errorf("%d frames after %d and %d more", n, before, sent)
	}
	link, err = netlink.LinkByIndex(ifindex)
	if err != nil {
		t.Fatal(err)
	}
	n, st := count(), link.Attrs().Statistics
	if told := st.RxPackets + st.TxPackets; n < told || n > told+10 { // IPv6 may speak in between
		t.Errorf("%d frames, and %d by the device itself", n, told)
	}
	if _, err := h.Frames(1 << 30); err == nil {
		t.Error("a device that is not there has counters")
	}
}

func TestParseFramesRefuses(t *testing.T) {
	for name, msg := range map[string][]byte{
		"nothing":      nil,
		"cut off":      make([]byte, sizeofStats-1),
		"no counters":  make([]byte, sizeofStats),
		"short":        append(make([]byte, sizeofStats), 12, 0, statsLink64, 0, 1, 0, 0, 0, 0, 0, 0, 0),
		"another kind": append(make([]byte, sizeofStats), 20, 0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0),
	} {
		if n, err := parseFrames(msg); err == nil {
			t.Errorf("%s: %d frames", name, n)
		}
	}
}

func BenchmarkFrames(b *testing.B) {
	h := openHost(b, kernel{})
	for b.Loop() {
		if _, err := h.Frames(1); err != nil {
			b.Fatal(err)
		}
	}
}
