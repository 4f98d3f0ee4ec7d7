// SPDX-License-Identifier: Apache-2.0

package ovsdb

// The structs below are the rows of the Open_vSwitch database, cut down to
// the columns that ovs.Snapshot needs. Every change of a listed column makes
// Changed fire, so columns that ovs-vswitchd writes every few seconds
// (statistics, Interface:status, Controller:status) are left out on purpose.
//
// All columns exist since Open vSwitch 2.13 (schema 8.2), but for those tagged
// `since:"…"`, which are left out where the server's schema lacks them.

type switchRow struct {
	UUID        string            `ovsdb:"_uuid"`
	Bridges     []string          `ovsdb:"bridges"`
	OVSVersion  *string           `ovsdb:"ovs_version"`
	OtherConfig map[string]string `ovsdb:"other_config"`
}

type bridgeRow struct {
	UUID         string            `ovsdb:"_uuid"`
	Name         string            `ovsdb:"name"`
	DatapathType string            `ovsdb:"datapath_type"`
	FailMode     *string           `ovsdb:"fail_mode"`
	STP          bool              `ovsdb:"stp_enable"`
	RSTP         bool              `ovsdb:"rstp_enable"`
	FloodVLANs   []int             `ovsdb:"flood_vlans"`
	Ports        []string          `ovsdb:"ports"`
	Mirrors      []string          `ovsdb:"mirrors"`
	Controllers  []string          `ovsdb:"controller"`
	SFlow        *string           `ovsdb:"sflow"`
	NetFlow      *string           `ovsdb:"netflow"`
	IPFIX        *string           `ovsdb:"ipfix"`
	ExternalIDs  map[string]string `ovsdb:"external_ids"`
	OtherConfig  map[string]string `ovsdb:"other_config"`
}

type portRow struct {
	UUID             string            `ovsdb:"_uuid"`
	Name             string            `ovsdb:"name"`
	Interfaces       []string          `ovsdb:"interfaces"`
	Tag              *int              `ovsdb:"tag"`
	Trunks           []int             `ovsdb:"trunks"`
	VLANMode         *string           `ovsdb:"vlan_mode"`
	Protected        bool              `ovsdb:"protected"`
	QoS              *string           `ovsdb:"qos"`
	BondMode         *string           `ovsdb:"bond_mode"`
	BondActiveMember *string           `ovsdb:"bond_active_slave"`
	LACP             *string           `ovsdb:"lacp"`
	Status           map[string]string `ovsdb:"status"`
	RSTPStatus       map[string]string `ovsdb:"rstp_status"`
	ExternalIDs      map[string]string `ovsdb:"external_ids"`
	OtherConfig      map[string]string `ovsdb:"other_config"`
}

type interfaceRow struct {
	UUID     string  `ovsdb:"_uuid"`
	Name     string  `ovsdb:"name"`
	Type     string  `ovsdb:"type"`
	OFPort   *int    `ovsdb:"ofport"`
	IfIndex  *int    `ovsdb:"ifindex"`
	Error    *string `ovsdb:"error"`
	MACInUse *string `ovsdb:"mac_in_use"`
	// LACPCurrent is not in the Snapshot: a bond whose member changes it has
	// to be asked about (bond/show).
	LACPCurrent          *bool             `ovsdb:"lacp_current"`
	AdminState           *string           `ovsdb:"admin_state"`
	LinkState            *string           `ovsdb:"link_state"`
	PolicingRate         int               `ovsdb:"ingress_policing_rate"`
	PolicingBurst        int               `ovsdb:"ingress_policing_burst"`
	PolicingPacketsRate  int               `ovsdb:"ingress_policing_kpkts_rate" since:"2.16"`
	PolicingPacketsBurst int               `ovsdb:"ingress_policing_kpkts_burst" since:"2.16"`
	BFD                  map[string]string `ovsdb:"bfd"`
	CFM                  *int              `ovsdb:"cfm_mpid"`
	Options              map[string]string `ovsdb:"options"`
	ExternalIDs          map[string]string `ovsdb:"external_ids"`
	OtherConfig          map[string]string `ovsdb:"other_config"`
}

type mirrorRow struct {
	UUID           string   `ovsdb:"_uuid"`
	Name           string   `ovsdb:"name"`
	SelectAll      bool     `ovsdb:"select_all"`
	SelectSrcPorts []string `ovsdb:"select_src_port"`
	SelectDstPorts []string `ovsdb:"select_dst_port"`
	SelectVLANs    []int    `ovsdb:"select_vlan"`
	OutputPort     *string  `ovsdb:"output_port"`
	OutputVLAN     *int     `ovsdb:"output_vlan"`
}

type controllerRow struct {
	UUID           string  `ovsdb:"_uuid"`
	Target         string  `ovsdb:"target"`
	ConnectionMode *string `ovsdb:"connection_mode"`
}

// managerRow is not in the Snapshot: a remote manager may make OVS install
// hidden in-band rules, so its change is a reason to look.
type managerRow struct {
	UUID           string  `ovsdb:"_uuid"`
	Target         string  `ovsdb:"target"`
	ConnectionMode *string `ovsdb:"connection_mode"`
}

type flowSampleRow struct {
	UUID   string `ovsdb:"_uuid"`
	ID     int    `ovsdb:"id"` // not used; see fitted
	Bridge string `ovsdb:"bridge"`
}
