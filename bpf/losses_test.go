// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

func lossTests() []laneTest {
	loses := func(devices ...int) func(w *world) {
		return func(w *world) {
			for _, n := range devices {
				w.setLoses(n)
			}
		}
	}
	bond := func(w *world) {
		w.port(2, access(10).with(func(r *Rule) { r.Bundle = w.dev[1] }))
		w.rule(1, access(10).with(func(r *Rule) {
			r.Egress = false
			for i := range r.Legs {
				r.Legs[i] = w.dev[2]
			}
		}))
	}
	return on10([]laneTest{
		{name: "target loses frames", frame: tagged(), edit: loses(1), reason: "loses-frames"},
		{name: "target loses frames, push", out: trunk(), frame: tagged(), edit: loses(1), reason: "loses-frames"},
		{name: "target loses frames and is closed", out: access(10).with(func(r *Rule) { r.Egress = false }), frame: tagged(), edit: loses(1), reason: "egress-closed"},
		{name: "target loses frames, observed", in: access(10).with(func(r *Rule) { r.Observe = true }), frame: tagged(), edit: loses(1), reason: "loses-frames"},
		{name: "source's port loses frames", frame: tagged(), edit: loses(0), reason: "lane"},
		{name: "source's port loses frames, new source", frame: frame.UDP4(macB, macNew), edit: loses(0), reason: "new-source", event: &Event{Key: Key{1, 10, macNew}}},
		{name: "member of the bond loses frames", frame: tagged(), edit: func(w *world) { bond(w); w.setLoses(2) }, reason: "loses-frames"},
		{name: "another member of the bond loses frames", frame: tagged(), edit: func(w *world) { bond(w); w.setLoses(1) }, reason: "lane", to: 2},
		{name: "target is tried again", frame: tagged(), reason: "lane", edit: func(w *world) {
			w.setLoses(1)
			w.lane.RetryPort(w.dev[1])
		}},
		{name: "target has left and joined again", frame: tagged(), reason: "lane", edit: func(w *world) {
			again := func() {
				w.must(w.lane.RemovePort(w.dev[1]))
				w.must(w.lane.settlePorts())
				w.port(1, access(10))
			}
			again()
			slot := mustSlot(w, 1)
			w.setLoses(1)
			again()
			if got := mustSlot(w, 1); got != slot {
				w.Errorf("slot %d, was %d: the case shows nothing", got, slot)
			}
			w.row(keyB, 1, true)
		}},
	})
}

// setLoses marks device n as the program does.
func (w *world) setLoses(n int) {
	w.Helper()
	slot, ok := w.lane.ports.slotOf(w.dev[n])
	if !ok {
		w.Fatalf("device %d is not on the lane", n)
	}
	w.lane.ports.slots[slot].Loses = 1
}

// live has n frames come from device from, and carries out what the program
// says of them as a driver does. Signals may have more frames come.
func (w *world) live(from int, b []byte, n int) {
	w.Helper()
	w.liveRounds(from, b, n, batch)
}

// liveRounds does that in rounds of so many frames.
func (w *world) liveRounds(from int, b []byte, n, round int) {
	w.Helper()
	const liveFrames = 1 << 1 // BPF_F_TEST_XDP_LIVE_FRAMES (Linux 5.18)
	_, err := w.lane.coll.Programs[laneProgOvsXdp].Run(&ebpf.RunOptions{
		Data: b, Repeat: uint32(n), Flags: liveFrames, BatchSize: uint32(round),
		Context: xdpMD{DataEnd: uint32(len(b)), IngressIfindex: uint32(w.dev[from])},
	})
	if err != nil {
		w.Fatalf("run the program on live frames: %v", err)
	}
}

// onOneCPU keeps the thread to one CPU: what the other has sent to a device
// before would count for the device.
func (w *world) onOneCPU() {
	w.Helper()
	var all, one unix.CPUSet
	w.must(unix.SchedGetaffinity(0, &all))
	for cpu := range 1024 {
		if all.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	w.must(unix.SchedSetaffinity(0, &one)) // the thread ends with the test
}

// gro turns GRO of device n of the first pairs on or off.
func (w *world) gro(n int, state string) {
	w.Helper()
	// The command inherits the thread's namespace.
	if out, err := exec.Command("ethtool", "-K", fmt.Sprintf("v%d", n), "gro", state).CombinedOutput(); err != nil {
		w.Fatalf("ethtool -K v%d gro %s: %v: %s", n, state, err, out)
	}
}

// batch is how many frames may be under way towards a device when the first is
// lost: those of one round of a live test run, on one CPU.
const batch = 64

// loses checks what there is to see when device n loses frames of device 0: so
// many before the program takes note, and those that are under way then.
func (w *world) loses(n int, sent, most int) {
	w.Helper()
	to, from := w.counters(n), w.counters(0)
	if to.Lost < uint64(most) || to.Lost > uint64(most+batch) || to.Lost > to.Sent {
		w.Errorf("%d frames were lost, want %d to %d; sent to the device: %d", to.Lost, most, most+batch, to.Sent)
	}
	if from.Lane+from.Frames["loses-frames"] < uint64(sent) || from.Frames["loses-frames"] == 0 {
		w.Errorf("of %d frames %d took the lane, others: %v", sent, from.Lane, from.Frames)
	}
	if d := cmp.Diff([]int{w.dev[n]}, w.lane.Losing()); d != "" {
		w.Errorf("devices that lose frames (-want +got):\n%s", d)
	}
	for i := range w.dev {
		if got := w.lane.Loses(w.dev[i]); got != (i == n) {
			w.Errorf("Loses(device %d) is %v", i, got)
		}
	}
	for _, p := range w.lane.Ports() {
		if p.Loses != (p.IfIndex == w.dev[n]) {
			w.Errorf("port %+v", p)
		}
	}
	if d := cmp.Diff([]Event{{IfIndex: w.dev[n], Loses: true}}, w.events()); d != "" {
		w.Errorf("events (-want +got):\n%s", d)
	}
}

// noLosses checks that all frames of device 0 arrive at device n from here on.
func (w *world) noLosses(n int, send func()) {
	w.Helper()
	w.lane.RetryPort(w.dev[n])
	before, from := w.counters(n), w.counters(0)
	send()
	after, now := w.counters(n), w.counters(0)
	if after.Lost != before.Lost || after.Sent == before.Sent || now.Frames["loses-frames"] != from.Frames["loses-frames"] {
		w.Errorf("after a retry: %+v, before %+v", after, before)
	}
	if got := w.lane.Losing(); len(got) != 0 || len(w.events()) != 0 {
		w.Errorf("devices that lose frames: %v", got)
	}
}

// A veth whose far end has its GRO turned off takes no redirected frame. From
// Linux 6.3 on the kernel does not even try (xdp_redirect_err), before that the
// driver refuses (xdp_devmap_xmit).
func TestVethLosesFrames(t *testing.T) {
	w := newWorld(t, 4, Config{})
	w.gro(3, "on")
	w.reset()
	w.port(0, access(10))
	w.port(2, access(10))
	w.row(keyA, 0, true)
	w.row(keyB, 2, true)
	w.noLosses(2, func() { w.live(0, tagged(), 200) })
	w.gro(3, "off")
	first := int(w.counters(0).Lane)
	w.live(0, tagged(), 1000)
	w.loses(2, first+1000, 1)
	w.gro(3, "on")
	w.noLosses(2, func() { w.live(0, tagged(), 200) })
}

// A tap whose queue nobody reads takes frames until it is full.
func TestTapLosesFrames(t *testing.T) {
	w := newWorld(t, 2, Config{})
	queue := w.tap()
	w.onOneCPU()
	w.reset()
	w.port(0, access(10))
	w.port(2, access(10))
	w.row(keyA, 0, true)
	w.row(keyB, 2, true)
	const sent = 3000 // more than a queue holds
	w.live(0, tagged(), sent)
	w.loses(2, sent, int(laneLimitsLOSS_BURST))
	w.live(0, tagged(), 100)
	if c := w.counters(0); c.Frames["loses-frames"] < 100 {
		t.Errorf("frames take the lane to a device that loses them: %v", c.Frames)
	}
	// Nobody reads yet: a retry loses some more, and says so again.
	lost := w.counters(2).Lost
	w.lane.RetryPort(w.dev[2])
	w.live(0, tagged(), 1000)
	if again := w.counters(2).Lost - lost; again == 0 || again > batch {
		t.Errorf("a retry lost %d frames, want 1 to %d", again, batch)
	}
	if d := cmp.Diff([]Event{{IfIndex: w.dev[2], Loses: true}}, w.events()); d != "" {
		t.Errorf("events of the retry (-want +got):\n%s", d)
	}
	w.empty(queue)
	w.noLosses(2, func() { w.live(0, tagged(), 200) })
}

// empty reads all frames that wait in a tap's queue, and returns how many.
func (w *world) empty(queue *os.File) int {
	w.Helper()
	conn, err := queue.SyscallConn()
	w.must(err)
	n := 0
	var failed error
	w.must(conn.Read(func(fd uintptr) bool {
		buf := make([]byte, 2048)
		for ; failed == nil; n++ {
			_, failed = unix.Read(int(fd), buf)
		}
		n--
		return true
	}))
	if !errors.Is(failed, unix.EAGAIN) {
		w.Fatal(failed)
	}
	return n
}

// A queue that is read, and full now and then, loses frames with OVS as well: its
// port stays on the lane, and what it loses is counted. One that loses more than
// it may leaves the lane.
func TestFullNowAndThen(t *testing.T) {
	w := newWorld(t, 2, Config{})
	queue := w.tap()
	w.onOneCPU()
	for _, c := range []struct {
		share  int // one frame in so many is lost
		closed bool
	}{{2 * int(laneLimitsLOSS_SHARE), false}, {2, true}} {
		w.reset()
		w.port(0, access(10))
		w.port(2, access(10))
		w.row(keyA, 0, true)
		w.row(keyB, 2, true)
		w.empty(queue)
		for rounds := 0; w.counters(2).Lost == 0; rounds++ {
			if rounds == 100 {
				t.Fatalf("%d frames were sent to a queue that nobody reads, and none was lost", w.counters(2).Sent)
			}
			w.live(0, tagged(), batch)
		}
		holds := int(w.counters(2).Sent - w.counters(2).Lost)
		for rounds := 0; w.counters(2).Lost < 2*uint64(laneLimitsLOSS_BURST) && rounds < 50; rounds++ {
			if got := w.empty(queue); got != holds && !c.closed {
				t.Fatalf("%d frames arrived, want %d", got, holds)
			}
			w.live(0, tagged(), holds*c.share/(c.share-1))
		}
		to := w.counters(2)
		if (len(w.lane.Losing()) > 0) != c.closed || to.Lost < uint64(laneLimitsLOSS_BURST) {
			t.Errorf("one frame in %d is lost: devices that lose frames are %v; %d of %d were lost", c.share, w.lane.Losing(), to.Lost, to.Sent)
		}
		if passed := w.counters(0).Frames["loses-frames"]; (passed > 0) != c.closed {
			t.Errorf("one frame in %d is lost: %d passed", c.share, passed)
		}
	}
}

// The tracepoints are those of the whole host: a device of another network
// namespace may have the same number.
func TestLossesOfAnotherNamespace(t *testing.T) {
	first, second := newWorld(t, 2, Config{}), newWorld(t, 2, Config{})
	second.tap()
	for _, w := range []*world{first, second} {
		w.enter(t)
		if w == first {
			w.tap()
		}
		w.reset()
		w.port(0, access(10))
		w.port(2, access(10))
		w.row(keyA, 0, true)
		w.row(keyB, 2, true)
	}
	if first.dev[2] != second.dev[2] {
		t.Fatalf("devices are %v and %v: the test shows nothing", first.dev, second.dev)
	}
	second.enter(t).onOneCPU()
	second.live(0, tagged(), 3000)
	second.loses(2, 3000, int(laneLimitsLOSS_BURST))
	if got, c := first.lane.Losing(), first.counters(2); len(got) != 0 || c.Lost != 0 {
		t.Errorf("devices that lose frames in the other namespace: %v, lost %d", got, c.Lost)
	}
}

// Where the tracepoints can't be had, the error says what to do, and the lane
// works without.
func TestLossesUnseen(t *testing.T) {
	w := newWorld(t, 2, Config{})
	if err := w.lane.LossesUnseen(); err != nil {
		t.Fatal(err)
	}
	w.lane.spec.Programs[laneProgDevmapLost].AttachTo = "xdp_no_such"
	err := w.lane.watchLosses()
	if err == nil || !strings.Contains(err.Error(), "CONFIG_DEBUG_INFO_BTF") {
		t.Errorf("tracepoint that does not exist: %v", err)
	}
	for err, hint := range map[error]string{unix.EPERM: "CAP_PERFMON", ebpf.ErrNotSupported: "/sys/kernel/btf/vmlinux"} {
		if !strings.Contains(lossHint(fmt.Errorf("load: %w", err)), hint) {
			t.Errorf("%v: hint %q says nothing of %s", err, lossHint(err), hint)
		}
	}
}
