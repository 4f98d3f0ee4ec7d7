// SPDX-License-Identifier: Apache-2.0

package report

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/sync/host"
)

// expect compares a document, whose first line is left empty in the test.
func expect(t *testing.T, want, got string) {
	t.Helper()
	if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), got); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
}

func TestStatusText(t *testing.T) {
	bridges := []Bridge{
		{
			Name: "br-ext", Mode: "on", State: "on", Canary: 25, VLANs: "10,20-29", Ports: 3, Stations: 12,
			Frames:  Frames{Lane: 750, OVS: 250, LaneBytes: 9000, OVSBytes: 1000},
			Reasons: map[string]uint64{"lane": 750, "keepalive": 100, "group": 120, "runt": 1, "vlan": 2, "checksum": 3, "not-ip": 4, "nd": 20},
			Lost:    17,
			Refusals: []Refusal{{"br-ext/bond0", "bond", "a bond of 2 interfaces"}, {"br-ext/vx", "interface-type", "an interface of type \"vxlan\""},
				{"br-ext/vy", "interface-type", "an interface of type \"vxlan\""}, {"br-ext/p1", "port-off", "off"}, {"br-ext/p2", "port-off", "off"},
				{"br-ext/p3", "port-off", "off"}, {"br-ext/p4", "port-off", "off"}, {"br-ext/p5", "port-off", "off"}},
		},
		{Name: "br-int", Mode: "off", State: "off", Canary: 100},
		{Name: "br-lab", Mode: "observe", State: "observe", Canary: 100, Ports: 2, Stations: 2, Frames: Frames{OVS: 3000, Would: 1000, OVSBytes: 90000, WouldBytes: 60000},
			Reasons: map[string]uint64{"would": 1000, "group": 2000}},
		{Name: "br-new", Mode: "on", State: "on", Canary: 100},
		{
			Name: "br-ovn", Mode: "on", State: "refused", Canary: 100,
			Refusals: []Refusal{{"br-ovn", "flow-table", "table 0 is not a single actions=NORMAL rule"}},
		},
		{Name: "br-typo", Mode: "off", State: "off", Canary: 100, Errors: []string{`external_ids:xdp-offload="yes": want off, observe or on`}},
	}
	for _, tt := range []struct {
		name, bridge, want string
		status             Status
	}{
		{
			name:   "every kind of bridge",
			status: Status{Version: "0.1.0", PID: 77, Lane: "open", LeaseMS: 3250, OVS: OVS{Version: "3.1.0"}, Bridges: bridges},
			want: `
ovs-xdpd 0.1.0, pid 77: lane open (lease 3.2 s), Open vSwitch 3.1.0
bridge br-ext: on, 3 ports, 12 stations, canary 25 %, VLANs 10,20-29
    75.0 % of 1000 frames and 90.0 % of bytes on the lane; the rest: group 12.0 %, keepalive 10.0 %, nd 2.0 %, not-ip 0.4 %, checksum 0.3 %, 2 other reasons 0.3 %
    17 frames lost on the lane
    stays with OVS:
        5 of br-ext   port-off        p1 p2 p3 p4 and 1 more; each in: ovs-xdpctl status br-ext
        2 of br-ext   interface-type  vx vy; each in: ovs-xdpctl status br-ext
        br-ext/bond0  bond            a bond of 2 interfaces
bridge br-int: off
bridge br-lab: observe, 2 ports, 2 stations
    33.3 % of 3000 frames and 66.7 % of bytes would take the lane; the rest: group 66.7 %
bridge br-new: on, 0 ports, 0 stations
    no frame from its ports yet
bridge br-ovn: refused (asked for: on)
    stays with OVS:
        br-ovn  flow-table  table 0 is not a single actions=NORMAL rule
bridge br-typo: off
    error, so off: external_ids:xdp-offload="yes": want off, observe or on
`,
		},
		{
			name: "each refusal of one bridge",
			status: Status{Version: "0.1.0", PID: 77, Lane: "open", Bridges: []Bridge{{Name: "br0", Mode: "on", State: "on", Canary: 100,
				Refusals: []Refusal{{"br0/p1", "port-off", "off"}, {"br0/p2", "port-off", "off"}}}}},
			bridge: "br0",
			want: `
ovs-xdpd 0.1.0, pid 77: lane open
bridge br0: on, 0 ports, 0 stations
    no frame from its ports yet
    stays with OVS:
        br0/p1  port-off  off
        br0/p2  port-off  off
`,
		},
		{
			name: "a bridge that uses flows",
			status: Status{Version: "0.1.0", PID: 77, Lane: "open", Bridges: []Bridge{{Name: "br-int", Mode: "on", State: "on", Canary: 100, Lane: "flows",
				LaneWhy: "patch port p joins it to br-ex, which uses flows", Ports: 2, Stations: 3, Flows: 4, NoFlows: "OVS is being asked"}}},
			bridge: "br-int",
			want: `
ovs-xdpd 0.1.0, pid 77: lane open
bridge br-int: on, 2 ports, 3 stations, 4 flows
    follows OVS's flows: patch port p joins it to br-ex, which uses flows
    no flows now: OVS is being asked
    no frame from its ports yet
`,
		},
		{
			name:   "one bridge",
			status: Status{Version: "0.1.0", PID: 77, Lane: "open", OVS: OVS{Version: "3.1.0"}, Bridges: bridges},
			bridge: "br-int",
			want: `
ovs-xdpd 0.1.0, pid 77: lane open, Open vSwitch 3.1.0
bridge br-int: off
`,
		},
		{
			name: "an audited bridge",
			status: Status{Version: "0.1.0", PID: 77, Lane: "open", Bridges: []Bridge{{
				Name: "br0", Mode: "on", State: "on", Canary: 100, Audit: Audit{Asked: 9, Agreed: 7, Mismatches: 1, Unanswered: 1},
			}}},
			bridge: "br0",
			want: `
ovs-xdpd 0.1.0, pid 77: lane open
bridge br0: on, 0 ports, 0 stations
    no frame from its ports yet
    audit: OVS was asked about 9 frames: 7 as on the lane, 1 not, 1 unanswered
`,
		},
		{
			name: "a bridge that the audit has closed",
			status: Status{Version: "0.1.0", PID: 77, Lane: "open", Bridges: []Bridge{{
				Name: "br0", Mode: "on", State: "refused", Canary: 100,
				Audit: Audit{Asked: 9, Agreed: 6, Mismatches: 3, Found: &Finding{
					At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Detail: "the lane sends it to v2, OVS drops it",
					Trace: "Flow: udp\n\nDatapath actions: drop",
				}},
				Refusals: []Refusal{{"br0", "audit", "the lane sends it to v2, OVS drops it; to try again"}},
			}}},
			bridge: "br0",
			want: `
ovs-xdpd 0.1.0, pid 77: lane open
bridge br0: refused (asked for: on)
    stays with OVS:
        br0  audit  the lane sends it to v2, OVS drops it; to try again
    audit: OVS was asked about 9 frames: 6 as on the lane, 3 not, 0 unanswered
    audit: closed the lane at 2026-01-02T03:04:05Z: the lane sends it to v2, OVS drops it
    ofproto/trace of OVS then:
        Flow: udp

        Datapath actions: drop
`,
		},
		{
			name:   "nobody asked",
			status: Status{Version: "0.1.0", PID: 77, Lane: "open", OVS: OVS{Version: "2.17.9"}, Bridges: bridges[1:2]},
			want: `
ovs-xdpd 0.1.0, pid 77: lane open, Open vSwitch 2.17.9
bridge br-int: off
no bridge asks for the lane; to try one: ovs-vsctl set bridge BRIDGE external_ids:xdp-offload=observe
`,
		},
		{
			name:   "no bridge at all",
			status: Status{Version: "0.1.0", PID: 77, Lane: "open"},
			want: `
ovs-xdpd 0.1.0, pid 77: lane open
no bridge asks for the lane; to try one: ovs-vsctl set bridge BRIDGE external_ids:xdp-offload=observe
`,
		},
		{
			name:   "lost frames can't be seen",
			status: Status{Version: "0.1.0", PID: 77, Lane: "open", LossesUnseen: "load the programs: operation not permitted", Bridges: bridges[3:4]},
			want: `
ovs-xdpd 0.1.0, pid 77: lane open
frames that are lost on the lane can't be seen: load the programs: operation not permitted
bridge br-new: on, 0 ports, 0 stations
    no frame from its ports yet
`,
		},
		{
			name:   "OVS is not there",
			status: Status{Version: "0.1.0", PID: 77, Lane: "closed", Why: "connect to the database: no such file or directory"},
			want: `
ovs-xdpd 0.1.0, pid 77: lane closed (connect to the database: no such file or directory)
`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) { expect(t, tt.want, tt.status.Text(tt.bridge)) })
	}
}

func TestStatsText(t *testing.T) {
	s := Stats{
		Bridges: []BridgeStats{
			{Name: "br0", Lane: Count{750, 90000}, OVS: Count{250, 10000}, Total: Count{1000, 100000}},
			{Name: "br1", Error: "read rules of br1: ovs-ofctl: exit status 1"},
		},
		Ports: []PortStats{
			{Bridge: "br0", Interface: "eth0", OFPort: 1, RX: Frames{Lane: 700, OVS: 130}, TX: Sent{Lane: 50, Lost: 1},
				Reasons: map[string]uint64{"lane": 700, "group": 30, "keepalive": 100}, Device: host.Counters{RXFrames: 830, TXFrames: 260}},
			{Bridge: "br0", Interface: "tap12", OFPort: 65279, RX: Frames{Lane: 50, OVS: 5}},
		},
	}
	expect(t, `
bridge br0: 1000 frames = 750 on the lane (75.0 %) + 250 by OVS's rules; 100000 bytes = 90000 + 10000
    ofport  interface  in: lane  by OVS  in all  out: lane  lost  device rx  device tx  by OVS because of
         1  eth0       700       130     830     50         1     830        260        keepalive 100, group 30
     65279  tap12      50        5       55      0          0     0          0          
bridge br1: 0 frames = 0 on the lane (none yet) + 0 by OVS's rules; 0 bytes = 0 + 0
    OVS's counts are missing: read rules of br1: ovs-ofctl: exit status 1
    ofport  interface  in: lane  by OVS  in all  out: lane  lost  device rx  device tx  by OVS because of
`, s.Text())
}

func TestPortsText(t *testing.T) {
	ports := []Port{
		{
			Bridge: "br0", Port: "eth0", Interface: "eth0", OFPort: 1, IfIndex: 2, Ingress: true, Egress: true,
			Attach: "native", VLANMode: "trunk", RX: Frames{Lane: 1000, OVS: 20}, TX: Sent{Lane: 1234567, Lost: 16},
		},
		{
			Bridge: "br0", Port: "tap1", Interface: "tap1", OFPort: 2, Ingress: true, Attach: "native", VLANMode: "access", Tag: 10,
			RX: Frames{OVS: 9, Would: 4}, Refusals: []Refusal{{Reason: "qos"}, {Reason: "port-config"}},
		},
		{Bridge: "br0", Port: "vm", Interface: "tap2", OFPort: 3, Egress: true, Attach: "none", VLANMode: "native-untagged", Tag: 4095},
		// VLANMode is empty where the port is not on the lane and the column is.
		{Bridge: "br0", Port: "vx0", Interface: "vx0", OFPort: -1, Attach: "none", Tag: 30, Refusals: []Refusal{{Reason: "interface-type"}}},
	}
	var lines []string
	for line := range strings.Lines(PortsText(ports)) {
		lines = append(lines, strings.TrimRight(line, " \n")) // the last column may be empty
	}
	expect(t, `
bridge  port  ofport  attach  from  to    vlan                  lane in  would  by OVS  lane out  lost  reason
br0     eth0  1       native  lane  lane  trunk                 1000     0      20      1234567   16
br0     tap1  2       native  lane  ovs   access 10             0        4      9       0         0     qos port-config
br0     tap2  3       none    ovs   lane  native-untagged 4095  0        0      0       0         0
br0     vx0   -1      none    ovs   ovs   30                    0        0      0       0         0     interface-type`,
		strings.Join(lines, "\n"))
}

func TestStationsText(t *testing.T) {
	at := func(bridge string, vlan ovs.VLAN, n byte, ofport int, name, state string) Station {
		return Station{Bridge: bridge, VLAN: vlan, MAC: ovs.MAC{0x52, 0x54, 5: n}, Port: name, Interface: name, OFPort: ofport, State: state}
	}
	one := []Station{at("br0", 0, 1, 1, "eth0", "lane"), at("br0", 4095, 2, 65279, "veth-long0", "source-only")}
	two := append(one[:2:2], at("br1", 10, 1, 3, "tap1", "moved"))
	for _, tt := range []struct {
		name, bridge, want string
		stations           []Station
	}{
		{
			name: "one bridge", bridge: "br0", stations: one,
			want: `
 port  VLAN  MAC                Interface   State
    1     0  52:54:00:00:00:01  eth0        lane
65279  4095  52:54:00:00:00:02  veth-long0  source-only
`,
		},
		{
			name: "all bridges", stations: two,
			want: `
bridge br0:
 port  VLAN  MAC                Interface   State
    1     0  52:54:00:00:00:01  eth0        lane
65279  4095  52:54:00:00:00:02  veth-long0  source-only
bridge br1:
 port  VLAN  MAC                Interface  State
    3    10  52:54:00:00:00:01  tap1       moved
`,
		},
		{name: "one bridge without stations", bridge: "br0", want: "\n port  VLAN  MAC  Interface  State\n"},
		{name: "all bridges without stations", want: ""},
	} {
		t.Run(tt.name, func(t *testing.T) { expect(t, tt.want, StationsText(tt.stations, tt.bridge)) })
	}
}

func TestCoverageText(t *testing.T) {
	expect(t, `
events-lost  3
lane         1000
`, CoverageText(map[string]uint64{"lane": 1000, "events-lost": 3, "runt": 0}))
	expect(t, "", CoverageText(nil))
}

func TestParseLevel(t *testing.T) {
	for name, want := range map[string]slog.Level{
		"err": slog.LevelError, "warn": slog.LevelWarn, "info": slog.LevelInfo, "dbg": slog.LevelDebug,
		// As other tools call them.
		"error": slog.LevelError, "debug": slog.LevelDebug,
	} {
		if got, err := ParseLevel(name); err != nil || got != want {
			t.Errorf("ParseLevel(%q) = %v, %v; want %v", name, got, err, want)
		}
	}
	for _, name := range []string{"off", "emer"} {
		if got, err := ParseLevel(name); err != nil || got <= slog.LevelError {
			t.Errorf("ParseLevel(%q) = %v, %v; want more than errors", name, got, err)
		}
	}
	for _, name := range []string{"", "INFO", "warning", "info "} {
		if got, err := ParseLevel(name); err == nil || !strings.Contains(err.Error(), "want off, emer, err, warn, info or dbg") {
			t.Errorf("ParseLevel(%q) = %v, %v; want an error that names the levels", name, got, err)
		}
	}
}
