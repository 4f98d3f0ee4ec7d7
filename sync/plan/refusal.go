// SPDX-License-Identifier: Apache-2.0

package plan

// Refusal says what stays with OVS, and why. A refusal is a value, not an
// error: status, logs and metrics show the same list.
type Refusal struct {
	// Subject is a bridge ("br0"), a port of one ("br0/tap1") or VLANs of one
	// ("br0/VLAN 10,20").
	Subject string
	// Reason is one of the constants below.
	Reason Reason
	// Detail says what was found, for people.
	Detail string
}

// Reason is why something stays with OVS. The list is closed.
type Reason string

// Reasons that keep a whole bridge with OVS.
const (
	FlowTable       Reason = "flow-table"        // no OpenFlow rule leaves frames to NORMAL in a way that the lane knows
	TooManyRules    Reason = "too-many-rules"    // more OpenFlow rules than the lane has room for; also of a port
	HiddenRules     Reason = "hidden-rules"      // in-band or fail-open rules are installed
	InBand          Reason = "in-band"           // a controller with in-band control
	RestoreWait     Reason = "flow-restore-wait" // the OpenFlow tables are being restored
	Mirrored        Reason = "mirror"            // a mirror copies the frames; also of a port
	Sampling        Reason = "sampling"          // sFlow, NetFlow, IPFIX or flow samples
	Fragments       Reason = "fragments"         // get-frags is not normal
	HWOffload       Reason = "hw-offload"        // OVS offloads to hardware itself
	Datapath        Reason = "datapath-type"     // a datapath that is not known
	StateUnreadable Reason = "state-unreadable"  // OVS did not tell the bridge's state
	TooManyBridges  Reason = "too-many-bridges"  // no number left for the bridge
	PortNames       Reason = "port-names"        // a port's name looks like something else in what OVS prints of its flows
	Audited         Reason = "audit"             // OVS says that it would do something else than the lane
)

// Reasons that keep a port with OVS.
const (
	PortOff         Reason = "port-off"          // external_ids:xdp-offload=off
	BadKey          Reason = "bad-key"           // an external_ids value that can't be read
	Bond            Reason = "bond"              // a bond that is not reproduced, or not wholly
	InterfaceType   Reason = "interface-type"    // not a device of the kernel
	InterfaceError  Reason = "interface-error"   // OVS could not open the device
	NotReady        Reason = "not-ready"         // OVS has not taken up the device yet
	NoDevice        Reason = "no-device"         // the device is not in this network namespace
	LinkDown        Reason = "link-down"         // the device is down or has no carrier
	VLANModeReason  Reason = "vlan-mode"         // a vlan_mode that is not reproduced
	SpanningTree    Reason = "spanning-tree"     // STP or RSTP does not let the port forward
	DeclaredTwice   Reason = "declared-conflict" // attached-mac against what OVS learned, or another port's
	VLANKeptOut     Reason = "vlan-kept-out"     // no VLAN of the port is to be offloaded
	FloodVLAN       Reason = "flood-vlan"        // OVS floods the VLAN; of a VLAN ("br0/VLAN 10")
	PriorityTags    Reason = "priority-tags"     // other_config:priority-tags
	PortConfigBits  Reason = "port-config"       // OpenFlow PORT_DOWN, NO_RECV or NO_FWD
	ConnectivityMon Reason = "bfd-cfm"           // BFD or CFM runs on the interface
	Policing        Reason = "ingress-policing"  // frames from a Linux bond are policed
	QoS             Reason = "qos"               // frames to the port are queued
	OtherProgram    Reason = "other-xdp-program" // somebody else's XDP program is there
	NoNativeXDP     Reason = "no-native-xdp"     // generic XDP is slower than OVS
	AttachFailed    Reason = "attach-failed"     // the kernel refused the program
	NoXmit          Reason = "no-xdp-transmit"   // the device does not take redirected frames
	LosesFrames     Reason = "loses-frames"      // the device has lost redirected frames
	VLANOffload     Reason = "vlan-offload"      // tags are taken off frames before XDP
	LRO             Reason = "lro"               // the device merges frames before XDP
	SharedDevice    Reason = "shared-device"     // two ports name one device
)

// Transient tells a reason that will go by itself: programs stay attached
// meanwhile, and pass every frame.
func (r Reason) Transient() bool {
	return r == StateUnreadable || r == RestoreWait
}
