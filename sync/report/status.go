// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Text returns the document of offload/show for people; bridge, if not "",
// leaves out all others, and tells all of that one. All bridges together come
// short, to fit on a screen.
func (s Status) Text(bridge string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "ovs-xdpd %s, pid %d: lane %s", s.Version, s.PID, s.Lane)
	if s.LeaseMS > 0 {
		fmt.Fprintf(&b, " (lease %.1f s)", (time.Duration(s.LeaseMS) * time.Millisecond).Seconds())
	}
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
			br.text(&b, bridge != "")
		}
	}
	if !asked && s.Lane == "open" {
		b.WriteString("no bridge asks for the lane; to try one: ovs-vsctl set bridge BRIDGE external_ids:xdp-offload=observe\n")
	}
	return b.String()
}

// text tells of a bridge; of each refusal and of the audit only when all is
// asked for.
func (br Bridge) text(b *strings.Builder, all bool) {
	fmt.Fprintf(b, "bridge %s: %s", br.Name, br.State)
	if br.State == "refused" {
		fmt.Fprintf(b, " (asked for: %s)", br.Mode)
	}
	if br.Mode != "off" && br.State != "refused" {
		fmt.Fprintf(b, ", %d ports, %d stations", br.Ports, br.Stations)
		if br.Lane == "flows" {
			fmt.Fprintf(b, ", %d flows", br.Flows)
		}
		if br.Canary != 100 {
			fmt.Fprintf(b, ", canary %d %%", br.Canary)
		}
		if br.VLANs != "" {
			fmt.Fprintf(b, ", VLANs %s", br.VLANs)
		}
		if br.Lane == "flows" && all {
			fmt.Fprintf(b, "\n    follows OVS's flows: %s", br.LaneWhy)
		}
		if br.NoFlows != "" {
			fmt.Fprintf(b, "\n    no flows now: %s", br.NoFlows)
		}
		fmt.Fprintf(b, "\n    %s", br.Frames.forecast(br.State == "observe", br.Reasons))
		if br.Lost > 0 {
			fmt.Fprintf(b, "\n    %d frames lost on the lane", br.Lost)
		}
	}
	b.WriteByte('\n')
	for _, e := range br.Errors {
		fmt.Fprintf(b, "    error, so off: %s\n", e)
	}
	if len(br.Refusals) > 0 {
		b.WriteString("    stays with OVS:\n")
		if all {
			b.WriteString(refusalTable(br.Refusals))
		} else {
			b.WriteString(refusalSummary(br.Name, br.Refusals))
		}
	}
	if all {
		br.Audit.text(b)
	}
}

// refusalTable lists every refusal.
func refusalTable(list []Refusal) string {
	return table(func(w *tabwriter.Writer) {
		for _, r := range list {
			fmt.Fprintf(w, "        %s\t%s\t%s\n", r.Subject, r.Reason, r.Detail)
		}
	})
}

// refusalSummary has a line for each reason. A single refusal is told whole; of
// several the subjects are, as many as fit.
func refusalSummary(bridge string, list []Refusal) string {
	const fit = 4
	byReason := make(map[string][]Refusal)
	var reasons []string
	for _, r := range list {
		if byReason[r.Reason] == nil {
			reasons = append(reasons, r.Reason)
		}
		byReason[r.Reason] = append(byReason[r.Reason], r)
	}
	slices.SortStableFunc(reasons, func(x, y string) int { return cmp.Compare(len(byReason[y]), len(byReason[x])) })
	return table(func(w *tabwriter.Writer) {
		for _, reason := range reasons {
			of := byReason[reason]
			if len(of) == 1 {
				fmt.Fprintf(w, "        %s\t%s\t%s\n", of[0].Subject, reason, of[0].Detail)
				continue
			}
			var names []string
			for _, r := range of[:min(len(of), fit)] {
				names = append(names, strings.TrimPrefix(r.Subject, bridge+"/"))
			}
			more := ""
			if len(of) > fit {
				more = fmt.Sprintf(" and %d more", len(of)-fit)
			}
			fmt.Fprintf(w, "        %d of %s\t%s\t%s%s; each in: ovs-xdpctl status %s\n", len(of), bridge, reason, strings.Join(names, " "), more, bridge)
		}
	})
}
