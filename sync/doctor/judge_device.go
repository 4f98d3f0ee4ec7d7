// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"slices"
)

// oneBuffer is the largest MTU of a device whose frames lie in one page with what
// XDP needs beside them: 4096 bytes less headroom of 256, struct skb_shared_info
// of 320 and an Ethernet header.
const oneBuffer = 3506

// bondModes are those that the kernel takes XDP programs on (bond_xdp_check in
// drivers/net/bonding/bond_main.c).
var bondModes = []string{"balance-rr", "active-backup", "balance-xor", "802.3ad"}

func (j *judge) device(d Device) {
	before := len(j.findings)
	k := j.facts.Kernel
	name := d.Name
	switch {
	case d.MTU > oneBuffer && !k.since(5, 18):
		j.add(Problem, "mtu", name, fmt.Sprintf("MTU %d on Linux %s", d.MTU, k.Release), "XDP takes frames of one page before Linux 5.18: the program can't be attached", fmt.Sprintf("ip link set %s mtu 3498, or a later kernel", name))
	case d.MTU > oneBuffer && !d.Scattered:
		j.add(Note, "mtu", name, fmt.Sprintf("MTU %d", d.MTU), "frames that are larger than a page go to this device by OVS; smaller ones take the lane", "")
	}
	if d.Driver == "veth" && !d.Unwatched {
		j.add(Note, "veth-segmentation", name, "a program on a veth turns off the segmentation of the far end (TSO)", "what is behind it sends small frames on the lane for a quarter of the work, and bulk TCP for ten times as much: attaching is what costs, in observe mode, too",
			"ovs-vsctl set port "+name+" external_ids:xdp-offload=target, if it sends bulk TCP: frames to it still take the lane")
	}
	if d.BondMode != "" {
		switch {
		case !slices.Contains(bondModes, d.BondMode):
			j.add(Problem, "bond-mode", name, "mode "+d.BondMode, "Linux runs XDP on bonds in the modes balance-rr, active-backup, balance-xor and 802.3ad", "ip link set "+name+" type bond mode 802.3ad (or active-backup)")
		case d.BondHash == "vlan+srcmac":
			j.add(Problem, "bond-mode", name, "xmit_hash_policy vlan+srcmac", "Linux does not run XDP on bonds with this policy", "ip link set "+name+" type bond xmit_hash_policy layer3+4")
		}
	}
	if d.Physical || d.Driver == "virtio_net" {
		j.queues(d)
	}
	if d.RPS || d.RFS {
		j.add(Warning, "rps", name, "software spreads its frames over CPUs (rps_cpus or rps_flow_cnt)", "frames on the lane are handled where the NIC's queue is, and do not see RPS, RFS or ARFS: one busy queue is one busy CPU",
			fmt.Sprintf("ethtool -L %s combined %d, and ethtool -X %s equal %d", name, j.facts.CPUs, name, j.facts.CPUs))
	}
	if d.Timestamps {
		j.add(Warning, "timestamps", name, "the device stamps frames that it receives", "a frame on the lane reaches its VM without the stamp; PTP over group addresses goes by OVS as ever, unicast PTP would not", "ovs-vsctl set port "+name+" external_ids:xdp-offload=off, if VMs use unicast PTP")
	}
	if len(j.findings) == before {
		j.ok("device", name, "driver %s, MTU %d, nothing in the way", d.Driver, d.MTU)
	}
}

// queues judges what frames are sent by: a driver has a queue for XDP for each
// CPU, or shares them with a lock, or loses frames of a CPU without one.
func (j *judge) queues(d Device) {
	if d.TXQueues == 0 || d.TXQueues >= j.facts.CPUs {
		return
	}
	j.add(Warning, "queues", d.Name, fmt.Sprintf("%d transmit queues for %d CPUs", d.TXQueues, j.facts.CPUs),
		"some drivers lose frames that a CPU without a queue of its own redirects to the device, others take a lock", fmt.Sprintf("ethtool -L %s combined %d (or as many as it has, and keep vhost threads on those CPUs)", d.Name, j.facts.CPUs))
}
