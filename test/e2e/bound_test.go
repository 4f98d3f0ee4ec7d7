// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// Where the kernel can't have a program safely that asks for VLAN tags beside
// the frame, the far ends of veths are asked instead: one that hides tags keeps
// its port with OVS, and one that does not takes the lane.
func TestNoBoundPrograms(t *testing.T) {
	if len(lab.NICs()) == 0 {
		t.Skip("this test changes a setting of the whole machine: the kernel lab runs it")
	}
	const setting = "/proc/sys/net/core/bpf_jit_harden"
	before, err := os.ReadFile(setting)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(setting, []byte("2"), 0); err != nil {
		t.Fatal(err)
	}
	defer os.WriteFile(setting, before, 0)
	w := newWorld(t)
	a, b := untagged(w.veth("v1", "tag=10"), 10), untagged(w.tap("t1", "tag=10"), 10)
	tags := func(state string) {
		t.Helper()
		_, err := a.port.VM.Exec(t.Context(), "ethtool", "-K", "eth0", "tx-vlan-offload", state, "tx-vlan-stag-hw-insert", state)
		w.must(err)
	}
	tags("on")
	w.mode("on")
	w.announce(b, "lane")
	if text := w.refused("br0/v1"); !strings.Contains(text, "tx-vlan-offload off") {
		t.Errorf("the refusal is %q", text)
	}
	w.must(a.port.Send(a.frameTo(b.mac)))
	w.drain(quiet)
	tags("off")
	w.announce(a, "lane")
	w.laneBetween(a, b)
}
