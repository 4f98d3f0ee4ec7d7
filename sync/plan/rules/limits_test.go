// SPDX-License-Identifier: Apache-2.0

package rules_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/ovs/flow"
	"github.com/ovs-xdp/ovs-xdp/sync/plan/rules"
)

// lines makes n lines.
func lines(n int, line func(i int) string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintln(&b, line(i))
	}
	return b.String()
}

const addr = "10.0.%d.%d"

// large are tables of 10,000 rules.
var large = map[string]string{
	"ports": lines(10_000, func(i int) string {
		return fmt.Sprintf(" priority=100,tcp,in_port=%d,nw_src=10.0.0.0/8,tp_dst=%d actions=drop", 1+i/20, i%20)
	}),
	"destinations": lines(10_000, func(i int) string {
		return fmt.Sprintf(" priority=100,tcp,dl_dst=52:54:00:00:%02x:%02x,tp_dst=%d actions=drop", i/2560, i/10%256, i%10)
	}),
	"chain": lines(500, func(i int) string { return fmt.Sprintf(" priority=100,in_port=%d actions=resubmit(,1)", 1+i) }) +
		lines(10_000, func(i int) string {
			return fmt.Sprintf(" table=1, priority=100,tcp,in_port=%d,nw_src=10.0.0.0/8,tp_dst=%d actions=drop", 1+i/20, i%20)
		}) + " table=1, priority=0 actions=NORMAL\n",
	"passing": lines(10_000, func(i int) string {
		return fmt.Sprintf(" priority=100,ip,reg0=%#x,nw_src="+addr+" actions=resubmit(,2)", 1+i, i/256, i%256)
	}),
	"timeouts": lines(10_000, func(i int) string {
		return fmt.Sprintf(" idle_timeout=%d, priority=100,in_port=%d actions=drop", 1+i, 1+i)
	}),
	"addresses": lines(10_000, func(i int) string {
		return fmt.Sprintf(" priority=100,ip,nw_src="+addr+" actions=drop", i/256, i%256)
	}),
}

const otherwise = " priority=0 actions=NORMAL\n"

func TestLarge(t *testing.T) {
	table := compile(t, large["ports"]+otherwise)
	if len(table.General) != 1 || len(table.ByPort) != 500 || len(table.ByPort[500]) != 20 {
		t.Errorf("ports: %d general rules, %d ports, %d rules of the last one", len(table.General), len(table.ByPort), len(table.ByPort[500]))
	}
	table = compile(t, large["destinations"]+otherwise)
	if len(table.General) != 1 || len(table.ByDst) != 1000 {
		t.Errorf("destinations: %d general rules, %d destinations", len(table.General), len(table.ByDst))
	}
	table = compile(t, large["chain"]+otherwise)
	if len(table.General) != 1 || len(table.ByPort) != 500 || len(table.ByPort[500]) != 21 {
		t.Errorf("chain: %d general rules, %d ports, %d rules of the last one", len(table.General), len(table.ByPort), len(table.ByPort[500]))
	}
	table = compile(t, large["passing"]+otherwise)
	if len(table.General) != 10_001 {
		t.Errorf("passing: %d general rules", len(table.General))
	}
	table = compile(t, large["timeouts"]+otherwise)
	if len(table.General) != 1 || len(table.ByPort) != 10_000 {
		t.Errorf("timeouts: %d general rules, %d ports", len(table.General), len(table.ByPort))
	}
	table = compile(t, large["addresses"]+otherwise)
	if len(table.General) != 10_001 {
		t.Errorf("addresses: %d general rules", len(table.General))
	}
}

// TestTooLarge: what would take too long, or become too long, passes.
func TestTooLarge(t *testing.T) {
	bit := func(i int) string { return fmt.Sprintf("nw_src=0.0.0.0/%d.%d.0.0", 1<<i>>8, 1<<i&0xff) }
	for name, text := range map[string]string{
		"pairs": lines(10_000, func(i int) string {
			return fmt.Sprintf(" ip,nw_src="+addr+" actions=%s", i/256, i%256, []string{"drop", "NORMAL"}[i%2])
		}),
		"conflicts": lines(300, func(i int) string { return fmt.Sprintf(" ip,nw_src="+addr+" actions=drop", i/256, i%256) }) +
			lines(300, func(i int) string { return fmt.Sprintf(" ip,nw_dst="+addr+" actions=NORMAL", i/256, i%256) }),
		"chains": lines(20, func(i int) string { return fmt.Sprintf(" in_port=%d actions=resubmit(,1)", i) }) +
			lines(4000, func(i int) string { return fmt.Sprintf(" table=1, priority=%d,tcp,tp_dst=%d actions=drop", i, i) }),
	} {
		table := compile(t, text+otherwise)
		if diff := cmp.Diff(rules.Table{General: []rules.Rule{{}}}, table); diff != "" {
			t.Errorf("%s: (-want +got):\n%.2000s", name, diff)
		}
		if table.Plain() || table.Offloads() {
			t.Errorf("%s: plain %t, offloads %t", name, table.Plain(), table.Offloads())
		}
	}
	for name, text := range map[string]string{
		"a chain": " priority=5,in_port=1 actions=resubmit(,1)\n" +
			lines(4096, func(i int) string { return fmt.Sprintf(" table=1, priority=%d,tcp,tp_dst=%d actions=drop", i, i) }),
		"a tree": " priority=5,ip,in_port=1 actions=resubmit(,1)\n" +
			lines(14, func(i int) string {
				return fmt.Sprintf(" table=%d, priority=2,ip,%s actions=resubmit(,%d)\n table=%d, priority=1 actions=resubmit(,%d)", i+1, bit(i), i+2, i+1, i+2)
			}) + " table=15, actions=NORMAL\n",
		"circles": lines(200, func(i int) string {
			return fmt.Sprintf(" table=%d, priority=5,in_port=1 actions=resubmit(,%d)", i%20, (i+7)%20)
		}),
	} {
		table := compile(t, text+otherwise)
		if got, _ := table.Decide(1, rules.Fields{EtherType: 0x0800}); got != rules.Pass || len(table.ByPort[1]) != 1 {
			t.Errorf("%s: a frame that goes on: %s; %d rules", name, got, len(table.ByPort[1]))
		}
		if got, _ := table.Decide(2, rules.Fields{EtherType: 0x0800}); got != rules.Normal {
			t.Errorf("%s: a frame that does not go on: %s", name, got)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	for name, text := range large {
		list, err := flow.Parse(text + otherwise)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				rules.Compile(list)
			}
		})
	}
}

func BenchmarkDecide(b *testing.B) {
	table := compile(b, large["ports"]+otherwise)
	for b.Loop() {
		table.Decide(500, rules.Fields{EtherType: 0x0800, Proto: 6, TPDst: 80})
	}
}
