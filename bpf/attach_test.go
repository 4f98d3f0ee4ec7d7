// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// vethMode is ModeVeth where the kernel has it.
func vethMode() Mode {
	if lab.TagsTold() {
		return ModeVeth
	}
	return ModeNative
}

// xdpOn returns the id of the XDP program on device n and how it is attached
// (IFLA_XDP_ATTACHED of linux/if_link.h); 0 for none.
func (w *world) xdpOn(n int) (id, mode uint32) {
	w.Helper()
	l, err := netlink.LinkByIndex(w.dev[n])
	w.must(err)
	if x := l.Attrs().Xdp; x != nil && x.Attached {
		return x.ProgId, x.AttachMode
	}
	return 0, 0
}

// Attach modes.
const (
	attachedDriver  = 1
	attachedGeneric = 2
)

// tap makes a tap, up, as the world's next device.
func (w *world) tap() *os.File {
	w.Helper()
	// A native program only sees what is written without blocking.
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	w.must(err)
	name := fmt.Sprintf("t%d", len(w.dev))
	req, err := unix.NewIfreq(name)
	w.must(err)
	req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	w.must(unix.IoctlIfreq(fd, unix.TUNSETIFF, req))
	f := os.NewFile(uintptr(fd), name)
	w.Cleanup(func() { f.Close() })
	l, err := netlink.LinkByName(name)
	w.must(err)
	w.must(netlink.LinkSetUp(l))
	w.dev = append(w.dev, l.Attrs().Index)
	return f
}

// send sends frames out of device n, so that its peer receives them.
func (w *world) send(n int, frames ...[]byte) {
	w.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	w.must(err)
	defer unix.Close(fd)
	for _, b := range frames {
		w.must(unix.Sendto(fd, b, 0, &unix.SockaddrLinklayer{Ifindex: w.dev[n]}))
	}
}

// counts waits until device n has counted something, and checks that it was
// these reasons, once each.
func (w *world) counts(n int, reasons ...string) {
	w.Helper()
	var got []string
	for end := time.Now().Add(2 * time.Second); len(got) < len(reasons) && time.Now().Before(end); time.Sleep(time.Millisecond) {
		got = nil
		for reason, n := range w.counters(n).Frames {
			for range n {
				got = append(got, reason)
			}
		}
	}
	slices.Sort(got)
	slices.Sort(reasons)
	if d := cmp.Diff(reasons, got); d != "" {
		w.Errorf("device %d: counted (-want +got):\n%s", n, d)
	}
}

// Frames go from tap to tap, with the tag that the target wants.
func TestAttachTap(t *testing.T) {
	w := newWorld(t, 0, Config{})
	files := []*os.File{w.tap(), w.tap()}
	w.must(w.lane.AddPort(w.dev[0], ModeNative))
	w.rule(0, access(10).with(func(r *Rule) { r.Checksum = true }))
	w.port(1, trunk())
	w.row(keyA, 0, true)
	w.row(keyB, 1, true)
	w.must(w.lane.Open(time.Hour))
	if _, mode := w.xdpOn(0); mode != attachedDriver {
		t.Errorf("attach mode is %d, want %d", mode, attachedDriver)
	}
	if id, _ := w.xdpOn(1); id != 0 {
		t.Errorf("a target has program %d", id)
	}
	_, err := files[0].Write(frame.UDP4(macB, macA))
	w.must(err)
	w.must(files[1].SetReadDeadline(time.Now().Add(2 * time.Second)))
	buf := make([]byte, 2048)
	n, err := files[1].Read(buf)
	w.must(err)
	if d := cmp.Diff(frame.UDP4(macB, macA, frame.OnVLAN(10)), buf[:n]); d != "" {
		t.Errorf("frame at the target (-want +got):\n%s", d)
	}
	_, err = files[0].Write(frame.UDP4(macB, macA, frame.PartialChecksum()))
	w.must(err)
	w.counts(0, "lane", "checksum")
}

func TestAttachModes(t *testing.T) {
	w := newWorld(t, 4, Config{})
	w.must(w.lane.Open(time.Hour))
	w.port(2, access(10))
	programs := make(map[uint32]bool)
	for _, c := range []struct {
		mode     Mode
		attached uint32
	}{
		{ModeNative, attachedDriver}, {vethMode(), attachedDriver}, {ModeGeneric, attachedGeneric},
		{ModeTarget, 0}, {vethMode(), attachedDriver}, {ModeNative, attachedDriver},
	} {
		w.must(w.lane.AddPort(w.dev[0], c.mode))
		w.rule(0, access(10))
		w.row(keyA, 0, true)
		id, mode := w.xdpOn(0)
		if mode != c.attached || w.lane.Owns(id) != (id != 0) {
			t.Errorf("mode %d: program %d in mode %d, ours: %v", c.mode, id, mode, w.lane.Owns(id))
		}
		programs[id] = true
		want := []Port{{IfIndex: w.dev[0], Mode: c.mode, Rule: access(10)}, {IfIndex: w.dev[2], Rule: access(10)}}
		if d := cmp.Diff(want, w.lane.Ports(), byIfIndex); d != "" {
			t.Errorf("mode %d: ports (-want +got):\n%s", c.mode, d)
		}
		if c.attached != 0 {
			w.send(1, frame.UDP4(macC, macA), frame.UDP4(frame.Broadcast, macA))
			w.counts(0, "group", "unknown")
		}
		w.must(w.lane.RemovePort(w.dev[0]))
		if id, _ := w.xdpOn(0); id != 0 || w.lane.Owns(id) {
			t.Errorf("mode %d: program %d is left", c.mode, id)
		}
	}
	want := 2 // shared, none
	if vethMode() == ModeVeth {
		want += 2 // one each time
	}
	if len(programs) != want {
		t.Errorf("programs: %v, want %d", programs, want)
	}
}

// A tag that Linux keeps beside the frame counts as a tag.
func TestTagBesideTheFrame(t *testing.T) {
	w := newWorld(t, 2, Config{})
	w.tap()
	if !lab.TagsTold() {
		if err := w.lane.AddPort(w.dev[0], ModeVeth); err == nil {
			t.Error("this kernel can't tell of the tag, but the program is attached")
		}
		return
	}
	// What leaves the peer is tagged on its way, as a VLAN device would.
	push, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "GPL",
		Instructions: asm.Instructions{
			asm.Mov.Imm(asm.R2, 0x0081), // ETH_P_8021Q in network byte order
			asm.Mov.Imm(asm.R3, 10),
			asm.FnSkbVlanPush.Call(),
			asm.Mov.Imm(asm.R0, 0),
			asm.Return(),
		},
	})
	w.must(err)
	defer push.Close()
	pushing, err := link.AttachTCX(link.TCXOptions{Interface: w.dev[1], Program: push, Attach: ebpf.AttachTCXEgress})
	w.must(err)
	w.must(w.lane.Open(time.Hour))
	known := func(vlan ovs.VLAN) {
		w.row(Key{1, vlan, macA}, 0, true)
		w.row(Key{1, vlan, macB}, 2, true)
	}
	for _, c := range []struct {
		name   string
		mode   Mode
		rule   Rule
		vlan   ovs.VLAN
		reason string
	}{
		{"known in its VLAN", ModeVeth, trunk(), 10, "odd-tag"},
		{"known untagged only", ModeVeth, trunk(), 0, "new-source"},
		{"access port", ModeVeth, access(10), 10, "vlan"},
		{"VLAN not carried", ModeVeth, trunk(0, 20), 0, "vlan"},
		// What ModeVeth is for: without it the tag is not seen.
		{"without asking", ModeNative, trunk(), 0, "lane"},
	} {
		w.must(w.lane.AddPort(w.dev[0], c.mode))
		w.rule(0, c.rule)
		w.port(2, access(10))
		known(c.vlan)
		w.send(1, frame.UDP4(macB, macA))
		w.counts(0, c.reason)
		if t.Failed() {
			t.Fatal(c.name)
		}
		w.must(w.lane.RemovePort(w.dev[0]))
		w.must(w.lane.RemovePort(w.dev[2]))
	}
	// Untagged, and tagged in the frame, as ever.
	w.must(pushing.Close())
	w.must(w.lane.AddPort(w.dev[0], ModeVeth))
	w.rule(0, trunk())
	w.port(2, access(10))
	known(0)
	known(10)
	w.send(1, frame.UDP4(macB, macA), frame.UDP4(macB, macA, frame.OnVLAN(10)), frame.UDP4(frame.Broadcast, macA, frame.OnVLAN(10)))
	w.counts(0, "lane", "lane", "group")
}

// A program of somebody else stays, and the device does not join.
func TestAttachBusy(t *testing.T) {
	w := newWorld(t, 2, Config{})
	other, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()},
	})
	w.must(err)
	defer other.Close()
	l, err := link.AttachXDP(link.XDPOptions{Program: other, Interface: w.dev[0], Flags: link.XDPDriverMode})
	w.must(err)
	defer l.Close()
	theirs, _ := w.xdpOn(0)
	for _, mode := range []Mode{ModeNative, vethMode()} {
		if err := w.lane.AddPort(w.dev[0], mode); !errors.Is(err, unix.EBUSY) {
			t.Errorf("mode %d: %v, want %v", mode, err, unix.EBUSY)
		}
	}
	if id, _ := w.xdpOn(0); id != theirs || w.lane.Owns(id) {
		t.Errorf("program %d is on the device, was %d; ours: %v", id, theirs, w.lane.Owns(id))
	}
	if p := w.lane.Ports(); len(p) != 0 {
		t.Errorf("ports: %+v", p)
	}
	// It may still be a target.
	w.port(0, access(10))
	if p := w.lane.Ports(); len(p) != 1 || p[0].Gone {
		t.Errorf("ports: %+v", p)
	}
	w.must(w.lane.RemovePort(w.dev[0]))
	w.must(l.Close())
	w.must(w.lane.AddPort(w.dev[0], ModeNative))
}

// A device that is deleted is told as gone, and can be taken off.
func TestDeviceGone(t *testing.T) {
	w := newWorld(t, 8, Config{Ports: 8})
	for n, mode := range []Mode{ModeNative, ModeTarget, vethMode(), ModeNative, ModeGeneric, ModeTarget, ModeNative, ModeNative} {
		w.must(w.lane.AddPort(w.dev[n], mode))
		w.rule(n, access(10))
	}
	w.row(keyA, 0, true)
	w.row(keyB, 6, true)
	for _, n := range []int{0, 2, 4} { // each with its peer
		l, err := netlink.LinkByIndex(w.dev[n])
		w.must(err)
		w.must(netlink.LinkDel(l))
	}
	gone := func() (ifindexes []int) {
		for _, p := range w.lane.Ports() {
			if p.Gone {
				ifindexes = append(ifindexes, p.IfIndex)
			}
		}
		slices.Sort(ifindexes)
		return ifindexes
	}
	if d := cmp.Diff(slices.Sorted(slices.Values(w.dev[:6])), gone()); d != "" {
		t.Errorf("gone (-want +got):\n%s", d)
	}
	for _, ifindex := range w.dev[:6] {
		w.must(w.lane.RemovePort(ifindex))
	}
	if got := gone(); got != nil {
		t.Errorf("still gone: %v", got)
	}
	if d := cmp.Diff([]Row{{Key: keyB, IfIndex: w.dev[6], Target: true}}, w.lane.Rows()); d != "" {
		t.Errorf("rows (-want +got):\n%s", d)
	}
	// Their slots are free for others.
	w.dev = append(w.dev[6:8:8], addVeth(t, 20)...)
	w.dev = append(w.dev, addVeth(t, 22)...)
	w.dev = append(w.dev, addVeth(t, 24)...)
	for _, ifindex := range w.dev[2:] {
		w.must(w.lane.AddPort(ifindex, ModeNative))
	}
}

// Close takes everything along: programs, links, maps.
func TestClose(t *testing.T) {
	w := newWorld(t, 4, Config{})
	w.must(w.lane.AddPort(w.dev[0], ModeNative))
	w.must(w.lane.AddPort(w.dev[1], vethMode()))
	w.must(w.lane.AddPort(w.dev[2], ModeGeneric))
	var programs []ebpf.ProgramID
	for n := range 3 {
		id, _ := w.xdpOn(n)
		if id == 0 {
			t.Fatalf("no program on device %d", n)
		}
		programs = append(programs, ebpf.ProgramID(id))
	}
	var maps []ebpf.MapID
	for name, m := range w.lane.coll.Maps {
		info, err := m.Info()
		w.must(err)
		id, _ := info.ID()
		maps = append(maps, id)
		if m.IsPinned() {
			t.Errorf("map %s is pinned", name)
		}
	}
	for name, p := range w.lane.coll.Programs {
		info, err := p.Info()
		w.must(err)
		id, _ := info.ID()
		programs = append(programs, id)
		if p.IsPinned() {
			t.Errorf("program %s is pinned", name)
		}
	}
	closed, err := New(Config{})
	w.must(err)
	w.must(w.lane.Close())
	w.lane = closed // for the cleanup
	for n := range w.dev {
		if id, _ := w.xdpOn(n); id != 0 {
			t.Errorf("device %d has program %d", n, id)
		}
	}
	left := func() (ids []string) {
		for _, id := range programs {
			if next, err := ebpf.ProgramGetNextID(id - 1); err == nil && next == id {
				ids = append(ids, fmt.Sprint("program ", id))
			}
		}
		// Not opened: an array of programs that is opened and closed again while the
		// kernel is clearing it stays for ever (prog_array_map_clear in
		// kernel/bpf/arraymap.c takes a reference for work that is queued already).
		for _, id := range maps {
			if next, err := ebpf.MapGetNextID(id - 1); err == nil && next == id {
				ids = append(ids, fmt.Sprint("map ", id))
			}
		}
		return ids
	}
	for end := time.Now().Add(20 * time.Second); left() != nil && time.Now().Before(end); {
		runtime.GC() // unmaps variables of programs
		time.Sleep(20 * time.Millisecond)
	}
	if ids := left(); ids != nil {
		t.Errorf("left in the kernel: %v", ids)
	}
}

// A process that is killed leaves nothing on its devices.
func TestKilled(t *testing.T) {
	const ready = "attached"
	if name := os.Getenv("OVS_XDP_ATTACH"); name != "" {
		lane, err := New(Config{})
		if err != nil {
			t.Fatal(err)
		}
		for i, mode := range []Mode{ModeNative, vethMode()} {
			l, err := netlink.LinkByName(fmt.Sprintf("v%d", i))
			if err != nil {
				t.Fatal(err)
			}
			if err := lane.AddPort(l.Attrs().Index, mode); err != nil {
				t.Fatal(err)
			}
		}
		fmt.Println(ready)
		time.Sleep(time.Minute)
		t.Fatal("not killed")
	}
	w := newWorld(t, 2, Config{})
	child := exec.Command(os.Args[0], "-test.run=^TestKilled$")
	child.Env = append(os.Environ(), "OVS_XDP_ATTACH=1")
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := child.StdoutPipe()
	w.must(err)
	w.must(child.Start()) // from this thread, so in this namespace
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != ready {
		t.Log(lines.Text())
	}
	for n := range w.dev {
		if id, _ := w.xdpOn(n); id == 0 {
			t.Errorf("no program on device %d", n)
		}
	}
	w.must(child.Process.Kill())
	_ = child.Wait()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		a, _ := w.xdpOn(0)
		b, _ := w.xdpOn(1)
		if a == 0 && b == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("programs %d and %d are left", a, b)
		}
	}
}
