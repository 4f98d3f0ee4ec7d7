// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// A network card as the uplink: what its driver can do, it does; what it can't,
// the refusal says, and frames go by OVS.
func TestNIC(t *testing.T) {
	nics := lab.NICs()
	if len(nics) == 0 {
		t.Skip("this machine lends no network cards (OVS_XDP_NICS): the kernel lab runs this test")
	}
	for _, c := range []struct {
		driver string
		args   []string
		// refused is part of the refusal; "" takes the lane. old is that of
		// kernels before 6.3.
		refused, old string
	}{
		{driver: "virtio_net"},
		{driver: "vmxnet3", refused: "--set-nic-offloads", old: "--set-nic-offloads"},
		{driver: "vmxnet3", args: []string{"--set-nic-offloads"}, old: "no native XDP"}, // which it has since Linux 6.6
		{driver: "e1000e", args: []string{"--set-nic-offloads"}, refused: "no native XDP", old: "no native XDP"},
	} {
		name := strings.Join(append([]string{c.driver}, c.args...), " ")
		t.Run(name, func(t *testing.T) {
			pair, ok := nics[c.driver]
			if !ok {
				t.Fatalf("this machine has no %s: %v", c.driver, nics)
			}
			w := newWorld(t, c.args...)
			vm := untagged(w.tap("t1", "tag=10"), 10)
			up, err := w.AddNIC("br0", c.driver, pair, lab.PortOptions{})
			w.must(err)
			w.ports = append(w.ports, up)
			far := tagged(up, up.MAC, 10)
			w.mode("on")
			w.announce(vm, "lane")
			want := c.refused
			if !lab.TellsFeatures() {
				want = c.old
			}
			if want == "" {
				w.announce(far, "lane")
				w.laneBetween(vm, far)
				f := far.frameTo(vm.mac, frame.Length(1518))
				w.lane(up, vm.port, f, vm.out(f, 0))
				if len(c.args) > 0 {
					w.saw("%s card with --set-nic-offloads", c.driver)
				}
			} else {
				w.eventually(func() error { // a card takes a moment to find its link
					if got := w.refused("br0/" + pair[0]); !strings.Contains(got, want) {
						return fmt.Errorf("refusal is %q, want something of %q", got, want)
					}
					return nil
				})
				w.must(up.Send(far.frameTo(frame.Broadcast)))
				w.drain(quiet)
				w.bridgeBetween(vm, far)
			}
			if len(c.args) == 0 {
				return
			}
			// What was turned off stays so while another daemon takes over, and
			// is on again at the end, also after SIGKILL.
			before := w.offloads(pair[0])
			w.takeOver(w.bpffs(), c.args...)
			if now := w.offloads(pair[0]); now != before {
				t.Errorf("offloads after another daemon has taken over:\n%s\nbefore:\n%s", now, before)
			}
			if want == "" {
				w.laneBetween(vm, far)
			}
			w.kill()
			if want == "" && !strings.Contains(before, "rx-vlan-offload: off") {
				t.Errorf("on the lane the card has %s", before)
			}
			w.until(time.Now(), "rx-vlan-offload is on again", func() bool {
				return strings.Contains(w.offloads(pair[0]), "rx-vlan-offload: on")
			})
		})
	}
}

// offloads returns what ethtool -k says of a device of the hypervisor.
func (w *world) offloads(device string) string {
	w.t.Helper()
	out, err := w.Hypervisor.Exec(w.t.Context(), "ethtool", "-k", device)
	w.must(err)
	return out
}
