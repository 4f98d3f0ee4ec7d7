// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"
	"strings"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// What an action of an OpenFlow rule may have to do with what OVS learns.
const (
	// learnsNothing neither learns nor changes what is learned.
	learnsNothing = iota
	// learns may lead to NORMAL, which learns the source of the frame in its VLAN
	// on the port where it came from.
	learns
	// rewrites changes one of these three.
	rewrites
	// doesAnything may do both.
	doesAnything
)

// actionKinds are those of actions by what they begin with, as ovs-ofctl
// dump-flows prints them; of others nothing is known.
var actionKinds = []struct {
	prefix string
	kind   int
}{
	{"NORMAL", learns}, {"goto_table:", learns}, {"resubmit(,", learns}, {"ct(", learns},
	{"drop", learnsNothing}, {"output:", learnsNothing}, {"FLOOD", learnsNothing}, {"ALL", learnsNothing}, {"LOCAL", learnsNothing},
	{"IN_PORT", learnsNothing}, {"CONTROLLER", learnsNothing}, {"controller(", learnsNothing}, {"enqueue:", learnsNothing},
	{"set_queue:", learnsNothing}, {"pop_queue", learnsNothing}, {"note:", learnsNothing}, {"exit", learnsNothing}, {"dec_ttl", learnsNothing},
	{"mod_dl_dst:", learnsNothing}, {"mod_nw_", learnsNothing}, {"mod_tp_", learnsNothing}, {"meter:", learnsNothing}, {"learn(", learnsNothing},
	{"write_metadata:", learnsNothing}, {"set_tunnel", learnsNothing}, {"ct_clear", learnsNothing}, {"fin_timeout(", learnsNothing},
	{"mod_dl_src:", rewrites}, {"mod_vlan_", rewrites}, {"strip_vlan", rewrites}, {"pop_vlan", rewrites}, {"push_vlan:", rewrites},
	{"load:", rewrites}, {"set_field:", rewrites}, {"move:", rewrites},
}

func actionKind(action string) int {
	for _, k := range actionKinds {
		if !strings.HasPrefix(action, k.prefix) {
			continue
		}
		// Registers and the like are nothing that NORMAL learns from.
		_, field, ok := strings.Cut(action, "->")
		if k.kind == rewrites && ok && slices.ContainsFunc([]string{"NXM_NX_REG", "NXM_NX_XXREG", "NXM_OF_ETH_DST", "reg", "xxreg", "metadata", "eth_dst"},
			func(of string) bool { return strings.HasPrefix(field, of) }) {
			return learnsNothing
		}
		return k.kind
	}
	return doesAnything
}

// teaches tells whether OVS may learn of a frame that hits the rule what the lane
// does not see: another source, VLAN or port than those of the frame. Then a
// station moves behind the back of the source check.
func teaches(r *ovs.Rule) bool {
	var has [doesAnything + 1]bool
	for _, action := range r.Actions {
		has[actionKind(action)] = true
	}
	return has[doesAnything] || has[rewrites] && has[learns]
}
