// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// Facts is what is known of a host. What could not be read has its zero value, and
// is named in Unread.
type Facts struct {
	Kernel Kernel
	// CPUs is how many are online.
	CPUs    int
	Devices []Device
	Guests  []Guest
	OVS     OVS
	Daemon  Daemon
	// Unread tells what could not be read, and why.
	Unread []string
}

// Kernel is what the kernel says of itself.
type Kernel struct {
	// Release is as "uname -r" prints it: "6.1.0-56-amd64".
	Release string
	// BTF tells whether /sys/kernel/btf/vmlinux is there, BPFFS whether a bpffs is
	// mounted at Mount.
	BTF, BPFFS bool
	Mount      string
	// Lockdown is the mode of the lockdown LSM: "none", "integrity",
	// "confidentiality", "" when the kernel does not have it.
	Lockdown string
	// Sysctls holds values by name ("net.core.bpf_jit_enable"); those that can't be
	// read are missing.
	Sysctls map[string]string
}

// Device is a device of a bridge's port, or a slave of one.
type Device struct {
	plan.Link
	// Bridge and Port are where OVS has it; "" for a slave.
	Bridge, Port string
	// Unwatched tells that the port's key (xdp-offload=target or off) lets no program
	// be attached.
	Unwatched bool
	// RXQueues and TXQueues are how many there are, 0 when not known.
	RXQueues, TXQueues int
	// RPS tells that frames of a receive queue are spread over CPUs by software
	// (rps_cpus), RFS that flows are steered to their program's CPU (rps_flow_cnt).
	RPS, RFS bool
	// Timestamps tells that the device stamps frames that it receives
	// (SIOCGHWTSTAMP).
	Timestamps bool
	// BondMode and BondHash are those of a Linux bond ("802.3ad", "layer3+4"); ""
	// for other devices.
	BondMode, BondHash string
}

// Guest is a virtual machine of QEMU.
type Guest struct {
	PID int
	// Name is -name, Machine -machine ("pc-q35-7.2").
	Name, Machine string
	// VCPUs is how many -smp asks for, 1 when it is absent.
	VCPUs int
	NICs  []NIC
	// VhostCPUs holds, of each vhost thread of the guest, the CPUs that it may run
	// on (Cpus_allowed_list of proc(5)), by thread id.
	VhostCPUs map[int]string
}

// NIC is a virtio network card of a guest, with a tap behind it.
type NIC struct {
	MAC, Tap string
	// Queues is how many pairs there are, Vhost whether the kernel serves them.
	Queues int
	Vhost  bool
	// Off holds the offloads that are turned off, by QEMU's name of the property
	// ("csum", "host_tso4", "guest_csum"). The others are on.
	Off map[string]bool
	// Fds holds the descriptors of the tap in QEMU, when it was given them.
	Fds []int
}

// OVS is what Open vSwitch says.
type OVS struct {
	// Version is that of the running ovs-vswitchd, Error why OVS could not be read.
	Version, Error string
	Bridges        []Bridge
}

// Bridge is a bridge, judged as if it asked for the lane.
type Bridge struct {
	Name string
	// Mode is what its keys ask for.
	Mode plan.Offload
	// Errors tells of keys that can't be read.
	Errors   []string
	Refusals []plan.Refusal
	// Aging is mac-aging-time in seconds, Stations how many rows the MAC table has,
	// of TableSize.
	Aging, Stations, TableSize int
}

// Daemon is what is known of ovs-xdpd.
type Daemon struct {
	// Running tells whether there is one, Error why it does not answer.
	Running bool
	Error   string
	// Lane is "open" or "closed", Why the reason; LossesUnseen as in status.
	Lane, Why, LossesUnseen string
	// Version is that of the daemon.
	Version string
	// FinishChecksums and SetNICOffloads are its flags.
	FinishChecksums, SetNICOffloads bool
}
