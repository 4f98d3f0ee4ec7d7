// SPDX-License-Identifier: Apache-2.0

package frame

import (
	"net/netip"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// ARPRequest returns the broadcast with which src asks who has the IPv4
// address target. src's own address is sender; a gratuitous ARP has
// sender == target.
func ARPRequest(src ovs.MAC, sender, target netip.Addr, tags ...Tag) []byte {
	return arp(1, Broadcast, src, ovs.MAC{}, sender, target, tags)
}

// ARPReply returns the answer of src, whose address is sender, to dst, whose
// address is target.
func ARPReply(dst, src ovs.MAC, sender, target netip.Addr, tags ...Tag) []byte {
	return arp(2, dst, src, dst, sender, target, tags)
}

func arp(op byte, dst, src, targetMAC ovs.MAC, sender, target netip.Addr, tags []Tag) []byte {
	p := []byte{0, 1, 8, 0, 6, 4, 0, op} // Ethernet, IPv4, address lengths
	p = append(p, src[:]...)
	p = append(p, sender.AsSlice()...)
	p = append(p, targetMAC[:]...)
	p = append(p, target.AsSlice()...)
	return Frame{Dst: dst, Src: src, Tags: tags, EtherType: TypeARP, Payload: p}.Bytes()
}
