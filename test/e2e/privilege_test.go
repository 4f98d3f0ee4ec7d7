// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// nobody is the user that the daemon runs as here.
const nobody = 65534

// As a user of its own, with three capabilities, the daemon does all that it does
// as root; without one of them it says so and changes nothing.
func TestLeastPrivilege(t *testing.T) {
	needed := []uintptr{unix.CAP_NET_ADMIN, unix.CAP_BPF, unix.CAP_PERFMON}
	w := &world{Lab: lab.NewT(t), t: t}
	w.must(w.AddBridge("br0"))
	for i, name := range []string{"CAP_NET_ADMIN", "CAP_BPF", "CAP_PERFMON"} {
		some := append(append([]uintptr{}, needed[:i]...), needed[i+1:]...)
		if _, err := w.StartDaemonAs(nobody, some); err == nil {
			t.Fatalf("it runs without %s", name)
		} else if !strings.Contains(err.Error(), "without "+name+":") {
			t.Errorf("without %s: %v", name, err)
		}
	}
	d, err := w.StartDaemonAs(nobody, needed)
	w.must(err)
	w.daemon = d
	a, b := untagged(w.tap("t1", "tag=10"), 10), untagged(w.tap("t2", "tag=10"), 10)
	up := tagged(w.tap("up"), w.NewMAC(), 10)
	if lab.TagsTold() { // otherwise veths need CAP_SYS_ADMIN
		a = untagged(w.veth("v1", "tag=10"), 10)
	}
	w.mode("on")
	for _, s := range []station{a, b, up} {
		w.announce(s, "lane")
	}
	w.laneBetween(a, b)
	w.laneBetween(up, a)
	if why := ask[lab.Status](w, "offload/show").LossesUnseen; why != "" {
		t.Errorf("lost frames can't be seen: %s", why)
	}
	status, err := os.ReadFile("/proc/" + strconv.Itoa(d.PID) + "/status")
	w.must(err)
	if !strings.Contains(string(status), "CapEff:\t000000c000001000\n") {
		t.Errorf("the daemon has other capabilities than it was given:\n%s", status)
	}
	socket, err := os.Stat(filepath.Join(w.RunDir, fmt.Sprintf("ovs-xdpd.%d.ctl", d.PID)))
	w.must(err)
	if socket.Mode().Perm()&0o027 != 0 {
		t.Errorf("others may use the control socket: %v", socket.Mode())
	}
	// Another one takes over, too, through a bpffs that they may write to.
	dir := w.bpffs()
	w.must(os.Chmod(dir, 0o700))
	if _, err := w.StartDaemonAs(nobody, needed, "--takeover", "--bpffs="+dir); err == nil || !strings.Contains(err.Error(), "let user 65534 write there") {
		t.Errorf("through a bpffs of root's: %v", err)
	}
	w.must(os.Chown(dir, nobody, nobody))
	heir, err := w.StartDaemonAs(nobody, needed, "--takeover", "--bpffs="+dir)
	w.must(err)
	w.must(d.Wait(settle))
	w.daemon = heir
	w.noPins(dir)
	w.laneBetween(a, b)
	w.laneBetween(up, a)
	w.stop()
	w.noPrograms()
	w.bridgeBetween(a, b)
}

// Where the kernel tells XDP nothing of tags beside frames (before Linux 6.8), ports on
// veth need a look at their far ends, and rights to it: with them they are on the lane,
// without one of them they stay with OVS, and status says so.
func TestPrivilegeForVeths(t *testing.T) {
	if lab.TagsTold() {
		return // TestLeastPrivilege has a veth on the lane without
	}
	outer := &world{Lab: lab.NewT(t), t: t}
	outer.must(outer.AddBridge("br0"))
	a, b := untagged(outer.veth("v1", "tag=10"), 10), untagged(outer.tap("t1", "tag=10"), 10)
	outer.set("external_ids:xdp-offload=on")
	for _, c := range []struct {
		name  string
		extra []uintptr
		lane  bool
	}{
		{"without CAP_SYS_ADMIN", []uintptr{unix.CAP_SYS_PTRACE, unix.CAP_NET_BROADCAST}, false},
		{"without CAP_NET_BROADCAST", []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SYS_PTRACE}, false},
		{"all", []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SYS_PTRACE, unix.CAP_NET_BROADCAST}, true},
	} {
		outer.run(c.name, func(w *world) {
			d, err := w.StartDaemonAs(nobody, append([]uintptr{unix.CAP_NET_ADMIN, unix.CAP_BPF, unix.CAP_PERFMON}, c.extra...))
			w.must(err)
			w.daemon = d
			w.state("on")
			if c.lane {
				w.announce(a, "lane")
				w.announce(b, "lane")
				w.laneBetween(a, b)
			} else {
				if said := w.refused("br0/v1"); !strings.Contains(said, c.name[len("without "):]) {
					w.t.Errorf("the refusal does not name the capability: %s", said)
				}
			}
			w.stop()
		})
	}
}
