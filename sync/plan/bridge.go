// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"strings"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/dpflow"
	"github.com/ovs-xdp/ovs-xdp/sync/plan/rules"
)

// judgeBridge adds a refusal for each condition that keeps the whole bridge
// with OVS, and returns what its OpenFlow rules are for the FDB lane.
func (b *builder) judgeBridge(s *ovs.Snapshot, br *ovs.Bridge, l lane) *rules.Table {
	refuse := func(reason Reason, format string, args ...any) { b.refuse(br.Name, reason, format, args...) }

	if br.DatapathType != "" && br.DatapathType != "system" && br.DatapathType != "netdev" {
		refuse(Datapath, "datapath_type is %q: want system or netdev", br.DatapathType)
	}
	if s.HWOffload {
		refuse(HWOffload, "Open_vSwitch other_config:hw-offload is true: OVS offloads flows to the NIC itself")
	}
	if s.FlowRestoreWait {
		refuse(RestoreWait, "Open_vSwitch other_config:flow-restore-wait is true: the OpenFlow tables are being restored")
	}
	for _, m := range br.Mirrors {
		if m.SelectAll && len(m.SelectVLANs) == 0 {
			refuse(Mirrored, "mirror %q selects every frame", m.Name)
		}
	}
	for _, f := range []struct {
		on   bool
		name string
	}{{br.SFlow, "sFlow"}, {br.NetFlow, "NetFlow"}, {br.IPFIX, "IPFIX"}, {br.FlowSampling, "Flow_Sample_Collector_Set"}} {
		if f.on {
			refuse(Sampling, "%s is configured, and would not see what takes the lane", f.name)
		}
	}
	if found, closed := b.policy.Closed[br.Name]; closed {
		refuse(Audited, "%s; to try again set external_ids:%s=off until the bridge is off, then on", found, KeyOffload)
	}
	if l.reason != "" {
		refuse(l.reason, "%s", l.found)
	}
	if c := inBandController(br); c != "" {
		refuse(InBand, "controller %s is in-band (the default): set Controller connection_mode=out-of-band or other_config:disable-in-band=true", c)
	}
	if br.Detail == nil {
		why := br.DetailError
		if why == "" {
			why = "it was not read"
		}
		refuse(StateUnreadable, "the bridge's state could not be read from OVS: %s", why)
		return nil
	}
	if (br.STP || br.RSTP) && br.Detail.SpanningTree == nil {
		refuse(StateUnreadable, "the states of the spanning tree were not read")
	}
	if br.Detail.HiddenRules > 0 {
		refuse(HiddenRules, "%d hidden OpenFlow rules (in-band control or fail-open) in table 0: see ovs-appctl bridge/dump-flows", br.Detail.HiddenRules)
	}
	if br.Detail.FragMode != "normal" {
		refuse(Fragments, "fragments are treated as %q: see ovs-ofctl get-frags", br.Detail.FragMode)
	}
	if l.Lane == FlowLane {
		if name := oddName(s); name != "" {
			refuse(PortNames, "there is a port %q: OVS prints its flows with names as they are, and this one could be taken for something else", name)
		}
		if br.STP || br.RSTP {
			refuse(SpanningTree, "STP or RSTP is on, and the bridge uses flows")
		}
		return nil
	}
	if l.barred != "" {
		refuse(FlowTable, "%s", l.barred)
	}
	return l.table
}

// oddName returns the name of an interface, of any bridge, that can't be told from
// something else in what OVS prints of its flows; "" for none.
func oddName(s *ovs.Snapshot) string {
	for i := range s.Bridges {
		for n := range s.Bridges[i].Ports {
			for _, iface := range s.Bridges[i].Ports[n].Interfaces {
				if !dpflow.PlainName(iface.Name) {
					return iface.Name
				}
			}
		}
	}
	return ""
}

// inBandController returns the target of a controller that makes OVS install
// in-band rules; "" when there is none.
func inBandController(br *ovs.Bridge) string {
	if br.OtherConfig["disable-in-band"] == "true" {
		return ""
	}
	for _, c := range br.Controllers {
		active := strings.HasPrefix(c.Target, "tcp:") || strings.HasPrefix(c.Target, "ssl:")
		if active && c.ConnectionMode != "out-of-band" {
			return c.Target
		}
	}
	return ""
}
