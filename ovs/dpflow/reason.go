// SPDX-License-Identifier: Apache-2.0

package dpflow

// Reason is why a flow stays with OVS. The list is closed.
type Reason string

// Reasons in a flow's match.
const (
	Recirculated Reason = "recirculated"  // the frame has been through the datapath before (recirc_id)
	DPHash       Reason = "dp-hash"       // a hash that the datapath has computed
	Mark         Reason = "packet-mark"   // skb_mark or skb_priority
	Conntrack    Reason = "conntrack"     // ct_state and the like; also the action ct
	Tunnel       Reason = "tunnel"        // the frame came through a tunnel; also the actions tnl_push, tnl_pop
	PortName     Reason = "port-name"     // a port that is no name, or not a plain one; also of an output
	PacketType   Reason = "packet-type"   // not an Ethernet frame
	MaskedMAC    Reason = "masked-mac"    // a source or destination that is not exact, as the rows of the lane are
	GroupMAC     Reason = "group-mac"     // a group address as source or destination
	EtherType    Reason = "eth-type"      // neither IPv4 nor IPv6
	VLANMatch    Reason = "vlan-match"    // two tags, another TPID than 0x8100, or a tag of an odd shape
	Fragments    Reason = "fragments"     // fragments alone
	L3Match      Reason = "l3-match"      // a field of the IP header
	L4Match      Reason = "l4-match"      // a field behind the IP header
	UnknownMatch Reason = "unknown-match" // a field that is not known, or not so, there or twice
)

// Reasons in a flow's actions.
const (
	Drop           Reason = "drop"            // frames are dropped
	SeveralOutputs Reason = "several-outputs" // frames are copied
	VLANAction     Reason = "vlan-action"     // tags that are popped or pushed in an odd way
	Sampling       Reason = "sampling"        // sFlow, IPFIX or samples for a collector
	Meter          Reason = "meter"           // frames are policed
	Userspace      Reason = "userspace"       // ovs-vswitchd handles each frame itself, or gets a copy
	Recirculates   Reason = "recirc"          // the frame goes through the datapath again
	HashAction     Reason = "hash"            // a hash chooses the member of a bond or of a group
	Rewrite        Reason = "rewrite"         // headers other than the tag change
	Clone          Reason = "clone"           // actions on a copy
	Truncate       Reason = "truncate"        // the frame is cut
	PacketLength   Reason = "packet-length"   // what happens depends on the frame's length
	Hairpin        Reason = "hairpin"         // frames go back to where they came from
	UnknownAction  Reason = "unknown-action"  // an action that is not known, or not so
)

// Reasons in what is said about a flow beside its match and actions.
const (
	HWOffload        Reason = "hw-offload"        // hardware forwards the frames already
	UnknownAttribute Reason = "unknown-attribute" // something that is not known
)

// maxDetail bounds Flow.Detail, in bytes.
const maxDetail = 120
