// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/ovs-xdp/ovs-xdp/bpf"
	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/ofctl"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
	"github.com/ovs-xdp/ovs-xdp/sync/plan/rules"
	"github.com/ovs-xdp/ovs-xdp/sync/reconcile"
)

// Rule is one element of rule/show and ovs-xdpctl rules: an OpenFlow rule.
type Rule struct {
	Bridge   string `json:"bridge"`
	Table    uint8  `json:"table"`
	Priority uint16 `json:"priority"`
	// Match and Actions are as ovs-ofctl dump-flows prints them.
	Match   string `json:"match"`
	Actions string `json:"actions"`
	// Verdict is what the lane makes of the rule: normal, drop, pass (OVS
	// decides), several of them, or "" when the rules of the bridge are not on the
	// lane, or no frame can hit it.
	Verdict string `json:"verdict"`
	// Lane counts what the lane has decided by it, OVS is n_packets and n_bytes,
	// and Total both.
	Lane  Count `json:"lane"`
	OVS   Count `json:"ovs"`
	Total Count `json:"total"`
}

// Rules tells of every OpenFlow rule of one bridge, or of all bridges that ask
// for the lane when bridge is "", by table, and the highest priority first. It
// asks OVS for its counters.
func (r Reporter) Rules(ctx context.Context, bridge string) ([]Rule, error) {
	v := r.Daemon.View()
	list := []Rule{}
	if v.Snapshot == nil {
		return list, nil
	}
	for i := range v.Snapshot.Bridges {
		b := &v.Snapshot.Bridges[i]
		if bridge != b.Name && (bridge != "" || !plan.Wanted(b)) {
			continue
		}
		lane, verdicts := r.laneRules(v, b.Name)
		all, err := (&ofctl.Client{Rundir: r.Rundir}).Rules(ctx, b.Name)
		if err != nil {
			return nil, err
		}
		slices.SortStableFunc(all, func(x, y ovs.Rule) int {
			return cmp.Or(cmp.Compare(x.Table, y.Table), cmp.Compare(y.Priority, x.Priority))
		})
		for n := range all {
			list = append(list, ruleOf(b.Name, &all[n], lane, verdicts))
		}
	}
	return list, nil
}

// pastRules says of one bridge, or of all when bridge is "", how many frames took the
// lane by OVS's flows: OVS has gone through the rules once for all of a flow, and
// which ones is not in it.
func (r Reporter) pastRules(bridge string) string {
	lane := make(map[string]uint64)
	for _, p := range r.Ports(bridge) {
		lane[p.Bridge] += p.RX.Lane
	}
	v := r.Daemon.View()
	text := ""
	for _, b := range v.Result.Bridges {
		if b.Lane == plan.FlowLane && b.Mode != plan.Off && (bridge == "" || bridge == b.Name) {
			text += fmt.Sprintf("%s follows OVS's flows: %d frames from its ports took the lane, and are in no rule's count\n", b.Name, lane[b.Name])
		}
	}
	return text
}

func ruleOf(bridge string, r *ovs.Rule, lane map[plan.RuleID]bpf.RuleCount, verdicts map[plan.RuleID][]string) Rule {
	id := plan.IDOf(r)
	var match []string
	for _, m := range r.Match {
		match = append(match, strings.TrimSuffix(m.Field+"="+m.Value, "="))
	}
	out := Rule{
		Bridge: bridge, Table: r.Table, Priority: r.Priority,
		Match: strings.Join(append(match, r.Unknown...), ","), Actions: strings.Join(r.Actions, ","),
		Verdict: strings.Join(verdicts[id], "|"),
		Lane:    Count{lane[id].Frames, lane[id].Bytes}, OVS: Count{r.Packets, r.Bytes},
	}
	out.Total = Count{out.Lane.Frames + out.OVS.Frames, out.Lane.Bytes + out.OVS.Bytes}
	return out
}

// laneRules gives what the lane has decided by the rules of a bridge, and how.
func (r Reporter) laneRules(v reconcile.View, bridge string) (map[plan.RuleID]bpf.RuleCount, map[plan.RuleID][]string) {
	lane, verdicts := r.Daemon.RuleCounts(bridge), make(map[plan.RuleID][]string)
	add := func(id plan.RuleID, name string) {
		if !slices.Contains(verdicts[id], name) {
			verdicts[id] = append(verdicts[id], name)
			slices.Sort(verdicts[id])
		}
	}
	for _, l := range v.Result.Tables.Lists {
		if l.Key.Bridge != bridge || l.Key.Kind == plan.Addresses {
			continue
		}
		for i := range l.Rules {
			for _, id := range l.Rules[i].Origins {
				add(id, l.Rules[i].Verdict.String())
			}
		}
	}
	for _, p := range v.Result.Tables.Ports {
		if p.Rule.Bridge == bridge && p.Rule.Plain != "" {
			for id := range strings.SplitSeq(p.Rule.Plain, "\n") {
				add(plan.RuleID(id), rules.Normal.String())
			}
		}
	}
	return lane, verdicts
}

// LaneRule tells what the lane has decided by an OpenFlow rule.
type LaneRule struct {
	Bridge string
	// Rule names it as plan.RuleID; "" stands for those that are too many.
	Rule string
	Lane Count
}

// LaneRules tells of the rules of bridges that are on the lane, by bridge and name;
// of each bridge so many at most, those with the most frames, and the others as
// one. It does not ask OVS.
func (r Reporter) LaneRules(most int) []LaneRule {
	v := r.Daemon.View()
	var list []LaneRule
	for _, b := range v.Result.Bridges {
		lane, verdicts := r.laneRules(v, b.Name)
		var own []LaneRule
		for id := range verdicts {
			own = append(own, LaneRule{b.Name, string(id), Count{lane[id].Frames, lane[id].Bytes}})
		}
		slices.SortFunc(own, func(x, y LaneRule) int {
			return cmp.Or(cmp.Compare(y.Lane.Frames, x.Lane.Frames), cmp.Compare(x.Rule, y.Rule))
		})
		if len(own) > most {
			others := LaneRule{Bridge: b.Name}
			for _, o := range own[most:] {
				others.Lane.Frames, others.Lane.Bytes = others.Lane.Frames+o.Lane.Frames, others.Lane.Bytes+o.Lane.Bytes
			}
			own = append(own[:most], others)
		}
		slices.SortFunc(own, func(x, y LaneRule) int { return cmp.Compare(x.Rule, y.Rule) })
		list = append(list, own...)
	}
	return list
}

// RulesText returns the document of rule/show for people.
func RulesText(list []Rule) string {
	return table(func(w *tabwriter.Writer) {
		fmt.Fprintln(w, "bridge\ttable\tpriority\tverdict\tlane\tby OVS\ttotal\tbytes\tmatch\tactions")
		for _, r := range list {
			fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%d\t%d\t%d\t%d\t%s\t%s\n", r.Bridge, r.Table, r.Priority, cmp.Or(r.Verdict, "-"),
				r.Lane.Frames, r.OVS.Frames, r.Total.Frames, r.Total.Bytes, cmp.Or(r.Match, "-"), r.Actions)
		}
	})
}
