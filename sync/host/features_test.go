// SPDX-License-Identifier: Apache-2.0

package host

import (
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// inNamespace runs fn in a network namespace of its own.
func inNamespace(t *testing.T, fn func(t *testing.T)) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the namespace
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("make network namespace (root needed): %v", err)
			return
		}
		fn(t)
	}()
	<-done
}

func TestLinks(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		veth := netlink.NewVeth(netlink.LinkAttrs{Name: "v0", MTU: 1400})
		veth.PeerName = "v1"
		tap := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "t0"}, Mode: netlink.TUNTAP_MODE_TAP}
		for _, l := range []netlink.Link{veth, tap} {
			if err := netlink.LinkAdd(l); err != nil {
				t.Error(err)
				return
			}
		}
		h, err := Open(func(uint32) bool { return false })
		if err != nil {
			t.Error(err)
			return
		}
		defer h.Close()
		// Many times: what the kernel was sent must not depend on chance.
		for range 300 {
			links, err := h.Links()
			if err != nil {
				t.Error(err)
				return
			}
			v0, t0, lo := links["v0"], links["t0"], links["lo"]
			if v0.Driver != "veth" || v0.MTU != 1400 || v0.Up || v0.Physical || v0.StripsVLAN {
				t.Errorf("v0: %+v", v0)
				return
			}
			// The peer has neither GRO nor XDP.
			if v0.NativeXDP != plan.Yes || v0.Transmits != plan.No {
				t.Errorf("v0: native XDP %v, transmits %v; want yes, no", v0.NativeXDP, v0.Transmits)
				return
			}
			if t0.Driver != "tun" || t0.NativeXDP != plan.Yes || t0.Transmits != plan.Yes {
				t.Errorf("t0: %+v", t0)
				return
			}
			if lo.NativeXDP != plan.No {
				t.Errorf("lo: %+v", lo)
				return
			}
		}
	})
}
