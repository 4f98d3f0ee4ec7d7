// SPDX-License-Identifier: Apache-2.0

package dpflow

import (
	"strings"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// actionReasons are the actions that no flow of the lane has, by the name that
// format_odp_action in lib/odp-util.c prints.
var actionReasons = map[string]Reason{
	"add_mpls":      Rewrite,
	"check_pkt_len": PacketLength,
	"clone":         Clone,
	"ct":            Conntrack,
	"ct_clear":      Conntrack,
	"dec_ttl":       Rewrite,
	"drop":          Drop,
	"hash":          HashAction,
	"lb_output":     HashAction,
	"meter":         Meter,
	"pop_eth":       Rewrite,
	"pop_mpls":      Rewrite,
	"pop_nsh":       Rewrite,
	"psample":       Sampling,
	"push_eth":      Rewrite,
	"push_mpls":     Rewrite,
	"push_nsh":      Rewrite,
	"recirc":        Recirculates,
	"sample":        Sampling,
	"set":           Rewrite,
	"tnl_pop":       Tunnel,
	"tnl_push":      Tunnel,
	"trunc":         Truncate,
	"userspace":     Userspace,
}

// samplers are the kinds of the action userspace that sample.
var samplers = []string{"sFlow(", "flow_sample(", "ipfix("}

// readActions reads the actions: at most one pop_vlan, at most one push_vlan, and
// one port, in this order.
func (r *reading) readActions(actions []string) {
	lane := &r.lane
	for _, text := range actions {
		name, _, _ := strings.Cut(text, "(")
		why, refused := actionReasons[name]
		switch {
		case name == "userspace" && r.samples(text):
			r.refuse(Sampling, text)
		case refused:
			r.refuse(why, text)
		case lane.Output != "" && (PlainName(text) || name == "pop_vlan" || name == "push_vlan"):
			// The frame has been sent, and is sent again by this or what follows.
			r.refuse(SeveralOutputs, strings.Join(actions, ","))
		case text == "pop_vlan":
			if lane.Pop || lane.Push.Present || !lane.Tag.Present {
				r.refuse(VLANAction, text)
			}
			lane.Pop = true
		case name == "push_vlan":
			tag, ok := parsePush(text)
			if !ok || lane.Push.Present || lane.Tag.Present && !lane.Pop {
				r.refuse(VLANAction, text)
			}
			lane.Push = tag
		case strings.ContainsAny(text, "()"):
			r.refuse(UnknownAction, text)
		case !PlainName(text):
			r.refuse(PortName, text)
		case text == lane.InPort:
			r.refuse(Hairpin, text)
		default:
			lane.Output = text
		}
	}
	if lane.Output == "" {
		r.refuse(VLANAction, strings.Join(actions, ","))
	}
}

// samples tells the action userspace that takes a sample.
func (r *reading) samples(text string) bool {
	for _, s := range samplers {
		if strings.Contains(text, ","+s) {
			return true
		}
	}
	return false
}

// parsePush reads "push_vlan(vid=10,pcp=0)". With another TPID, or without the CFI
// bit that stands for the tag, OVS prints more.
func parsePush(text string) (Tag, bool) {
	_, content, ok := cutParens(text)
	vid, pcp, _ := strings.Cut(content, ",")
	vid, okV := strings.CutPrefix(vid, "vid=")
	pcp, okP := strings.CutPrefix(pcp, "pcp=")
	v, okV2 := decimal(vid, 12)
	p, okP2 := decimal(pcp, 3)
	return Tag{Present: true, VID: ovs.VLAN(v), PCP: uint8(p)}, ok && okV && okP && okV2 && okP2
}
