// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// machine makes a named network namespace, and a veth to its eth0.
func machine(t testing.TB, veth string) (name string) {
	t.Helper()
	name = fmt.Sprintf("ovs-xdp-%d-%s", os.Getpid(), veth)
	run(t, "ip", "netns", "add", name)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "delete", name).Run() })
	deviceLater(t, veth)
	run(t, "ip", "link", "add", veth, "type", "veth", "peer", "name", "eth0", "netns", name)
	return name
}

// veth reads a veth as on a kernel that tells nothing of it.
func veth(t testing.TB, h *Host, name string) plan.Link {
	t.Helper()
	links, err := h.Links()
	if err != nil {
		t.Fatal(err)
	}
	l, ok := links[name]
	if !ok {
		t.Fatalf("no device %s", name)
	}
	return l
}

// wantPeer checks what is read from a veth's other end.
func wantPeer(t *testing.T, h *Host, name string, hides, transmits plan.Answer, peer, reach string) {
	t.Helper()
	l := veth(t, h, name)
	if l.HidesTags != hides || l.Transmits != transmits || l.Peer != peer || l.PeerReach != reach {
		t.Errorf("%s hides tags %v, transmits %v, peer %q, reached by %q; want %v, %v, %q, %q",
			name, l.HidesTags, l.Transmits, l.Peer, l.PeerReach, hides, transmits, peer, reach)
	}
}

// at puts "ip netns exec NAME" before a command.
func at(t testing.TB, name string, args ...string) {
	t.Helper()
	run(t, "ip", append([]string{"netns", "exec", name}, args...)...)
}

func TestPeerInNamespace(t *testing.T) {
	h := openHost(t, kernel{})
	name := machine(t, "v0")
	reach := "ip netns exec " + name
	for _, step := range []struct {
		command          []string
		hides, transmits plan.Answer
	}{
		{[]string{"true"}, plan.Yes, plan.No},
		{[]string{"ethtool", "-K", "eth0", "tx-vlan-offload", "off"}, plan.Yes, plan.No},
		{[]string{"ethtool", "-K", "eth0", "tx-vlan-stag-hw-insert", "off"}, plan.No, plan.No},
		{[]string{"ethtool", "-K", "eth0", "tx-vlan-offload", "on"}, plan.Yes, plan.No},
		{[]string{"ethtool", "-K", "eth0", "tx-vlan-offload", "off", "gro", "on"}, plan.No, plan.Yes},
		{[]string{"ethtool", "-K", "eth0", "gro", "off"}, plan.No, plan.No},
	} {
		at(t, name, step.command...)
		t.Log(step.command)
		wantPeer(t, h, "v0", step.hides, step.transmits, "eth0", reach)
	}
	at(t, name, "ip", "link", "set", "eth0", "name", "lan0")
	wantPeer(t, h, "v0", plan.No, plan.No, "lan0", reach)

	// What the kernel tells is not asked of the peer.
	told, err := probeKernel()
	if err != nil {
		t.Fatal(err)
	}
	wantPeer(t, openHost(t, kernel{tags: true}), "v0", plan.Unknown, plan.No, "", "")
	if told.features { // Linux 6.3
		wantPeer(t, openHost(t, kernel{features: true}), "v0", plan.No, plan.No, "lan0", reach)
		wantPeer(t, openHost(t, kernel{tags: true, features: true}), "v0", plan.Unknown, plan.No, "", "")
	}
}

// A peer with an XDP program takes frames without GRO.
func TestPeerWithProgram(t *testing.T) {
	h := openHost(t, kernel{})
	name := machine(t, "v0")
	reach := "ip netns exec " + name
	prog := passes(t)
	err := travel(func(v *visitor) {
		eachNamespace(func(fd int, r string) bool {
			return r != reach || !v.visit(fd, func() { attach(t, "eth0", prog) })
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	at(t, name, "ethtool", "-K", "eth0", "gro", "off")
	wantPeer(t, h, "v0", plan.Yes, plan.Yes, "eth0", reach)
}

func TestPeerHere(t *testing.T) {
	h := openHost(t, kernel{})
	deviceLater(t, "v0")
	run(t, "ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
	run(t, "ethtool", "-K", "v1", "gro", "on", "tx-vlan-offload", "off", "tx-vlan-stag-hw-insert", "off")
	wantPeer(t, h, "v0", plan.No, plan.Yes, "v1", "")
	wantPeer(t, h, "v1", plan.Yes, plan.No, "v0", "")
}

// The peer moves on to a namespace with nothing but a process, then the name of
// one is taken away, then nothing but a file holds it.
func TestPeerMoves(t *testing.T) {
	h := openHost(t, kernel{})
	name := machine(t, "v0")
	at(t, name, "ethtool", "-K", "eth0", "tx-vlan-offload", "off", "tx-vlan-stag-hw-insert", "off")
	wantPeer(t, h, "v0", plan.No, plan.No, "eth0", "ip netns exec "+name)

	sleep := exec.Command("sleep", "1000")
	sleep.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	end := func() { _ = sleep.Process.Kill(); _ = sleep.Wait() }
	defer end()
	pid := strconv.Itoa(sleep.Process.Pid)
	at(t, name, "ip", "link", "set", "eth0", "netns", pid)
	wantPeer(t, h, "v0", plan.No, plan.No, "eth0", "nsenter -t "+pid+" -n")

	held, err := os.Open("/proc/" + pid + "/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	end()
	wantPeer(t, h, "v0", plan.Yes, plan.No, "", "")
	held.Close()
	eventually(t, "the namespace goes with its last holder", func() bool {
		links, err := h.Links()
		_, there := links["v0"]
		return err == nil && !there
	})
	run(t, "ip", "netns", "delete", name)
}

// Neither a thread nor a file is left in a namespace that was looked at.
func TestNothingKeepsNamespace(t *testing.T) {
	h := openHost(t, kernel{})
	names := []string{machine(t, "v0"), machine(t, "v1"), machine(t, "v2")}
	for range 50 {
		wantPeer(t, h, "v1", plan.Yes, plan.No, "eth0", "ip netns exec "+names[1])
	}
	home, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	threads, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil || len(threads) == 0 {
		t.Fatalf("list threads: %v, %v", threads, err)
	}
	for _, path := range threads {
		if ns, err := os.Readlink(path); err == nil && ns != home {
			t.Errorf("%s is %s, this process is in %s", path, ns, home)
		}
	}
	run(t, "ip", "netns", "delete", names[1])
	eventually(t, "the device goes with the namespace", func() bool {
		links, err := h.Links()
		_, there := links["v1"]
		return err == nil && !there
	})
}

// What the peer's owner changes is told at once.
func TestWatchSeesPeer(t *testing.T) {
	h := openHost(t, kernel{})
	name := machine(t, "v0")
	if l := veth(t, h, "v0"); l.HidesTags != plan.Yes {
		t.Fatalf("%+v", l)
	}
	changed, err := h.Watch(t.Context(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"off", "on"} {
		at(t, name, "ethtool", "-K", "eth0", "tx-vlan-offload", value)
		<-changed
	}
}

func BenchmarkLinks(b *testing.B) {
	const many = 500
	for i := range many {
		machine(b, "v"+strconv.Itoa(i))
	}
	for name, k := range map[string]kernel{"kernel tells": {tags: true, features: true}, "peers are read": {}} {
		h := openHost(b, k)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := h.Links(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
