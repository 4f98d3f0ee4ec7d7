// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/fdb"
	"github.com/ovs-xdp/ovs-xdp/ovs/ofctl"
	"github.com/ovs-xdp/ovs-xdp/ovs/ovsdb"
	"github.com/ovs-xdp/ovs-xdp/ovs/ovsdb/ovstest"
	"github.com/ovs-xdp/ovs-xdp/ovs/unixctl"
)

// host is an Open vSwitch with a bridge br0, ports vm0 (number 1, access VLAN
// 10) and vm1 (number 2, trunk), and an Observer of it.
type host struct {
	*ovstest.OVS
	*Observer
}

func newHost(t *testing.T) *host {
	t.Helper()
	o := ovstest.Start(t)
	for _, vm := range []string{"vm0", "vm1"} {
		o.Run("ip", "link", "add", vm, "type", "veth", "peer", "name", vm+"p")
		o.Run("ip", "link", "set", vm, "up")
		o.Run("ip", "link", "set", vm+"p", "up")
	}
	o.Vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev", "external_ids:xdp-offload=on",
		"--", "add-port", "br0", "vm0", "tag=10", "--", "set", "interface", "vm0", "ofport_request=1",
		"--", "add-port", "br0", "vm1", "--", "set", "interface", "vm1", "ofport_request=2")
	s, err := ovsdb.Dial(t.Context(), "unix:"+o.DBSocket(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return &host{o, New(Config{
		Database: s,
		Control:  &unixctl.Client{Socket: o.CtlSocket()},
		OpenFlow: &ofctl.Client{Rundir: o.Dir()},
		Want:     func(b *ovs.Bridge) bool { return b.ExternalIDs["xdp-offload"] == "on" },
	})}
}

// until looks until good is true of br0.
func (h *host) until(t *testing.T, limit time.Duration, what string, good func(*ovs.Bridge) bool) *ovs.Bridge {
	t.Helper()
	var last ovs.Bridge
	for start := time.Now(); time.Since(start) < limit; time.Sleep(50 * time.Millisecond) {
		last = look(t, h.Observer)["br0"]
		if last.DetailError != "" {
			t.Logf("%s: %s", what, last.DetailError)
		} else if good(&last) {
			return &last
		}
	}
	t.Fatalf("%s: not within %v; last: %+v %+v", what, limit, last, last.Detail)
	return nil
}

// settle looks until the OpenFlow part of br0 is kept.
func (h *host) settle(t *testing.T) {
	t.Helper()
	h.until(t, 10*time.Second, "a bridge that stands still", func(b *ovs.Bridge) bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.memories[b.UUID].openFlow != nil
	})
}

// send puts a frame on the wire at a device of the host's namespace.
func (h *host) send(t *testing.T, device, frame string) {
	t.Helper()
	bytes, err := hex.DecodeString(strings.ReplaceAll(frame, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its namespace
		failed <- sendIn(h.NetNS(), device, bytes)
	}()
	if err := <-failed; err != nil {
		t.Fatalf("send at %s: %v", device, err)
	}
}

func sendIn(namespace, device string, frame []byte) error {
	ns, err := os.Open(namespace)
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	link, err := net.InterfaceByName(device)
	if err != nil {
		return err
	}
	socket, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	return unix.Sendto(socket, frame, 0, &unix.SockaddrLinklayer{Ifindex: link.Index})
}

const payload = "88b5" + "00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"

func TestOpenVSwitchDetail(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.Vsctl("add-br", "other", "--", "set", "bridge", "other", "datapath_type=netdev")
	h.Run("ovs-appctl", "fdb/add", "br0", "vm1", "20", "52:54:00:00:00:03")
	learned := func(want ovs.FDBEntry) func(b *ovs.Bridge) bool {
		return func(b *ovs.Bridge) bool {
			return slices.ContainsFunc(b.Detail.FDB, func(e ovs.FDBEntry) bool {
				return e.OFPort == want.OFPort && e.VLAN == want.VLAN && e.MAC == want.MAC && e.Static == want.Static && e.Age < 10
			})
		}
	}
	h.send(t, "vm0p", "ffffffffffff 525400000001"+payload)
	h.send(t, "vm1p", "ffffffffffff 525400000002 8100001e"+payload)
	h.until(t, 5*time.Second, "station at vm0", learned(ovs.FDBEntry{OFPort: 1, VLAN: 10, MAC: ovs.MAC{0x52, 0x54, 0, 0, 0, 1}}))
	h.until(t, 5*time.Second, "station at vm1", learned(ovs.FDBEntry{OFPort: 2, VLAN: 30, MAC: ovs.MAC{0x52, 0x54, 0, 0, 0, 2}}))
	b := h.until(t, 5*time.Second, "static row", learned(ovs.FDBEntry{OFPort: 2, VLAN: 20, MAC: ovs.MAC{0x52, 0x54, 0, 0, 0, 3}, Static: true}))

	if len(b.Detail.Rules) != 1 || !b.Detail.Rules[0].IsNormal() || b.Detail.HiddenRules != 0 || b.Detail.FragMode != "normal" {
		t.Errorf("a plain bridge: %+v", b.Detail)
	}
	for _, n := range []uint32{1, 2, ovs.LocalPort} {
		if c, ok := b.Detail.PortConfig[n]; !ok || c.NoFwd || c.NoRecv {
			t.Errorf("port config of %d: %+v, %v", n, c, ok)
		}
	}
	if other := look(t, h.Observer)["other"]; other.Detail != nil || other.DetailError != "" || other.UUID == "" {
		t.Errorf("a bridge that nobody wants: %+v", other)
	}

	// The station moves.
	h.send(t, "vm1p", "ffffffffffff 525400000001 8100000a"+payload)
	h.until(t, 5*time.Second, "station moved", learned(ovs.FDBEntry{OFPort: 2, VLAN: 10, MAC: ovs.MAC{0x52, 0x54, 0, 0, 0, 1}}))
}

func TestOpenVSwitchForget(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.settle(t)
	h.Run("ovs-ofctl", "add-flow", "br0", "priority=7,ip,actions=drop")
	h.Run("ovs-ofctl", "mod-port", "br0", "vm1", "no-forward")
	h.Run("ovs-ofctl", "set-frags", "br0", "drop")
	if d := look(t, h.Observer)["br0"].Detail; len(d.Rules) != 1 || d.PortConfig[2].NoFwd || d.FragMode != "normal" {
		t.Errorf("the OpenFlow part was read again unasked: %+v", d)
	}
	h.Forget("br0")
	if d := look(t, h.Observer)["br0"].Detail; len(d.Rules) != 2 || !d.PortConfig[2].NoFwd || d.FragMode != "drop" {
		t.Errorf("after Forget: %+v", d)
	}

	// A new port is a change in the database: no Forget is needed.
	h.settle(t)
	h.Vsctl("add-port", "br0", "int0", "--", "set", "interface", "int0", "type=internal", "ofport_request=9")
	h.until(t, 5*time.Second, "port config of the new port", func(b *ovs.Bridge) bool {
		_, ok := b.Detail.PortConfig[9]
		return ok
	})
	h.Vsctl("del-br", "br0")
	if bs := look(t, h.Observer); len(bs) != 0 {
		t.Errorf("bridges after the removal: %+v", bs)
	}
}

func TestOpenVSwitchHiddenRules(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.settle(t)
	hidden := func(want int) func(*ovs.Bridge) bool {
		return func(b *ovs.Bridge) bool { return b.Detail.HiddenRules == want }
	}
	h.Vsctl("set-fail-mode", "br0", "secure")
	h.Vsctl("set-controller", "br0", "tcp:127.0.0.1:1")
	b := h.until(t, 5*time.Second, "in-band rules", hidden(7))
	if len(b.Detail.Rules) != 0 {
		t.Errorf("rules of a secure bridge: %+v", b.Detail.Rules)
	}
	h.Vsctl("set", "controller", "br0", "connection_mode=out-of-band")
	h.until(t, 5*time.Second, "no in-band rules", hidden(0))
	// Nothing answers at the controller's port: after a while the bridge is
	// its own master, without a word in the database.
	h.Vsctl("set-fail-mode", "br0", "standalone")
	h.settle(t)
	h.until(t, 40*time.Second, "fail-open rule", hidden(1))
	h.Vsctl("set-fail-mode", "br0", "secure")
	h.until(t, 5*time.Second, "no fail-open rule", hidden(0))
}

// A bridge that ovs-vswitchd can't make leaves the others alone.
func TestOpenVSwitchPartialFailure(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.Vsctl("--no-wait", "add-br", "bad", "--", "set", "bridge", "bad", "datapath_type=nonsense", "external_ids:xdp-offload=on")
	time.Sleep(200 * time.Millisecond)
	bs := look(t, h.Observer)
	if bad := bs["bad"]; bad.Detail != nil || bad.DetailError == "" {
		t.Errorf("bad: %+v", bad)
	} else {
		t.Log(bad.DetailError)
	}
	if bs["br0"].Detail == nil {
		t.Errorf("br0: %+v", bs["br0"])
	}
}

func TestOpenVSwitchDaemonKilled(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.settle(t)
	h.KillDaemon()
	if snap, err := h.Look(t.Context()); err == nil {
		t.Errorf("Look without ovs-vswitchd: %+v", snap)
	} else {
		t.Log(err)
	}
	h.ForgetAll() // the first to fail is now ovs-ofctl
	if snap, err := h.Look(t.Context()); err == nil {
		t.Errorf("Look without ovs-vswitchd: %+v", snap)
	} else {
		t.Log(err)
	}
}

func TestOpenVSwitchDatabaseKilled(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	look(t, h.Observer)
	h.KillDatabase()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if snap, err := h.Look(ctx); err == nil {
		t.Errorf("Look without a database: %+v", snap)
	} else {
		t.Log(err)
	}
}

// What is kept of the MAC table is what OVS has, whatever has changed it.
func TestOpenVSwitchTableIsKept(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	kept := func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return slices.ContainsFunc(slices.Collect(maps.Values(h.memories)), func(m memory) bool { return m.table != nil })
	}
	rows := func(list []ovs.FDBEntry) []string {
		var out []string
		for _, e := range list {
			out = append(out, fmt.Sprintf("%d %d %s %t", e.OFPort, e.VLAN, e.MAC, e.Static))
		}
		slices.Sort(out)
		return out
	}
	// show is the table as OVS prints it now, without ages and order.
	show := func() []string {
		t.Helper()
		list, err := fdb.Parse(h.Run("ovs-appctl", "fdb/show", "br0") + "\n") // Run trims
		if err != nil {
			t.Fatal(err)
		}
		return rows(list)
	}
	at := func(device, mac, tag string) func() {
		return func() { h.send(t, device, "ffffffffffff "+mac+tag+payload) }
	}
	ctl := func(args ...string) func() { return func() { h.Run("ovs-appctl", args...) } }
	const tag10 = "8100000a"
	for _, step := range []struct {
		what    string
		do      func()
		changes bool
	}{
		{"a station", at("vm0p", "525400000001", ""), true},
		{"the same again", at("vm0p", "525400000001", ""), false},
		{"another", at("vm1p", "525400000002", tag10), true},
		{"one moves", at("vm1p", "525400000001", tag10), true},
		{"and back", at("vm0p", "525400000001", ""), true},
		{"two change places", func() { at("vm1p", "525400000001", tag10)(); at("vm0p", "525400000002", "")() }, true},
		{"a static row", ctl("fdb/add", "br0", "vm1", "10", "52:54:00:00:00:03"), true},
		{"one that was learned becomes static", ctl("fdb/add", "br0", "vm0", "10", "52:54:00:00:00:02"), true},
		{"a static row goes", ctl("fdb/del", "br0", "10", "52:54:00:00:00:03"), true},
		{"flushed", ctl("fdb/flush", "br0"), true},
		{"learned again, elsewhere", func() { at("vm0p", "525400000001", "")(); at("vm1p", "525400000002", tag10)() }, true},
		{"totals cleared", ctl("fdb/stats-clear", "br0"), false},
		{"moved since", at("vm1p", "525400000001", tag10), true},
		{"a port goes", func() { h.Vsctl("del-port", "vm1") }, true},
		{"a port comes back with another number", func() {
			h.Vsctl("add-port", "br0", "vm1", "--", "set", "interface", "vm1", "ofport_request=7")
		}, false},
		{"learned there", at("vm1p", "525400000001", tag10), true},
		{"its number changes", func() { h.Vsctl("set", "interface", "vm1", "ofport_request=9") }, true},
	} {
		for start := time.Now(); !kept(); time.Sleep(50 * time.Millisecond) {
			if look(t, h.Observer); time.Since(start) > 10*time.Second {
				t.Fatalf("%s: the table is never kept", step.what)
			}
		}
		was := show()
		step.do()
		now := was
		for start := time.Now(); step.changes && slices.Equal(was, now) && time.Since(start) < 5*time.Second; time.Sleep(10 * time.Millisecond) {
			now = show()
		}
		if step.changes == slices.Equal(was, now) {
			t.Errorf("%s: was %q, is %q", step.what, was, now)
		}
		for range 20 { // and also after ovs-vswitchd has had a moment
			got, now := rows(look(t, h.Observer)["br0"].Detail.FDB), show()
			if !slices.Equal(got, now) {
				t.Fatalf("%s: the table is %q, kept is %q", step.what, now, got)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}
