// SPDX-License-Identifier: Apache-2.0

package plan

// Link is what the kernel says of a network device (rtnetlink, ethtool and
// the netdev netlink family).
type Link struct {
	// Name and IfIndex name the device in the daemon's network namespace.
	Name    string
	IfIndex int
	// Driver is the driver's name as "ethtool -i" prints it: "veth", "tun".
	Driver string
	// MTU is in bytes, Ethernet header not included.
	MTU int
	// Up tells that the device is up and has a carrier.
	Up bool
	// Physical tells a device on a bus whose frames come from a wire, with
	// their checksums finished.
	Physical bool
	// StripsVLAN tells that the device takes the outer tag off a frame before
	// XDP sees it (rx-vlan-offload), LRO that it merges frames.
	StripsVLAN, LRO bool
	// Offloads is what ends that, in the words of ethtool -K ("rxvlan off lro
	// off"), and OffloadsFixed tells that the driver does not let it be ended.
	Offloads      string
	OffloadsFixed bool
	// KeptOff tells that the daemon has turned off such offloads of the device.
	KeptOff bool
	// NativeXDP tells whether the driver runs XDP programs that redirect;
	// Transmits whether it takes redirected frames now.
	NativeXDP, Transmits Answer
	// Scattered tells that it takes redirected frames that lie in several
	// buffers, as those of a jumbo MTU do. Linux tells from 6.3 on; before,
	// none does.
	Scattered bool
	// HidesTags tells, of a veth before Linux 6.8, whether its peer may hand
	// over VLAN tags beside the frames, unseen by XDP; Unknown where XDP can
	// ask. Peer is the peer's name, "" when it is not found, and PeerReach what
	// a command begins with that runs in its network namespace.
	HidesTags       Answer
	Peer, PeerReach string
	// Bond is the ifindex of the Linux bond that the device is a slave of, 0 for
	// none, and Backup tells that the bond takes no frames from it now.
	Bond   int
	Backup bool
	// LosesFrames says of a device that has lost frames that were redirected to
	// it how many, and when it is tried again; "" when it may be.
	LosesFrames string
	// OtherXDP is the name and id of somebody else's XDP program on the
	// device; "" when there is none.
	OtherXDP string
	// AttachError is why the kernel refused our program when we last tried.
	AttachError string
}

// Answer is what a kernel says, which may be too old to know.
type Answer int

// The answers.
const (
	Unknown Answer = iota
	Yes
	No
)
