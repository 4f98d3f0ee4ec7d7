// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

var (
	macA = ovs.MAC{0x52, 0x54, 0, 0, 0, 0x0a}
	macB = ovs.MAC{0x52, 0x54, 0, 0, 0, 0x0b}
	macC = ovs.MAC{0x52, 0x54, 0, 0, 0, 0x0c}
)

// Writing to the tables neither closes the lane nor shortens its lease.
func TestLeaseOutlivesWrites(t *testing.T) {
	w := newWorld(t, 2, Config{})
	w.port(0, access(10))
	w.port(1, access(10))
	w.must(w.lane.Open(time.Hour))
	w.row(Key{1, 10, macA}, 0, true)
	w.row(Key{1, 10, macB}, 1, true)
	if v, _ := w.run(0, frame.UDP4(macB, macA), 0); v != xdpRedirect {
		t.Errorf("verdict after writing rows is %d, want %d; counted %v", v, xdpRedirect, w.counters(0).Frames)
	}
	if err := w.lane.Renew(time.Hour); err != nil {
		t.Errorf("renew after writing rows: %v", err)
	}
}

func TestLease(t *testing.T) {
	w := newWorld(t, 2, Config{})
	w.port(0, access(10))
	w.port(1, access(10))
	w.row(Key{1, 10, macA}, 0, true)
	w.row(Key{1, 10, macB}, 1, true)
	expect := func(when, reason string) {
		t.Helper()
		before := w.counters(0)
		v, _ := w.run(0, frame.UDP4(macB, macA), 0)
		if n := w.counters(0).Frames[reason] - before.Frames[reason]; n != 1 || (v == xdpRedirect) != (reason == "lane") {
			t.Errorf("%s: verdict %d, %q counted %d times", when, v, reason, n)
		}
	}
	expect("before it was opened", "lease")
	if err := w.lane.Renew(time.Hour); !errors.Is(err, ErrExpired) {
		t.Errorf("renew of a lane that was never open: %v", err)
	}
	expect("after a renewal that came before Open", "lease")

	w.must(w.lane.Open(200 * time.Millisecond))
	expect("open", "lane")
	time.Sleep(300 * time.Millisecond)
	expect("after its time", "lease")
	if err := w.lane.Renew(time.Hour); !errors.Is(err, ErrExpired) {
		t.Errorf("renew after its time: %v", err)
	}
	expect("after a renewal that came late", "lease")

	w.must(w.lane.Open(200 * time.Millisecond))
	w.must(w.lane.Renew(time.Hour))
	time.Sleep(300 * time.Millisecond)
	expect("renewed in time", "lane")
	w.must(w.lane.Renew(100 * time.Millisecond))
	time.Sleep(200 * time.Millisecond)
	expect("after a renewal that shortened it", "lease")

	w.must(w.lane.Open(time.Hour))
	w.must(w.lane.Shut())
	expect("shut", "lease")
	if err := w.lane.Renew(time.Hour); !errors.Is(err, ErrExpired) {
		t.Errorf("renew of a lane that was shut: %v", err)
	}
}
