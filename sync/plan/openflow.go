// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/sync/plan/rules"
)

// DefaultRulesPerList is how many rules a list has at most without a flag.
const DefaultRulesPerList = 256

// openFlow is what a bridge's OpenFlow rules are for the lane.
type openFlow struct {
	bridge string
	table  *rules.Table
	ids    []RuleID // by index of Detail.Rules, as needed
	rules  []ovs.Rule
	// noDrop turns what the rules drop over to OVS, where mirrors are to see it.
	noDrop bool
	limit  int
	// scoped tells that there are lists of destinations, of which digest tells.
	scoped bool
	digest string
}

// judgeRules compiles the rules of a bridge, or says why they keep all of it with
// OVS.
func (b *builder) judgeRules(br *ovs.Bridge) (table *rules.Table, why string) {
	all := br.Detail.Rules
	if !slices.ContainsFunc(all, func(r ovs.Rule) bool { return r.Table == 0 }) {
		return nil, "table 0 has no rule: OVS drops every frame"
	}
	if i := slices.IndexFunc(all, func(r ovs.Rule) bool { return teaches(&r) }); i >= 0 {
		return nil, fmt.Sprintf("by rule %q OVS may learn stations that the lane does not see", &all[i])
	}
	compile := b.policy.Compile
	if compile == nil {
		compile = func(_ string, all []ovs.Rule) *rules.Table { t := rules.Compile(all); return &t }
	}
	if table = compile(br.Name, all); !table.Offloads() {
		return nil, fmt.Sprintf("no rule leaves a frame to actions=NORMAL in a way that the lane knows; there are %d rules, among them %q", len(all), &all[0])
	}
	return table, ""
}

// makeOpenFlow makes the lists of destinations of a bridge; those of its ports
// follow with them. nil: no lists are needed.
func (b *builder) makeOpenFlow(br *ovs.Bridge, table *rules.Table) *openFlow {
	if table == nil || table.Plain() {
		return nil
	}
	o := &openFlow{
		bridge: br.Name, table: table, rules: br.Detail.Rules, ids: make([]RuleID, len(br.Detail.Rules)),
		noDrop: len(br.Mirrors) > 0, limit: cmp.Or(b.policy.RulesPerList, DefaultRulesPerList), scoped: len(table.ByDst) > 0,
	}
	var lists []List
	inOrder := func(x, y ovs.MAC) int { return slices.Compare(x[:], y[:]) }
	for _, dst := range slices.SortedFunc(maps.Keys(table.ByDst), inOrder) {
		key, list := ListKey{Kind: DestinationRules, Bridge: br.Name, Dst: dst}, table.ByDst[dst]
		if len(list) > o.limit {
			b.refuse(br.Name, TooManyRules, "%d OpenFlow rules name destination %s, and a list has room for %d (--rules-per-list): frames to it stay with OVS",
				len(list), dst, o.limit)
			list = []rules.Rule{{}}
		}
		lists = append(lists, newList(key, o.list(list)))
	}
	h := sha256.New()
	for _, l := range lists {
		fmt.Fprintf(h, "%s=%s,", l.Key.Dst, l.Digest)
	}
	o.digest = hex.EncodeToString(h.Sum(nil)[:16])
	b.Tables.Lists = append(b.Tables.Lists, lists...)
	return o
}

// plainRules names the rules that every frame of a bridge hits; "" when it has
// lists.
func plainRules(br *ovs.Bridge, table *rules.Table) string {
	if table == nil || !table.Plain() {
		return ""
	}
	var names []string
	for _, n := range table.General[0].Origins {
		names = append(names, string(IDOf(&br.Detail.Rules[n])))
	}
	return strings.Join(names, "\n")
}

// portRules gives the rule of a port its lists of OpenFlow rules.
func (b *builder) portRules(subject string, iface *ovs.Interface, rule *Rule) {
	o := b.openFlow
	if rule.Plain = b.plain; o == nil || !rule.Watch {
		return
	}
	key := ListKey{Kind: PortRules, Bridge: o.bridge, Port: uint32(iface.OFPort)}
	own := o.table.ByPort[key.Port]
	list := slices.Concat(o.table.General, own)
	slices.SortFunc(list, func(x, y rules.Rule) int { return cmp.Compare(x.Order, y.Order) })
	if len(list) > o.limit {
		b.refuse(subject, TooManyRules, "%d OpenFlow rules apply to frames from the port, and a list has room for %d (--rules-per-list): they stay with OVS",
			len(list), o.limit)
		list = nil
		rule.Ingress = false
	}
	if len(list) == 0 { // what no rule decides passes
		list = []rules.Rule{{Order: 1<<32 - 1}}
	}
	l := newList(key, o.list(list))
	b.Tables.Lists = append(b.Tables.Lists, l)
	rule.Rules, rule.Scoped, rule.Lists = key, o.scoped, l.Digest+o.digest
}

// fitLists tells whether there is room for the lists of a bridge beside those of
// the bridges before it; else its ports are closed. Half the room is left, for
// lists that take the place of others.
func (b *builder) fitLists(bridge string, ports []Port) bool {
	own := func(l List) bool { return l.Key.Bridge == bridge }
	total, count := 0, 0
	for _, l := range b.Tables.Lists {
		if total += len(l.Rules); own(l) {
			count += len(l.Rules)
		}
	}
	if b.policy.Rules == 0 || count == 0 || total <= b.policy.Rules/2 {
		return true
	}
	b.refuse(bridge, TooManyRules, "the bridge's lists have %d OpenFlow rules, and there is room for %d (--rule-rows, half of it)",
		count, max(0, b.policy.Rules/2-(total-count)))
	b.Tables.Lists = slices.DeleteFunc(b.Tables.Lists, own)
	for i := range ports {
		ports[i].Rule = Rule{Bridge: bridge}
	}
	return false
}

// list turns compiled rules into those of a list.
func (o *openFlow) list(compiled []rules.Rule) []ListRule {
	list := make([]ListRule, len(compiled))
	for i, c := range compiled {
		list[i] = ListRule{Match: c.Match, Verdict: c.Verdict, Order: c.Order, Idle: c.Idle / 4}
		if o.noDrop && c.Verdict == rules.Drop {
			list[i].Verdict = rules.Pass
		}
		for _, n := range c.Origins {
			if o.ids[n] == "" {
				o.ids[n] = IDOf(&o.rules[n])
			}
			list[i].Origins = append(list[i].Origins, o.ids[n])
		}
	}
	return list
}
