// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// addPort is AddVeth or AddTap.
type addPort func(l *Lab, bridge, name string, o PortOptions) (*Port, error)

func mustAdd(t *testing.T, add addPort, l *Lab, name string, o PortOptions) *Port {
	t.Helper()
	p, err := add(l, "br0", name, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func newBridge(t *testing.T) *Lab {
	t.Helper()
	l := NewT(t)
	if err := l.AddBridge("br0"); err != nil {
		t.Fatal(err)
	}
	return l
}

// expect sends b from one port and wants exactly these bytes at the other.
func expect(t *testing.T, from, to *Port, b, want []byte) {
	t.Helper()
	if err := from.Send(b); err != nil {
		t.Fatal(err)
	}
	got, err := to.Recv(3 * time.Second)
	if err != nil {
		t.Fatalf("%s to %s: %v", from.Name, to.Name, err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s to %s:\n got % x\nwant % x", from.Name, to.Name, got, want)
	}
	if more, err := to.Drain(20 * time.Millisecond); err != nil || len(more) > 0 {
		t.Errorf("%s to %s: %d more frames, error %v", from.Name, to.Name, len(more), err)
	}
}

func TestFramesCrossTheBridge(t *testing.T) {
	adds := map[string]addPort{"veth": (*Lab).AddVeth, "tap": (*Lab).AddTap}
	for nameA, a := range adds {
		for nameB, b := range adds {
			t.Run(nameA+" "+nameB, func(t *testing.T) {
				l := newBridge(t)
				access := mustAdd(t, a, l, "a", PortOptions{Columns: []string{"tag=10"}})
				trunk := mustAdd(t, b, l, "b", PortOptions{})
				untagged := frame.UDP4(trunk.MAC, access.MAC)
				expect(t, access, trunk, untagged, frame.Retag(untagged, frame.Tag{VID: 10}))
				back := frame.UDP6(access.MAC, trunk.MAC, frame.Tagged(frame.Tag{VID: 10, PCP: 6}), frame.Length(1518))
				expect(t, trunk, access, back, frame.Retag(back))
				lldp := frame.Frame{Dst: ovs.MAC{0x01, 0x80, 0xc2, 0, 0, 0x21}, Src: trunk.MAC, EtherType: 0x88f7, Payload: make([]byte, 46)}
				expect(t, trunk, access, lldp.Tagged(frame.Tag{VID: 10, PCP: 3}).Bytes(), lldp.Bytes())
			})
		}
	}
}

// Tags reach a trunk port as they are, also those that the kernel strips.
func TestTagsAreExact(t *testing.T) {
	l := newBridge(t)
	a := mustAdd(t, (*Lab).AddVeth, l, "a", PortOptions{})
	b := mustAdd(t, (*Lab).AddVeth, l, "b", PortOptions{})
	c := mustAdd(t, (*Lab).AddTap, l, "c", PortOptions{})
	for _, tags := range [][]frame.Tag{
		nil,
		{{VID: 10}},
		{{VID: 4000, PCP: 7}},
		{{VID: 20, PCP: 1}, {VID: 30, PCP: 2, DEI: true}},
		{{TPID: frame.TypeQinQ, VID: 100, PCP: 4}},
	} {
		want := frame.UDP4(frame.Broadcast, a.MAC, frame.Tagged(tags...))
		if err := a.Send(want); err != nil {
			t.Fatal(err)
		}
		for _, p := range []*Port{b, c} {
			got, err := p.Recv(3 * time.Second)
			if err != nil {
				t.Fatalf("%v at %s: %v", tags, p.Name, err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%v at %s:\n got % x\nwant % x", tags, p.Name, got, want)
			}
		}
	}
	if got, err := a.Drain(50 * time.Millisecond); err != nil || len(got) > 0 {
		t.Errorf("the sender has %d frames, error %v", len(got), err)
	}
}

func TestFlowPackets(t *testing.T) {
	l := newBridge(t)
	a := mustAdd(t, (*Lab).AddVeth, l, "a", PortOptions{})
	b := mustAdd(t, (*Lab).AddTap, l, "b", PortOptions{})
	for _, f := range []string{"table=0,priority=1,actions=resubmit(,1)", "table=1,actions=NORMAL"} {
		if _, err := l.Ofctl("add-flow", "br0", f); err != nil {
			t.Fatal(err)
		}
	}
	count := func() uint64 {
		t.Helper()
		n, err := l.FlowPackets("br0")
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := count()
	for range 200 {
		if err := a.Send(frame.UDP4(b.MAC, a.MAC)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := b.Drain(300 * time.Millisecond)
	if err != nil || len(got) != 200 {
		t.Fatalf("%d frames of 200 arrived, error %v", len(got), err)
	}
	if n := count() - before; n != 200 {
		t.Errorf("rules have counted %d frames, want 200", n)
	}
}

func TestMachinesTalk(t *testing.T) {
	l := newBridge(t)
	v := mustAdd(t, (*Lab).AddVeth, l, "v", PortOptions{Addr: netip.MustParsePrefix("10.9.10.1/24"), Columns: []string{"tag=10"}})
	p := mustAdd(t, (*Lab).AddTap, l, "p", PortOptions{Addr: netip.MustParsePrefix("10.9.10.2/24"), Columns: []string{"tag=10"}})
	h10 := &TrunkHost{Name: "h10", VLAN: 10, Addr: netip.MustParsePrefix("10.9.10.3/24")}
	h20 := &TrunkHost{Name: "h20", VLAN: 20, Addr: netip.MustParsePrefix("10.9.10.4/24")}
	if _, err := l.AddTrunk("br0", "up", false, PortOptions{}, h10, h20); err != nil {
		t.Fatal(err)
	}
	ping := func(from *Namespace, to netip.Prefix) error {
		_, err := from.Exec(context.Background(), "ping", "-c2", "-i0.1", "-W1", to.Addr().String())
		return err
	}
	for _, pair := range []struct {
		from *Namespace
		to   netip.Prefix
	}{{v.VM, p.Addr}, {p.VM, v.Addr}, {h10.VM, v.Addr}, {p.VM, h10.Addr}} {
		if err := ping(pair.from, pair.to); err != nil {
			t.Error(err)
		}
	}
	if err := ping(v.VM, h20.Addr); err == nil {
		t.Error("VLAN 10 reaches VLAN 20")
	}
}

func TestRemovePort(t *testing.T) {
	l := newBridge(t)
	for name, add := range map[string]addPort{"v": (*Lab).AddVeth, "p": (*Lab).AddTap} {
		p := mustAdd(t, add, l, name, PortOptions{})
		if err := p.Remove(); err != nil {
			t.Error(err)
		}
		if ports, err := l.OVS("list-ports", "br0"); err != nil || ports != "" {
			t.Errorf("after Remove of %s: ports %q, error %v", name, ports, err)
		}
		if _, err := l.Hypervisor.links.LinkByName(name); err == nil {
			t.Errorf("after Remove the device %s is there", name)
		}
		if err := p.Send(frame.UDP4(p.MAC, p.MAC)); !errors.Is(err, os.ErrClosed) {
			t.Errorf("Send after Remove: %v", err)
		}
	}
}

// Close removes everything, also when it is called twice, when something went
// wrong before, and when processes have been started that nobody waits for.
func TestCloseLeavesNothing(t *testing.T) {
	l, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.AddBridge("br0"); err != nil {
		t.Fatal(err)
	}
	mustAdd(t, (*Lab).AddVeth, l, "v", PortOptions{})
	p := mustAdd(t, (*Lab).AddTap, l, "p", PortOptions{Addr: netip.MustParsePrefix("10.9.10.2/24")})
	sleep, err := l.Start(p.VM, "/bin/sleep", "1000")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.AddVeth("no-such-bridge", "w", PortOptions{}); err == nil {
		t.Error("AddVeth to a bridge that isn't there: no error")
	}
	if len(traces(t, l)) < 7 {
		t.Errorf("the search sees too little: %q", traces(t, l))
	}
	for range 2 {
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if !sleep.Ended() {
		t.Error("a process has survived")
	}
	if left := traces(t, l); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestNewWithoutOpenVSwitch(t *testing.T) {
	l := &Lab{DatapathType: "netdev"}
	t.Setenv("PATH", "")
	err := l.open()
	if err == nil {
		t.Error("no error without ovsdb-tool")
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	t.Setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
	if left := traces(t, l); len(left) > 0 {
		t.Errorf("left behind after %v: %q", err, left)
	}
}

// traces lists what a lab has on this host: namespaces, processes, its
// directory. Devices go with their namespaces.
func traces(t *testing.T, l *Lab) []string {
	t.Helper()
	var found []string
	find := func(text, name string, args ...string) {
		out, err := exec.Command(name, args...).Output()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, text) {
				found = append(found, line)
			}
		}
	}
	find(l.prefix, "ip", "netns", "list")
	find(l.Dir, "pgrep", "-a", "-f", l.Dir)
	find("sleep", "pgrep", "-a", "-P", strconv.Itoa(os.Getpid()))
	find("vswitchd", "pgrep", "-a", "-P", strconv.Itoa(os.Getpid()))
	find(filepath.Base(l.Dir), "ls", "/tmp")
	return found
}
