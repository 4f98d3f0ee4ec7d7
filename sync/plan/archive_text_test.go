// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// tablesText writes one line a port and a row, and each list with its rules.
func tablesText(t Tables) string {
	var b strings.Builder
	for _, p := range t.Ports {
		r := p.Rule
		fmt.Fprintf(&b, "port %d %s mode=%s bridge=%s", p.IfIndex, p.Name,
			[...]string{"target", "native", "veth", "generic", "slave"}[p.Mode], r.Bridge)
		if r.Domain != "" {
			fmt.Fprintf(&b, " domain=%s", r.Domain)
		}
		if p.SetOffloads {
			b.WriteString(" set-offloads")
		}
		for _, f := range []struct {
			on   bool
			name string
		}{
			{r.Watch, "watch"}, {r.Ingress, "ingress"}, {r.Egress, "egress"}, {r.Observe, "observe"},
			{r.Protected, "protected"}, {r.Declared, "declared"}, {r.Checksum, "checksum"}, {r.Reflects, "reflects"}, {r.Scattered, "scattered"}, {r.Finish, "finish"},
			{r.Flows, "flows"},
		} {
			if f.on {
				b.WriteString(" " + f.name)
			}
		}
		if !r.Watch && !r.Ingress && !r.Egress {
			b.WriteString(" closed")
		}
		if r == r.Shut() {
			b.WriteByte('\n')
			continue
		}
		if r.Bundle != 0 {
			fmt.Fprintf(&b, " bundle=%d", r.Bundle)
		}
		if r.Legs != [Legs]int{} {
			fmt.Fprintf(&b, " legs=%v", r.Legs)
		}
		fmt.Fprintf(&b, " %s vid=%d vlans=%s max=%d keepalive=%v%s\n", r.VLANMode, r.VID, r.VLANs, r.MaxFrame, r.KeepAlive, policyText(r))
	}
	for _, r := range t.Rows {
		fmt.Fprintf(&b, "row %s vlan=%d %s at %d", r.Bridge, r.VLAN, r.MAC, r.IfIndex)
		if r.Target {
			b.WriteString(" target")
		}
		if r.Mirrored {
			b.WriteString(" mirrored")
		}
		if r.Declared {
			b.WriteString(" declared")
		}
		if r.Moved {
			b.WriteString(" moved")
		}
		b.WriteByte('\n')
	}
	for _, f := range t.Flows {
		fmt.Fprintf(&b, "flow %s => %s", f.FlowKey, f.Tag)
		if f.Tag == PushTag || f.Tag == SetTag {
			fmt.Fprintf(&b, " %d priority %d", f.VID, f.PCP)
		}
		fmt.Fprintf(&b, " at %d keepalive=%v\n", f.Egress, f.KeepAlive)
	}
	for _, l := range t.Lists {
		b.WriteString(listText(l))
	}
	return b.String()
}

func refusalsText(list []Refusal) string {
	var b strings.Builder
	for _, r := range list {
		fmt.Fprintf(&b, "%s: %s: %s\n", r.Subject, r.Reason, r.Detail)
	}
	return b.String()
}

func bridgesText(list []Bridge) string {
	var b strings.Builder
	for _, br := range list {
		fmt.Fprintf(&b, "%s asks=%s state=%s canary=%d", br.Name, br.Mode, br.State, br.Canary)
		if br.VLANs != "" {
			fmt.Fprintf(&b, " vlans=%s", br.VLANs)
		}
		if br.Lane == FlowLane {
			fmt.Fprintf(&b, " flows: %s", br.LaneWhy)
		}
		b.WriteByte('\n')
		for _, e := range br.Errors {
			fmt.Fprintf(&b, "    %s\n", e)
		}
	}
	return b.String()
}

// framesText answers the lines of frames.txt, "DEVICE VID[/PCP] SOURCE DESTINATION
// [LENGTH] [FIELD=VALUE...]", each with what the lane does; anything behind "=>"
// is replaced. The fields are what the frame carries (see carry); "any" stands
// for all that it may carry.
func framesText(text string, t *Tables, links map[string]Link) (string, error) {
	var b strings.Builder
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "=>")
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			b.WriteString(line + "\n")
			continue
		}
		f, err := readFrame(line, links)
		if err != nil {
			return "", fmt.Errorf("frame %q: %w", line, err)
		}
		v := t.Decide(f)
		b.WriteString(line + " => " + v.Reason)
		if v.Drops != (v.Reason == "dropped" || v.Reason == "dropped-address") {
			return "", fmt.Errorf("frame %q: %+v", line, v)
		}
		if v.Depends {
			b.WriteString(" for some")
		}
		if v.IfIndex != 0 {
			out := fmt.Sprint(v.IfIndex)
			for _, l := range links {
				if l.IfIndex == v.IfIndex {
					out = l.Name
				}
			}
			fmt.Fprintf(&b, " to %s", out)
			if v.VID == 0 {
				b.WriteString(" untagged")
			} else {
				fmt.Fprintf(&b, " tagged %d", v.VID)
				if v.PCP != 0 {
					fmt.Fprintf(&b, " priority %d", v.PCP)
				}
			}
		}
		b.WriteByte('\n')
	}
	return b.String(), nil
}

func readFrame(line string, links map[string]Link) (Frame, error) {
	words := strings.Fields(line)
	if len(words) < 4 {
		return Frame{}, errors.New("want DEVICE VID SOURCE DESTINATION")
	}
	f := Frame{IfIndex: links[words[0]].IfIndex, Len: 60}
	var err error
	vid, pcp, hasPCP := strings.Cut(words[1], "/")
	if _, err = fmt.Sscan(vid, &f.VID); err != nil {
		return f, err
	}
	if hasPCP {
		if _, err = fmt.Sscan(pcp, &f.PCP); err != nil {
			return f, err
		}
	}
	if f.Src, err = ovs.ParseMAC(words[2]); err != nil {
		return f, err
	}
	if f.Dst, err = ovs.ParseMAC(words[3]); err != nil {
		return f, err
	}
	for _, w := range words[4:] {
		switch name, value, field := strings.Cut(w, "="); {
		case field:
			err = carry(&f.Carries, name, value)
		case w == "any":
			f.Any = true
		default:
			_, err = fmt.Sscan(w, &f.Len)
		}
		if err != nil {
			return f, err
		}
	}
	return f, nil
}
