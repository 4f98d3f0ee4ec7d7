// SPDX-License-Identifier: Apache-2.0

package report

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/ofctl"
	"github.com/ovs-xdp/ovs-xdp/sync/host"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// Stats is the document of stats/show and ovs-xdpctl stats: what OVS's own
// counters say, next to what the lane has taken from them.
type Stats struct {
	Bridges []BridgeStats `json:"bridges"`
	Ports   []PortStats   `json:"ports"`
}

// Count is a number of frames and of their bytes.
type Count struct {
	Frames uint64 `json:"frames"`
	Bytes  uint64 `json:"bytes"`
}

// BridgeStats adds up the two ways through a bridge. The lane's count begins
// when a port joins the lane, that of OVS when a rule is made.
type BridgeStats struct {
	Name string `json:"name"`
	// Lane counts frames that were redirected, OVS those that the OpenFlow rules
	// of table 0 have counted (n_packets and n_bytes of "ovs-ofctl dump-flows",
	// about a second late), Total both.
	Lane  Count `json:"lane"`
	OVS   Count `json:"ovs"`
	Total Count `json:"total"`
	// Error says why OVS's counts are missing, "" when they are there.
	Error string `json:"error"`
}

// PortStats are the counters of one interface.
type PortStats struct {
	Bridge    string `json:"bridge"`
	Interface string `json:"interface"`
	OFPort    int    `json:"ofport"`
	// RX counts frames from the port, Reasons the same by what became of them,
	// TX frames that the lane sent to it.
	RX      Frames            `json:"rx"`
	TX      Sent              `json:"tx"`
	Reasons map[string]uint64 `json:"reasons"`
	// Device has the counters of the device, as OVS shows them; whether frames
	// on the lane are in them depends on the driver.
	Device host.Counters `json:"device"`
}

// Stats reads the counters of one bridge, or of all that ask for the lane when
// bridge is "".
func (r Reporter) Stats(ctx context.Context, bridge string) (Stats, error) {
	devices, err := host.ReadCounters()
	if err != nil {
		return Stats{}, err
	}
	out := Stats{Bridges: []BridgeStats{}, Ports: []PortStats{}}
	lanes := make(map[string]Count)
	for _, p := range r.Ports(bridge) {
		out.Ports = append(out.Ports, PortStats{Bridge: p.Bridge, Interface: p.Interface, OFPort: p.OFPort,
			RX: p.RX, TX: p.TX, Reasons: p.Reasons, Device: devices[p.IfIndex]})
		c := lanes[p.Bridge]
		lanes[p.Bridge] = Count{c.Frames + p.RX.Lane, c.Bytes + p.RX.LaneBytes}
	}
	flows := ofctl.Client{Rundir: r.Rundir}
	for _, b := range r.Daemon.View().Result.Bridges {
		if bridge != b.Name && (bridge != "" || b.Mode == plan.Off) {
			continue
		}
		s := BridgeStats{Name: b.Name, Lane: lanes[b.Name]}
		rules, err := flows.Rules(ctx, b.Name)
		if err != nil {
			s.Error = err.Error()
		}
		s.OVS = counted(rules)
		s.Total = Count{s.Lane.Frames + s.OVS.Frames, s.Lane.Bytes + s.OVS.Bytes}
		out.Bridges = append(out.Bridges, s)
	}
	return out, nil
}

// counted adds up the rules that a frame meets first, each frame once.
func counted(rules []ovs.Rule) Count {
	var c Count
	for i := range rules {
		if rules[i].Table == 0 {
			c.Frames += rules[i].Packets
			c.Bytes += rules[i].Bytes
		}
	}
	return c
}

// Text returns the document for people.
func (s Stats) Text() string {
	var b strings.Builder
	for _, br := range s.Bridges {
		fmt.Fprintf(&b, "bridge %s: %d frames = %d on the lane (%s) + %d by OVS's rules; %d bytes = %d + %d\n",
			br.Name, br.Total.Frames, br.Lane.Frames, share(br.Lane.Frames, br.Total.Frames), br.OVS.Frames,
			br.Total.Bytes, br.Lane.Bytes, br.OVS.Bytes)
		if br.Error != "" {
			fmt.Fprintf(&b, "    OVS's counts are missing: %s\n", br.Error)
		}
		b.WriteString(table(func(w *tabwriter.Writer) {
			fmt.Fprintln(w, "    ofport\tinterface\tin: lane\tby OVS\tin all\tout: lane\tlost\tdevice rx\tdevice tx\tby OVS because of")
			for _, p := range s.Ports {
				if p.Bridge == br.Name {
					all, _ := p.RX.Total()
					fmt.Fprintf(w, "    %6d\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", p.OFPort, p.Interface, p.RX.Lane, p.RX.OVS, all,
						p.TX.Lane, p.TX.Lost, p.Device.RXFrames, p.Device.TXFrames, counts(p.Reasons))
				}
			}
		}))
	}
	return b.String()
}

// counts lists why frames went by OVS, most frequent first.
func counts(reasons map[string]uint64) string {
	var said []string
	for _, name := range byCount(reasons) {
		if name != "lane" {
			said = append(said, fmt.Sprintf("%s %d", name, reasons[name]))
		}
	}
	return strings.Join(said, ", ")
}
