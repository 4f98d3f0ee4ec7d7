// SPDX-License-Identifier: Apache-2.0

// Package metrics offers what sync/report tells as metrics of Prometheus. They
// are read when somebody asks for them and kept nowhere: a port that leaves the
// lane takes its counters with it, and they go on when a daemon takes over.
//
// Labels are bounded: bridges and interfaces are those that ask for the lane
// (--max-ports of them can be on it), reasons and states closed lists.
package metrics

import (
	"runtime"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ovs-xdp/ovs-xdp/sync/report"
)

// Source is who tells; a report.Reporter is one.
type Source interface {
	Status() report.Status
	Ports(bridge string) []report.Port
	Coverage() map[string]uint64
	LaneRules(most int) []report.LaneRule
}

// mostRules bounds the rules of a bridge that have a metric of their own.
const mostRules = 200

// states are those of report.Bridge.State.
var states = []string{"off", "observe", "on", "refused"}

// metric is a description of a metric with its type.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func describe(kind prometheus.ValueType, name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc("ovs_xdp_"+name, help, labels, nil), kind}
}

const (
	counter = prometheus.CounterValue
	gauge   = prometheus.GaugeValue
)

// The metrics.
var (
	buildInfo = describe(gauge, "build_info", "Which ovs-xdpd this is; always 1.", "version", "goversion")
	ovsInfo   = describe(gauge, "openvswitch_info", "Which ovs-vswitchd runs beside it; always 1.", "version")
	laneOpen  = describe(gauge, "lane_open", "Whether the lane is open; 0: every frame goes by OVS.")
	leaseLeft = describe(gauge, "lane_lease_seconds", "For how long the lane stays open unless the daemon renews its lease.")
	lossSeen  = describe(gauge, "losses_seen", "Whether frames that are lost after a redirect can be seen on this kernel.")
	looks     = describe(counter, "looks_total", "Looks at Open vSwitch.")
	failures  = describe(counter, "look_failures_total", "Looks at Open vSwitch that failed.")
	full      = describe(gauge, "fdb_full_stations", "Stations that stay with OVS for want of room in the FDB (--fdb-rows).")

	fullFlows = describe(gauge, "flow_table_full_flows", "Flows of OVS that stay with OVS for want of room in the kernel's table (--flow-rows).")

	bridgeState    = describe(gauge, "bridge_state", "State of a bridge: 1 for the one that it is in.", "bridge", "state")
	bridgeCanary   = describe(gauge, "bridge_canary_ratio", "Part of the destination addresses that are offloaded (xdp-canary), from 0 to 1.", "bridge")
	bridgePorts    = describe(gauge, "bridge_ports", "Devices of a bridge in the kernel's tables.", "bridge")
	bridgeStations = describe(gauge, "bridge_stations", "Stations of a bridge in the kernel's FDB.", "bridge")
	bridgeFlows    = describe(gauge, "bridge_flows", "Flows of OVS that the lane follows for frames from a bridge's ports; 0 of a bridge that uses the FDB.", "bridge")
	bridgeRefusals = describe(gauge, "bridge_refusals", "What of a bridge stays with OVS, by reason.", "bridge", "reason")
	bridgeErrors   = describe(gauge, "bridge_key_errors", "Keys in external_ids of a bridge that can't be read, so that it is off.", "bridge")
	auditAnswers   = describe(counter, "audit_answers_total", "Frames that OVS was asked about: agreed is what the lane does, mismatch something else (a change under way, if it does not last), unanswered not understood.", "bridge", "answer")
	auditClosed    = describe(gauge, "audit_closed", "Whether the audit has closed the lane of a bridge.", "bridge")

	ruleFrames = describe(counter, "rule_frames_total", "Frames that the lane has decided by an OpenFlow rule of a bridge (redirected or dropped; those that OVS has decided are in its n_packets); the empty rule stands for all beyond the 200 with most frames.", "bridge", "rule")
	ruleBytes  = describe(counter, "rule_bytes_total", "Bytes of those frames as received.", "bridge", "rule")

	portOnLane   = describe(gauge, "port_on_lane", "Whether frames from (or to) a port may take the lane.", "bridge", "interface", "direction")
	portFrames   = describe(counter, "port_receive_frames_total", "Frames from a port by what became of them: lane is redirected, would is passed for observe mode alone, others why they passed to OVS.", "bridge", "interface", "reason")
	portBytes    = describe(counter, "port_receive_bytes_total", "Bytes of frames from a port by the path: lane, would (passed for observe mode alone), ovs and dropped.", "bridge", "interface", "path")
	portSent     = describe(counter, "port_transmit_frames_total", "Frames that the lane sent to a port.", "bridge", "interface")
	portLost     = describe(counter, "port_transmit_lost_frames_total", "Frames that the lane sent to a port, and that its device did not take.", "bridge", "interface")
	portFinished = describe(counter, "port_checksums_finished_total", "Redirected frames from a port whose checksum was finished (--finish-checksums).", "bridge", "interface")
	portEvents   = describe(counter, "port_events_dropped_total", "New and moved stations on a port that the daemon was not told of: limited is over the port's budget, lost is a full ring buffer.", "bridge", "interface", "cause")
)

// all lists them, for Describe.
var all = []metric{
	buildInfo, ovsInfo, laneOpen, leaseLeft, lossSeen, looks, failures, full, fullFlows,
	bridgeState, bridgeCanary, bridgePorts, bridgeStations, bridgeFlows, bridgeRefusals, bridgeErrors, auditAnswers, auditClosed,
	ruleFrames, ruleBytes,
	portOnLane, portFrames, portBytes, portSent, portLost, portFinished, portEvents,
}

// Collector is a prometheus.Collector of what a Source tells.
type Collector struct{ Source Source }

// Describe implements prometheus.Collector.
func (c Collector) Describe(to chan<- *prometheus.Desc) {
	for _, m := range all {
		to <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c Collector) Collect(to chan<- prometheus.Metric) {
	put := func(m metric, value float64, labels ...string) {
		for i := range labels {
			labels[i] = strings.ToValidUTF8(labels[i], "�")
		}
		to <- prometheus.MustNewConstMetric(m.desc, m.kind, value, labels...)
	}
	s, coverage := c.Source.Status(), c.Source.Coverage()
	put(buildInfo, 1, s.Version, runtime.Version())
	put(ovsInfo, 1, s.OVS.Version)
	put(laneOpen, yes(s.Lane == "open"))
	put(leaseLeft, float64(s.LeaseMS)/1000)
	put(lossSeen, yes(s.LossesUnseen == ""))
	put(looks, float64(coverage["looks"]))
	put(failures, float64(coverage["failed-looks"]))
	put(full, float64(coverage["fdb-full"]))
	put(fullFlows, float64(coverage["flows-full"]))
	for _, b := range s.Bridges {
		bridge(put, b)
	}
	for _, r := range c.Source.LaneRules(mostRules) {
		put(ruleFrames, float64(r.Lane.Frames), r.Bridge, r.Rule)
		put(ruleBytes, float64(r.Lane.Bytes), r.Bridge, r.Rule)
	}
	for _, p := range c.Source.Ports("") {
		port(put, p)
	}
}

type put func(m metric, value float64, labels ...string)

func bridge(put put, b report.Bridge) {
	for _, state := range states {
		put(bridgeState, yes(b.State == state), b.Name, state)
	}
	put(bridgeErrors, float64(len(b.Errors)), b.Name)
	if b.Mode == "off" {
		return
	}
	put(bridgeCanary, float64(b.Canary)/100, b.Name)
	put(bridgePorts, float64(b.Ports), b.Name)
	put(bridgeStations, float64(b.Stations), b.Name)
	put(bridgeFlows, float64(b.Flows), b.Name)
	refusals := make(map[string]int)
	for _, r := range b.Refusals {
		refusals[r.Reason]++
	}
	for reason, n := range refusals {
		put(bridgeRefusals, float64(n), b.Name, reason)
	}
	put(auditAnswers, float64(b.Audit.Agreed), b.Name, "agreed")
	put(auditAnswers, float64(b.Audit.Mismatches), b.Name, "mismatch")
	put(auditAnswers, float64(b.Audit.Unanswered), b.Name, "unanswered")
	put(auditClosed, yes(b.Audit.Found != nil), b.Name)
}

// port tells of a port. One that is not on the lane has nothing counted.
func port(put put, p report.Port) {
	put(portOnLane, yes(p.Ingress), p.Bridge, p.Interface, "from")
	put(portOnLane, yes(p.Egress), p.Bridge, p.Interface, "to")
	if p.Attach == "none" && !p.Egress {
		return
	}
	for reason, n := range p.Reasons {
		put(portFrames, float64(n), p.Bridge, p.Interface, reason)
	}
	put(portBytes, float64(p.RX.LaneBytes), p.Bridge, p.Interface, "lane")
	put(portBytes, float64(p.RX.WouldBytes), p.Bridge, p.Interface, "would")
	put(portBytes, float64(p.RX.OVSBytes-p.RX.WouldBytes), p.Bridge, p.Interface, "ovs")
	put(portBytes, float64(p.RX.DroppedBytes), p.Bridge, p.Interface, "dropped")
	put(portSent, float64(p.TX.Lane), p.Bridge, p.Interface)
	put(portLost, float64(p.TX.Lost), p.Bridge, p.Interface)
	put(portFinished, float64(p.RX.Finished), p.Bridge, p.Interface)
	put(portEvents, float64(p.Events.Limited), p.Bridge, p.Interface, "limited")
	put(portEvents, float64(p.Events.Lost), p.Bridge, p.Interface, "lost")
}

func yes(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
