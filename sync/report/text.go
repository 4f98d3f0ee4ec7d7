// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// table lays out columns as OVS's own tools do, left-aligned.
func table(fill func(w *tabwriter.Writer)) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fill(w)
	w.Flush()
	return b.String()
}

// share is n of total in percent, for people.
func share(n, total uint64) string {
	if total == 0 {
		return "none yet"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(total))
}

// Text returns the document of offload/show for people; bridge, if not "",
// leaves out all others.
func (s Status) Text(bridge string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "ovs-xdpd %s, pid %d: lane %s", s.Version, s.PID, s.Lane)
	if s.Why != "" {
		fmt.Fprintf(&b, " (%s)", s.Why)
	}
	if s.OVS.Version != "" {
		fmt.Fprintf(&b, ", Open vSwitch %s", s.OVS.Version)
	}
	b.WriteByte('\n')
	if s.LossesUnseen != "" {
		fmt.Fprintf(&b, "frames that are lost on the lane can't be seen: %s\n", s.LossesUnseen)
	}
	asked := false
	for _, br := range s.Bridges {
		asked = asked || br.Mode != "off" || len(br.Errors) > 0
		if bridge == "" || br.Name == bridge {
			br.text(&b)
			if bridge != "" {
				br.Audit.text(&b)
			}
		}
	}
	if !asked && s.Lane == "open" {
		b.WriteString("no bridge asks for the lane; to try one: ovs-vsctl set bridge BRIDGE external_ids:xdp-offload=observe\n")
	}
	return b.String()
}

func (br Bridge) text(b *strings.Builder) {
	fmt.Fprintf(b, "bridge %s: %s", br.Name, br.State)
	if br.State == "refused" {
		fmt.Fprintf(b, " (asked for: %s)", br.Mode)
	}
	if br.Mode != "off" && br.State != "refused" {
		fmt.Fprintf(b, ", %d ports, %d stations", br.Ports, br.Stations)
		if br.Canary != 100 {
			fmt.Fprintf(b, ", canary %d %%", br.Canary)
		}
		if br.VLANs != "" {
			fmt.Fprintf(b, ", VLANs %s", br.VLANs)
		}
		f := br.Frames
		total := f.Lane + f.OVS
		if br.State == "observe" {
			fmt.Fprintf(b, "\n    frames: %d would take the lane (%s), %d others", f.Would, share(f.Would, total), total-f.Would)
		} else {
			fmt.Fprintf(b, "\n    frames: %d on the lane (%s), %d by OVS", f.Lane, share(f.Lane, total), f.OVS)
		}
		if f.Dropped > 0 {
			fmt.Fprintf(b, ", %d dropped", f.Dropped)
		}
		if br.Lost > 0 {
			fmt.Fprintf(b, ", %d lost on the lane", br.Lost)
		}
	}
	b.WriteByte('\n')
	for _, e := range br.Errors {
		fmt.Fprintf(b, "    error, so off: %s\n", e)
	}
	if len(br.Refusals) > 0 {
		b.WriteString("    stays with OVS:\n")
		b.WriteString(table(func(w *tabwriter.Writer) {
			for _, r := range br.Refusals {
				fmt.Fprintf(w, "        %s\t%s\t%s\n", r.Subject, r.Reason, r.Detail)
			}
		}))
	}
}

// PortsText returns the document of port/show for people.
func PortsText(ports []Port) string {
	return table(func(w *tabwriter.Writer) {
		fmt.Fprintln(w, "bridge\tport\tofport\tattach\tfrom\tto\tvlan\tlane in\twould\tby OVS\tlane out\tlost\treason")
		for _, p := range ports {
			vlan := p.VLANMode
			if p.Tag != 0 {
				vlan = strings.TrimPrefix(fmt.Sprintf("%s %d", vlan, p.Tag), " ")
			}
			var why []string
			for _, r := range p.Refusals {
				why = append(why, r.Reason)
			}
			fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%s\n", p.Bridge, p.Interface, p.OFPort, p.Attach,
				lane(p.Ingress), lane(p.Egress), vlan, p.RX.Lane, p.RX.Would, p.RX.OVS, p.TX.Lane, p.TX.Lost, strings.Join(why, " "))
		}
	})
}

func lane(on bool) string {
	if on {
		return "lane"
	}
	return "ovs"
}

// StationsText returns the document of fdb/show for people, in the form of
// OVS's own fdb/show; all bridges together come with a heading each.
func StationsText(stations []Station, bridge string) string {
	var b strings.Builder
	for i := 0; i < len(stations) || i == 0 && bridge != ""; {
		n := len(stations)
		if bridge == "" {
			name := stations[i].Bridge
			for n = i; n < len(stations) && stations[n].Bridge == name; n++ {
			}
			fmt.Fprintf(&b, "bridge %s:\n", name)
		}
		b.WriteString(table(func(w *tabwriter.Writer) {
			fmt.Fprintln(w, " port\tVLAN\tMAC\tInterface\tState")
			for _, s := range stations[i:n] {
				fmt.Fprintf(w, "%5d\t%4d\t%s\t%s\t%s\n", s.OFPort, s.VLAN, s.MAC, s.Interface, s.State)
			}
		}))
		i = max(n, 1)
	}
	return b.String()
}

// CoverageText lists counters that are not 0, as coverage/show of OVS does.
func CoverageText(total map[string]uint64) string {
	return table(func(w *tabwriter.Writer) {
		for _, name := range slices.Sorted(maps.Keys(total)) {
			if total[name] > 0 {
				fmt.Fprintf(w, "%s\t%d\n", name, total[name])
			}
		}
	})
}
