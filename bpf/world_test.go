// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// The main thread never ends, so no test may carry it into a namespace.
func init() { runtime.LockOSThread() }

// Verdicts of an XDP program (enum xdp_action of linux/bpf.h).
const (
	xdpDrop     = 1
	xdpRedirect = 4
)

// world is a network namespace with veth devices, and a Lane in it. No port is
// on the Lane and no program is attached.
type world struct {
	testing.TB
	lane *Lane
	ns   netns.NsHandle
	dev  []int // ifindexes
}

// newWorld makes a world with an even number of devices. The test's goroutine
// stays in its namespace.
func newWorld(t testing.TB, devices int, cfg Config) *world {
	t.Helper()
	w := &world{TB: t}
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	var err error
	if w.ns, err = netns.New(); err != nil {
		t.Fatalf("make network namespace (root needed): %v", err)
	}
	t.Cleanup(func() { w.ns.Close() })
	// No device sends of its own accord.
	for _, which := range []string{"all", "default"} {
		err := os.WriteFile("/proc/sys/net/ipv6/conf/"+which+"/disable_ipv6", []byte("1"), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	for len(w.dev) < devices {
		w.dev = append(w.dev, addVeth(t, len(w.dev))...)
	}
	if w.lane, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.lane.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return w
}

// enter returns the world for a subtest or another goroutine, whose thread
// joins the namespace.
func (w *world) enter(t testing.TB) *world {
	t.Helper()
	runtime.LockOSThread()
	if err := netns.Set(w.ns); err != nil {
		t.Fatalf("enter network namespace: %v", err)
	}
	sub := *w
	sub.TB = t
	return &sub
}

// addVeth makes a pair of devices, up, and returns their ifindexes.
func addVeth(t testing.TB, n int) []int {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = fmt.Sprintf("v%d", n)
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: fmt.Sprintf("v%d", n+1)}); err != nil {
		t.Fatalf("make veth pair: %v", err)
	}
	var ifindexes []int
	for i := range 2 {
		l, err := netlink.LinkByName(fmt.Sprintf("v%d", n+i))
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkSetUp(l); err != nil {
			t.Fatal(err)
		}
		ifindexes = append(ifindexes, l.Attrs().Index)
	}
	return ifindexes
}

// reset empties the tables, zeroes the counters and opens the lane.
func (w *world) reset() {
	w.Helper()
	for _, p := range w.lane.Ports() {
		w.must(w.lane.RemovePort(p.IfIndex))
	}
	w.events()
	w.must(w.lane.Open(time.Hour))
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// port puts device n on the lane.
func (w *world) port(n int, r Rule) {
	w.Helper()
	w.must(w.lane.AddPort(w.dev[n], ModeTarget))
	w.rule(n, r)
}

// rule changes the rule of device n.
func (w *world) rule(n int, r Rule) {
	w.Helper()
	w.must(w.lane.SetRule(w.dev[n], r))
}

// row puts a station on device n.
func (w *world) row(k Key, n int, target bool) {
	w.Helper()
	ok, err := w.lane.PutRow(Row{Key: k, IfIndex: w.dev[n], Target: target})
	w.must(err)
	if !ok || !w.lane.Confirm(k) {
		w.Fatalf("row %s was not confirmed", k)
	}
}

// changeRow writes a part of a row behind the Lane's back.
func (w *world) changeRow(k Key, change func(*laneRow)) {
	w.Helper()
	p, ok := w.lane.fdb.find(k.word())
	if !ok {
		w.Fatalf("no row %s", k)
	}
	r := rowOf(*w.lane.fdb.rowAt(p))
	change(&r)
	*w.lane.fdb.rowAt(p) = r.word()
}

// xdpMD is struct xdp_md of linux/bpf.h.
type xdpMD struct {
	Data, DataEnd, DataMeta, IngressIfindex, RXQueueIndex, EgressIfindex uint32
}

// run gives one frame from device n to the program, and returns its verdict
// and the frame as it left. The first meta bytes of the room in front of the
// frame are taken for metadata.
func (w *world) run(n int, frame []byte, meta int) (uint32, []byte) {
	w.Helper()
	data := append(make([]byte, meta), frame...)
	out := make([]byte, len(data)+64)
	opts := &ebpf.RunOptions{
		Data:    data,
		DataOut: out,
		Context: xdpMD{Data: uint32(meta), DataEnd: uint32(len(data)), IngressIfindex: uint32(w.dev[n])},
	}
	verdict, err := w.lane.coll.Programs[laneProgOvsXdp].Run(opts)
	if err != nil {
		w.Fatalf("run program on %d bytes: %v", len(data), err)
	}
	return verdict, opts.DataOut[meta:]
}

// counters reads the counters of device n.
func (w *world) counters(n int) Counters {
	w.Helper()
	c, err := w.lane.Counters(w.dev[n])
	w.must(err)
	return c
}

// events returns the events that are waiting.
func (w *world) events() []Event {
	w.Helper()
	var all []Event
	for w.lane.EventsWaiting() {
		events, err := w.lane.ReadEvents(time.Unix(1, 0))
		w.must(err)
		all = append(all, events...)
	}
	return all
}

// seeded returns random numbers that OVS_XDP_SEED repeats.
func seeded(t testing.TB) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("OVS_XDP_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("OVS_XDP_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// Rules of ports on bridge 1 that take everything.
func carrying(mode VLANMode, vid ovs.VLAN, vlans ovs.VLANSet) Rule {
	return Rule{
		Watch: true, Ingress: true, Egress: true, VLANMode: mode, VID: vid, VLANs: vlans,
		MaxFrame: 1514, Bridge: 1, KeepAlive: 60 * time.Second,
	}
}

func access(vid ovs.VLAN) Rule { return carrying(Access, vid, ovs.VLANs(vid)) }

func trunk(vlans ...ovs.VLAN) Rule {
	if len(vlans) == 0 {
		return carrying(Trunk, 0, ovs.AllVLANs())
	}
	return carrying(Trunk, 0, ovs.VLANs(vlans...))
}

func native(mode VLANMode, vid ovs.VLAN) Rule {
	vlans := ovs.AllVLANs()
	vlans.Remove(0)
	return carrying(mode, vid, vlans)
}

// with returns the rule with a change.
func (r Rule) with(change func(*Rule)) Rule {
	change(&r)
	return r
}
