// SPDX-License-Identifier: Apache-2.0

package host

import (
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

func TestLinks(t *testing.T) {
	veth := netlink.NewVeth(netlink.LinkAttrs{Name: "v0", MTU: 1400})
	veth.PeerName = "v1"
	tap := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "t0"}, Mode: netlink.TUNTAP_MODE_TAP}
	for _, l := range []netlink.Link{veth, tap} {
		deviceLater(t, l.Attrs().Name)
		if err := netlink.LinkAdd(l); err != nil {
			t.Fatal(err)
		}
	}
	h, err := Open(func(uint32) bool { return false })
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	// Many times: what the kernel was sent must not depend on chance.
	for range 300 {
		links, err := h.Links()
		if err != nil {
			t.Fatal(err)
		}
		v0, t0, lo := links["v0"], links["t0"], links["lo"]
		if v0.Driver != "veth" || v0.MTU != 1400 || v0.Up || v0.Physical || v0.StripsVLAN {
			t.Fatalf("v0: %+v", v0)
		}
		// The peer has neither GRO nor XDP.
		if v0.Transmits != plan.No {
			t.Fatalf("v0 transmits: %v, want no", v0.Transmits)
		}
		// The peer hands tags over beside the frames.
		if want := map[bool]plan.Answer{true: plan.Unknown, false: plan.Yes}[h.kernel.tags]; v0.HidesTags != want {
			t.Fatalf("v0 hides tags: %v, want %v", v0.HidesTags, want)
		}
		if !h.kernel.features {
			continue
		}
		if v0.NativeXDP != plan.Yes || t0.Driver != "tun" || t0.NativeXDP != plan.Yes || t0.Transmits != plan.Yes {
			t.Fatalf("v0: %+v, t0: %+v", v0, t0)
		}
		if lo.NativeXDP != plan.No {
			t.Fatalf("lo: %+v", lo)
		}
	}
}
