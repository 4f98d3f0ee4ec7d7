// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// kernel says what this kernel tells by itself. What it does not is read from
// the other ends of veths.
type kernel struct {
	// tags: an XDP program can ask for a tag beside the frame (Linux 6.8).
	tags bool
	// features: what a device does for XDP is told (Linux 6.3).
	features bool
}

// kernelTypes has the names of all functions that programs may call. Reading it as
// types takes some 20 ms, and finding a name in it half a one.
const kernelTypes = "/sys/kernel/btf/vmlinux"

func probeKernel() (kernel, error) {
	var k kernel
	types, err := os.ReadFile(kernelTypes)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return k, fmt.Errorf("read what functions the kernel has: %w", err)
	}
	k.tags = bytes.Contains(types, []byte("\x00bpf_xdp_metadata_rx_vlan_tag\x00"))
	_, err = netlink.GenlFamilyGet(netdevFamily)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return k, fmt.Errorf("look up netlink family %s: %w", netdevFamily, err)
	}
	k.features = err == nil
	return k, nil
}

// peer is what the other end of a veth is like.
type peer struct {
	name, reach string // as in plan.Link
	// hidesTags: it hands over a frame's VLAN tag beside the frame.
	hidesTags bool
	// takes: it takes frames that XDP sends, for its NAPI is on (veth_xdp_xmit
	// in drivers/net/veth.c).
	takes bool
}

// answer tells what is read from the other end; p is nil when it is not found.
func (p *peer) answer(k kernel, l *plan.Link) {
	if !k.tags {
		l.HidesTags = plan.Yes
		if p != nil {
			l.Peer, l.PeerReach = p.name, p.reach
		}
		if p != nil && !p.hidesTags {
			l.HidesTags = plan.No
		}
	}
	if !k.features {
		l.Transmits = plan.No
		if p != nil && p.takes {
			l.Transmits = plan.Yes
		}
	}
}

// readPeers looks at the other ends of veths and returns them by the veth's
// ifindex, those that are not found left out. It enters each network namespace
// once, and keeps nothing: a namespace may get another's number, a device be
// moved.
func readPeers(bits featureBits, veths []*netlink.LinkAttrs) (map[int]*peer, error) {
	peers := make(map[int]*peer, len(veths))
	byNamespace := make(map[int][]*netlink.LinkAttrs) // by our number of it, -1: here
	for _, v := range veths {
		byNamespace[v.NetNsID] = append(byNamespace[v.NetNsID], v)
	}
	if here := byNamespace[-1]; len(here) > 0 {
		readPeersHere(bits, here, "", peers)
		delete(byNamespace, -1)
	}
	if len(byNamespace) == 0 {
		return peers, nil
	}
	home, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("look at the other ends of veths: %w", err)
	}
	defer home.Close()
	err = travel(func(v *visitor) {
		eachNamespace(func(fd int, reach string) bool {
			id, err := home.GetNetNsIdByFd(fd)
			veths := byNamespace[id]
			if err != nil || len(veths) == 0 {
				return true
			}
			delete(byNamespace, id)
			v.visit(fd, func() { readPeersHere(bits, veths, reach, peers) })
			return len(byNamespace) > 0 && !v.lost
		})
	})
	if err != nil {
		return nil, fmt.Errorf("look at the other ends of veths: %w", err)
	}
	return peers, nil
}

// readPeersHere reads those other ends that are in the network namespace of
// the calling thread. They must point back at their veths.
func readPeersHere(bits featureBits, veths []*netlink.LinkAttrs, reach string, peers map[int]*peer) {
	tool, err := openEthtool(bits)
	if err != nil {
		return
	}
	defer tool.close()
	for _, v := range veths {
		l, err := netlink.LinkByIndex(v.ParentIndex)
		if err != nil {
			continue
		}
		a := l.Attrs()
		if l.Type() != "veth" || a.ParentIndex != v.Index || (a.NetNsID == -1) != (v.NetNsID == -1) {
			continue
		}
		f, err := tool.read(a.Name)
		if err != nil {
			continue
		}
		peers[v.Index] = &peer{
			name: a.Name, reach: reach,
			hidesTags: f(txVLAN).on || f(txVLANStag).on,
			takes:     f(rxGRO).on || a.Xdp != nil && a.Xdp.AttachMode == nl.XDP_ATTACHED_DRV,
		}
	}
}
