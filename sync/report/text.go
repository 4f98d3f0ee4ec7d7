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
