// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
)

// A cardPair is two network cards of a machine, connected back to back by a
// hub of QEMU: what one sends the other receives. Nothing of the host's network
// is used.
type cardPair struct {
	driver string // module in the machine
	model  string // device of QEMU
}

// cardPairs are the cards of every machine: native XDP; native XDP (since Linux
// 6.6) and VLAN tags that the card takes off; and a driver without native XDP.
var cardPairs = []cardPair{
	{"virtio_net", "virtio-net-pci"},
	{"vmxnet3", "vmxnet3"},
	{"e1000e", "e1000e"},
}

// address returns the MAC address of a card.
func address(pair, side int) string { return fmt.Sprintf("52:54:00:78:%02x:%02x", pair, side) }

// describeCards returns drivers and addresses as guest.sh reads them.
func describeCards() string {
	var all []string
	for i, p := range cardPairs {
		all = append(all, fmt.Sprintf("%s:%s,%s", p.driver, address(i, 0), address(i, 1)))
	}
	return strings.Join(all, " ")
}

// cardOptions returns QEMU's options for all cards. They boot nothing, so they
// need no ROM.
func cardOptions() []string {
	var o []string
	for i, p := range cardPairs {
		for side := range 2 {
			id := fmt.Sprintf("card%d-%d", i, side)
			o = append(o, "-netdev", fmt.Sprintf("hubport,id=%s,hubid=%d", id, i),
				"-device", fmt.Sprintf("%s,netdev=%s,mac=%s,romfile=", p.model, id, address(i, side)))
		}
	}
	return o
}
