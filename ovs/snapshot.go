// SPDX-License-Identifier: Apache-2.0

package ovs

import "time"

// DefaultMaxIdle is Snapshot.MaxIdle where nothing is set (OFPROTO_MAX_IDLE_DEFAULT
// in ofproto/ofproto-provider.h).
const DefaultMaxIdle = 10 * time.Second

// Snapshot is one picture of an Open vSwitch instance. A Snapshot is complete
// or does not exist: ovs/observe returns an error instead of a partial one.
// Slices are sorted (bridges and ports by name, MAC tables by VLAN and MAC),
// so that equal states compare equal.
type Snapshot struct {
	// Version is Open_vSwitch:ovs_version, which ovs-ctl writes; "" beside an
	// ovs-vswitchd that was started without it.
	Version string
	// HWOffload is Open_vSwitch:other_config:hw-offload.
	HWOffload bool
	// FlowRestoreWait is Open_vSwitch:other_config:flow-restore-wait: the
	// OpenFlow tables are being restored and not to be trusted yet.
	FlowRestoreWait bool
	// MaxIdle is Open_vSwitch:other_config:max-idle, after how long without a
	// frame ovs-vswitchd takes a megaflow out of the datapath.
	MaxIdle time.Duration
	// Bridges holds every bridge of the database.
	Bridges []Bridge
}

// Bridge is a row of the Bridge table joined with what ovs-vswitchd says
// about it.
type Bridge struct {
	// UUID is the row's identifier in the database.
	UUID string
	// Name is Bridge:name.
	Name string
	// DatapathType is Bridge:datapath_type: "" or "system" for the kernel
	// datapath, "netdev" for the userspace datapath.
	DatapathType string
	// FailMode is Bridge:fail_mode, "standalone" when the column is empty.
	FailMode string
	// STP and RSTP are Bridge:stp_enable and Bridge:rstp_enable.
	STP, RSTP bool
	// FloodVLANs is Bridge:flood_vlans.
	FloodVLANs []VLAN
	// Mirrors is Bridge:mirrors joined with the Mirror table.
	Mirrors []Mirror
	// SFlow, NetFlow and IPFIX tell whether Bridge:sflow, Bridge:netflow or
	// Bridge:ipfix is set; FlowSampling whether a row of
	// Flow_Sample_Collector_Set names the bridge.
	SFlow, NetFlow, IPFIX, FlowSampling bool
	// Controllers is Bridge:controller joined with the Controller table.
	Controllers []Controller
	// ExternalIDs and OtherConfig are the columns of these names.
	ExternalIDs, OtherConfig map[string]string
	// Ports holds every port of the bridge.
	Ports []Port

	// Detail is what ovs-vswitchd and OpenFlow say of the bridge. It is nil
	// for bridges that observe was not asked to look into.
	Detail *Detail
	// DetailError says why Detail is nil although it was asked for; "" if it
	// was read or not asked for.
	DetailError string
}

// Detail is the part of a bridge's state that is not in the database.
type Detail struct {
	// Rules holds the OpenFlow rules of all tables (ovs-ofctl dump-flows).
	Rules []Rule
	// HiddenRules counts the rules of table 0 that dump-flows leaves out
	// (in-band control, fail-open), from bridge/dump-flows.
	HiddenRules int
	// FragMode is how fragments are treated: "normal", "drop", "reassemble"
	// or "nx-match" (ovs-ofctl get-frags).
	FragMode string
	// PortConfig holds the OpenFlow port config bits by OpenFlow port number
	// (ovs-ofctl dump-ports-desc).
	PortConfig map[uint32]PortConfig
	// SpanningTree holds the state of each interface that takes part in STP
	// or RSTP by its name (stp/show, rstp/show); nil when neither is on.
	SpanningTree map[string]string
	// Bonds holds the state of each port of several interfaces by Port:name
	// (bond/show). One that ovs-vswitchd does not know yet is missing.
	Bonds map[string]Bond
	// FDB is the MAC learning table (fdb/show).
	FDB []FDBEntry
}

// Bond is what ovs-vswitchd says of a port of several interfaces.
type Bond struct {
	// Mode is "active-backup", "balance-slb" or "balance-tcp".
	Mode string
	// LACP is one of the constants below; Fallback tells that the bond works
	// as active-backup without a partner (lacp-fallback-ab).
	LACP     string
	Fallback bool
	// Active is the active member's Interface:name; "" for none.
	Active string
	// Enabled tells of each member, by Interface:name, whether it carries
	// frames.
	Enabled map[string]bool
	// Recirc is the recirculation id by which OVS hashes frames to the bond; 0
	// when there is none, or it is not known.
	Recirc uint32
}

// The states of LACP in a Bond. Negotiated tells of the bond, not of each
// member.
const (
	LACPOff        = "off"
	LACPConfigured = "configured"
	LACPNegotiated = "negotiated"
)

// PortConfig is what OpenFlow says of a port: its name, and the config bits
// (ofp_port_config) that change what NORMAL does.
type PortConfig struct {
	// Name is the port's name, cut to 15 bytes by OpenFlow.
	Name string
	// Down is OFPPC_PORT_DOWN, NoRecv OFPPC_NO_RECV, NoFwd OFPPC_NO_FWD.
	Down, NoRecv, NoFwd bool
}

// Port is a row of the Port table.
type Port struct {
	// UUID is the row's identifier in the database.
	UUID string
	// Name is Port:name.
	Name string
	// Tag is Port:tag; nil when the column is empty.
	Tag *VLAN
	// Trunks is Port:trunks; empty means every VLAN on a trunk port.
	Trunks []VLAN
	// VLANMode is Port:vlan_mode as stored: "" means access when Tag is set
	// and trunk otherwise.
	VLANMode string
	// Protected is Port:protected.
	Protected bool
	// QoS tells whether Port:qos is set.
	QoS bool
	// BondMode is Port:bond_mode and BondActiveMember the hardware address in
	// Port:bond_active_slave.
	BondMode, BondActiveMember string
	// LACP is Port:lacp.
	LACP string
	// Status is Port:status (stp_state and its like).
	Status map[string]string
	// RSTPStatus is Port:rstp_status (rstp_port_state and its like).
	RSTPStatus map[string]string
	// ExternalIDs and OtherConfig are the columns of these names.
	ExternalIDs, OtherConfig map[string]string
	// Interfaces holds the port's interfaces, more than one for a bond.
	Interfaces []Interface
}

// Interface is a row of the Interface table.
type Interface struct {
	// UUID is the row's identifier in the database.
	UUID string
	// Name is Interface:name.
	Name string
	// Type is Interface:type; "" and "system" are kernel devices.
	Type string
	// OFPort is Interface:ofport; -1 when OVS could not add the device, 0
	// when ovs-vswitchd has not looked at the row yet.
	OFPort int
	// IfIndex is Interface:ifindex; 0 when not known.
	IfIndex int
	// Error is Interface:error.
	Error string
	// MACInUse is Interface:mac_in_use, "" when not known.
	MACInUse string
	// AdminState and LinkState are "up", "down" or "" when not known.
	AdminState, LinkState string
	// Policing is the limit of rate of frames from the interface.
	Policing Policing
	// BFD tells whether Interface:bfd:enable is true; CFM whether
	// Interface:cfm_mpid is set.
	BFD, CFM bool
	// ExternalIDs, OtherConfig and Options are the columns of these names.
	ExternalIDs, OtherConfig, Options map[string]string
}

// Policing is a limit of rate; 0 is none, and for a burst the default.
type Policing struct {
	// Rate is Interface:ingress_policing_rate in kbit/s, Burst
	// Interface:ingress_policing_burst in kbit.
	Rate, Burst int
	// PacketRate is Interface:ingress_policing_kpkts_rate in 1000 frames a
	// second, PacketBurst Interface:ingress_policing_kpkts_burst in 1000 frames.
	PacketRate, PacketBurst int
}

// Mirror is a row of the Mirror table.
type Mirror struct {
	// Name is Mirror:name.
	Name string
	// SelectAll is Mirror:select_all.
	SelectAll bool
	// SelectSrcPorts, SelectDstPorts and OutputPort hold Port:name.
	SelectSrcPorts, SelectDstPorts []string
	OutputPort                     string
	// SelectVLANs is Mirror:select_vlan.
	SelectVLANs []VLAN
	// OutputVLAN is Mirror:output_vlan; nil when the column is empty.
	OutputVLAN *VLAN
}

// Controller is a row of the Controller table.
type Controller struct {
	// Target is Controller:target, as "tcp:192.0.2.1:6653".
	Target string
	// ConnectionMode is Controller:connection_mode: "in-band", "out-of-band",
	// or "" when the column is empty, which OVS takes for in-band.
	ConnectionMode string
}

// FDBEntry is a row of a bridge's MAC learning table (fdb/show).
type FDBEntry struct {
	// OFPort is the OpenFlow port number, LocalPort for LOCAL. A bond shows
	// the number of one of its members.
	OFPort uint32
	VLAN   VLAN
	MAC    MAC
	// Age is the time since OVS last saw the station, in seconds; 0 when
	// Static.
	Age int
	// Static tells a row made by fdb/add: it neither ages nor moves.
	Static bool
}

// LocalPort is OFPP_LOCAL, the bridge's own internal port.
const LocalPort uint32 = 0xfffffffe

// Rule is one OpenFlow rule as ovs-ofctl dump-flows prints it.
type Rule struct {
	// Table is the OpenFlow table number.
	Table uint8
	// Priority is the rule's priority; dump-flows leaves it out when it is
	// the default of 32768.
	Priority uint16
	// Packets and Bytes are n_packets and n_bytes.
	Packets, Bytes uint64
	// IdleTimeout and HardTimeout are in seconds; 0 means none.
	IdleTimeout, HardTimeout uint16
	// Cookie is the rule's cookie.
	Cookie uint64
	// Match holds the match fields in the order of the text; empty means
	// match-all.
	Match []Match
	// Actions holds the actions in order, each as printed; a drop rule has
	// the single action "drop".
	Actions []string
	// Unknown holds tokens of the rule's head that are neither a known
	// attribute nor a key=value or bare protocol name of a match. A rule with
	// any must not be taken to be understood.
	Unknown []string
}

// Match is one match field of a Rule.
type Match struct {
	// Field is the field's name as printed ("dl_vlan"), or a protocol
	// shorthand ("tcp") with an empty Value.
	Field string
	// Value is the text after "=", with its mask if one is printed.
	Value string
}
