// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"strings"

	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

func (j *judge) openvswitch() {
	o := j.facts.OVS
	if o.Error != "" {
		j.add(Problem, "openvswitch", "ovs-vswitchd", o.Error, "without Open vSwitch there is no lane", "systemctl start openvswitch-switch, and see OVS_RUNDIR")
		return
	}
	if major, minor := release(o.Version); major < 2 || major == 2 && minor < 13 {
		j.add(Problem, "openvswitch", "ovs-vswitchd", "Open vSwitch "+o.Version, "ovs-xdpd needs 2.13 or later", "upgrade Open vSwitch")
		return
	}
	j.ok("openvswitch", "ovs-vswitchd", "Open vSwitch %s", o.Version)
}

// remedy is why a refusal matters and what mends it; OBJECT stands for the port or
// bridge.
type remedy struct{ why, mend string }

var remedies = map[plan.Reason]remedy{
	plan.FlowTable:       {"only stateless rules around NORMAL are reproduced by stations: a pipeline needs OVS's flows", "ovs-vsctl set bridge BRIDGE external_ids:xdp-lane=auto, if it has rules; ovs-ofctl dump-flows BRIDGE shows them"},
	plan.TooManyRules:    {"a frame is compared with so many OpenFlow rules at most, and so many fit into the kernel's tables", "ovs-xdpctl rules BRIDGE shows them; --rules-per-list and --rule-rows make room"},
	plan.HiddenRules:     {"rules for in-band control or fail-open change what NORMAL does", "ovs-vsctl set bridge BRIDGE other_config:disable-in-band=true"},
	plan.InBand:          {"OVS sends frames for its controller to more ports", "ovs-vsctl set controller BRIDGE connection_mode=out-of-band"},
	plan.RestoreWait:     {"the OpenFlow tables are being restored", "ovs-vsctl remove open_vswitch . other_config flow-restore-wait, if nobody restores them"},
	plan.Mirrored:        {"a mirror's copies are OVS's affair", "ovs-vsctl clear bridge BRIDGE mirrors, if none is needed"},
	plan.Sampling:        {"samples are taken by OVS of the frames that it sees", "ovs-vsctl clear bridge BRIDGE sflow netflow ipfix, if none is needed"},
	plan.Fragments:       {"OVS treats fragments otherwise than other frames", "ovs-ofctl set-frags BRIDGE normal"},
	plan.HWOffload:       {"OVS offloads flows to the NIC, and would not see them either", "ovs-vsctl remove open_vswitch . other_config hw-offload, and restart ovs-vswitchd"},
	plan.PortNames:       {"OVS prints names without quotes: a flow could be read wrong", "rename the interface: letters, digits, '-', '_' and '.', not a number alone"},
	plan.Audited:         {"OVS would have done something else than the lane", "report it; then external_ids:xdp-offload=off, and on again"},
	plan.PortOff:         {"somebody has said so", "ovs-vsctl remove port PORT external_ids xdp-offload"},
	plan.BadKey:          {"a value that can't be read means off", "ovs-vsctl set port PORT external_ids:xdp-offload=on|off|target"},
	plan.Bond:            {"only what the lane reproduces of a bond takes it", "ovs-appctl bond/show PORT"},
	plan.InterfaceError:  {"OVS could not open the device", "ovs-vsctl get interface PORT error"},
	plan.NoDevice:        {"the daemon must run in the network namespace of the devices", "ip link show PORT"},
	plan.LinkDown:        {"nothing is sent to a device that is down", "ip link set PORT up"},
	plan.VLANModeReason:  {"this VLAN mode is not reproduced", ""},
	plan.SpanningTree:    {"STP or RSTP does not let the port forward now", "ovs-appctl stp/show BRIDGE; ovs-appctl rstp/show BRIDGE"},
	plan.DeclaredTwice:   {"two places claim one address", "ovs-vsctl --columns=name,external_ids list interface shows attached-mac"},
	plan.FloodVLAN:       {"OVS floods every frame of these VLANs", "ovs-vsctl clear bridge BRIDGE flood_vlans, if that is not wanted"},
	plan.PriorityTags:    {"priority tags are not reproduced", "ovs-vsctl remove port PORT other_config priority-tags"},
	plan.PortConfigBits:  {"OpenFlow has restricted the port", "ovs-ofctl mod-port BRIDGE PORT up|receive|forward"},
	plan.ConnectivityMon: {"BFD and CFM are OVS's affair", "ovs-vsctl set interface PORT bfd:enable=false"},
	plan.Policing:        {"XDP is before the policer: frames from the port would pass it by", "ovs-vsctl set interface PORT ingress_policing_rate=0, if it is not needed"},
	plan.QoS:             {"frames that XDP sends pass the queues by", "ovs-vsctl clear port PORT qos, if it is not needed"},
	plan.OtherProgram:    {"a device has room for one XDP program", "ip link set dev PORT xdp off, if it is not needed"},
	plan.NoNativeXDP:     {"generic XDP is slower than OVS", "another driver or kernel; ovs-xdpd --allow-generic for tests"},
	plan.AttachFailed:    {"the kernel did not take the program", ""},
	plan.NoXmit:          {"frames that are redirected to the device would be lost", "of a veth: ethtool -K eth0 gro on, at the far end"},
	plan.LosesFrames:     {"frames that were redirected to the device were lost; it is tried again by itself", "a larger queue: txqueuelen of a tap, ring of a NIC (ethtool -G)"},
	plan.VLANOffload:     {"XDP does not see the tag of a frame", "ovs-xdpd --set-nic-offloads, or as the finding says"},
	plan.LRO:             {"merged frames are no frames", "ovs-xdpd --set-nic-offloads, or as the finding says"},
	plan.SharedDevice:    {"two ports name one device", "ovs-vsctl show"},
	plan.StateUnreadable: {"OVS did not tell the bridge's state", "ovs-appctl fdb/show BRIDGE; ovs-ofctl -O OpenFlow13 dump-flows BRIDGE"},
	plan.TooManyBridges:  {"there are numbers for 15 bridges; one that uses flows takes two", ""},
	plan.Datapath:        {"the datapath_type is not known", ""},
	plan.InterfaceType:   {"only devices of the kernel are on the lane; frames to this port go by OVS", ""},
	plan.NotReady:        {"OVS has not taken up the device yet", ""},
	plan.VLANKeptOut:     {"xdp-vlans of the bridge leaves its VLANs out", "ovs-vsctl remove bridge BRIDGE external_ids xdp-vlans"},
}

// expected are refusals that are as they should be on most hosts: not worth more
// than a note.
var expected = map[plan.Reason]bool{plan.InterfaceType: true, plan.PortOff: true, plan.VLANKeptOut: true, plan.FloodVLAN: true, plan.NotReady: true}

func (j *judge) bridge(b Bridge) {
	asks := b.Mode != plan.Off
	for _, e := range b.Errors {
		j.add(Problem, "key", b.Name, e, "a value that can't be read means off", "ovs-vsctl set bridge "+b.Name+" external_ids:xdp-offload=off|observe|on")
	}
	for _, r := range b.Refusals {
		whole := r.Subject == b.Name
		level := Warning
		switch {
		case expected[r.Reason], !asks:
			level = Note
		case whole:
			level = Problem
		}
		port := strings.TrimPrefix(r.Subject, b.Name+"/")
		m := remedies[r.Reason]
		mend := strings.NewReplacer("BRIDGE", b.Name, "PORT", port).Replace(m.mend)
		found := r.Detail
		if !asks {
			found = "would stay with OVS: " + found
		}
		j.add(level, string(r.Reason), r.Subject, found, m.why, mend)
	}
	if len(b.Refusals)+len(b.Errors) == 0 {
		j.ok("bridge", b.Name, "nothing of it is refused (xdp-offload is %s)", b.Mode)
	}
	if b.Aging > 0 && b.Aging < 60 {
		j.add(Note, "aging", b.Name, fmt.Sprintf("mac-aging-time is %d s", b.Aging),
			fmt.Sprintf("a frame of each station passes to OVS every %.1f s, so that none ages out", min(5, float64(b.Aging)/4)), "ovs-vsctl set bridge "+b.Name+" other_config:mac-aging-time=300")
	}
	if b.TableSize > 0 && b.Stations*10 >= b.TableSize*8 {
		j.add(Warning, "mac-table", b.Name, fmt.Sprintf("%d stations in a MAC table of %d", b.Stations, b.TableSize),
			"OVS evicts stations from a full table and floods frames to them; what it forgets leaves the lane", fmt.Sprintf("ovs-vsctl set bridge %s other_config:mac-table-size=%d", b.Name, 4*b.TableSize))
	}
}
