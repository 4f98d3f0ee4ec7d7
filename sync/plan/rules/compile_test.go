// SPDX-License-Identifier: Apache-2.0

package rules_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/flow"
	"github.com/ovs-xdp/ovs-xdp/sync/plan/rules"
)

// compile compiles rules, one a line, as dump-flows prints them.
func compile(t testing.TB, text string) rules.Table {
	t.Helper()
	list, err := flow.Parse(strings.TrimLeft(text, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return rules.Compile(list)
}

// print prints a Table, in the order in which its rules decide.
func print(t *rules.Table) string {
	lines := map[uint32]string{}
	add := func(where string, list []rules.Rule) {
		for _, r := range list {
			line := fmt.Sprintf("%s%s%s", where, printMatch(r.Match), r.Verdict)
			if r.Idle != 0 {
				line += fmt.Sprint(" idle ", r.Idle)
			}
			lines[r.Order] = line + fmt.Sprintf(" %d\n", r.Origins)
		}
	}
	add("", t.General)
	for port, list := range t.ByPort {
		add(fmt.Sprintf("port %#x ", port), list)
	}
	for dst, list := range t.ByDst {
		add(fmt.Sprintf("to %s ", dst), list)
	}
	var b strings.Builder
	for _, order := range slices.Sorted(maps.Keys(lines)) {
		b.WriteString(lines[order])
	}
	return b.String()
}

// printMatch prints what the tests below match on.
func printMatch(m rules.Match) string {
	var b strings.Builder
	add := func(name string, value, mask uint64) {
		if mask != 0 {
			fmt.Fprintf(&b, "%s %x/%x ", name, value, mask)
		}
	}
	if m.Mask.Dst != (ovs.MAC{}) {
		fmt.Fprintf(&b, "dst %s ", m.Value.Dst)
	}
	add("type", uint64(m.Value.EtherType), uint64(m.Mask.EtherType))
	add("tci", uint64(m.Value.TCI), uint64(m.Mask.TCI))
	add("proto", uint64(m.Value.Proto), uint64(m.Mask.Proto))
	add("ttl", uint64(m.Value.TTL), uint64(m.Mask.TTL))
	add("tp_src", uint64(m.Value.TPSrc), uint64(m.Mask.TPSrc))
	add("tp_dst", uint64(m.Value.TPDst), uint64(m.Mask.TPDst))
	return b.String()
}

func TestCompile(t *testing.T) {
	for _, tt := range []struct{ name, rules, want string }{
		{"nothing", "", ""},
		{"plain", " actions=NORMAL\n", "normal [0]\n"},
		{"drop all", " actions=drop\n", "drop [0]\n"},
		{"no rule in table 0", " table=1, actions=NORMAL\n", ""},
		{"the highest priority decides", `
 priority=1 actions=NORMAL
 priority=3,dl_vlan=1 actions=drop
 priority=2,dl_vlan=2 actions=NORMAL
 dl_vlan=3 actions=drop
`, "tci 1003/1fff drop [3]\ntci 1001/1fff drop [1]\ntci 1002/1fff normal [2]\nnormal [0]\n"},
		{"what can't be reached", `
 priority=2,arp actions=drop
 priority=1 actions=NORMAL
 priority=0,ip actions=drop
 priority=0,in_port=1 actions=drop
`, "type 806/ffff drop [0]\nnormal [1]\n"},
		{"what can't be reached from a port or to a destination", `
 priority=3,in_port=1 actions=drop
 priority=2,in_port=1,ip actions=NORMAL
 priority=3,dl_dst=52:54:00:00:00:01 actions=drop
 priority=2,dl_dst=52:54:00:00:00:01,ip actions=NORMAL
 priority=1 actions=NORMAL
`, "port 0x1 drop [0]\nto 52:54:00:00:00:01 dst 52:54:00:00:00:01 drop [2]\nnormal [4]\n"},
		{"what passes at the end", `
 priority=3,ip actions=NORMAL
 priority=2,arp actions=output:1
 priority=1 actions=CONTROLLER:65535
`, "type 800/ffff normal [0]\n"},
		{"where rules are kept", `
 priority=6,in_port=1,dl_dst=52:54:00:00:00:01 actions=NORMAL
 priority=5,in_port=LOCAL actions=NORMAL
 priority=4,dl_dst=52:54:00:00:00:01,arp actions=NORMAL
 priority=3,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00 actions=NORMAL
`, "port 0x1 dst 52:54:00:00:00:01 normal [0]\nport 0xfffffffe normal [1]\n" +
			"to 52:54:00:00:00:01 dst 52:54:00:00:00:01 type 806/ffff normal [2]\ndst 01:00:00:00:00:00 normal [3]\n"},
		{"what is not understood passes", `
 priority=3,ct_state=+trk,ip actions=NORMAL
 priority=2,whatever,arp actions=drop
 priority=1 actions=NORMAL
`, "type 800/ffff pass [0]\ntype 806/ffff pass [1]\nnormal [2]\n"},
		{"all of a conjunction passes", `
 priority=3,conj_id=7,ip actions=NORMAL
 priority=2,tcp actions=conjunction(7,1/2)
 priority=2,udp actions=conjunction(7,2/2)
 priority=1 actions=NORMAL
`, "type 800/ffff pass [0]\ntype 800/ffff proto 6/ff pass [1]\ntype 800/ffff proto 11/ff pass [2]\nnormal [3]\n"},
		{"timeouts", `
 idle_timeout=10, priority=9,ip actions=NORMAL
 idle_timeout=10, priority=8,ipv6 actions=drop
 hard_timeout=10, priority=7,arp actions=drop
 hard_timeout=10, priority=6,rarp actions=NORMAL
 priority=0 actions=NORMAL
`, "type 800/ffff normal idle 10s [0]\ntype 86dd/ffff drop idle 10s [1]\ntype 806/ffff drop [2]\ntype 8035/ffff pass [3]\nnormal [4]\n"},
		{"a rule that ends is not plain", " hard_timeout=10, priority=0 actions=NORMAL\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			table := compile(t, tt.rules)
			if diff := cmp.Diff(tt.want, print(&table)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestActions(t *testing.T) {
	for actions, want := range map[string]rules.Verdict{
		"NORMAL": rules.Normal, "drop": rules.Drop,
		"normal": rules.Pass, "NORMAL,NORMAL": rules.Pass, "NORMAL,output:2": rules.Pass, "output:2,NORMAL": rules.Pass,
		"output:2": rules.Pass, "IN_PORT": rules.Pass, "LOCAL": rules.Pass, "FLOOD": rules.Pass, "ALL": rules.Pass,
		"CONTROLLER:65535": rules.Pass, "strip_vlan,NORMAL": rules.Pass, "mod_vlan_vid:5,NORMAL": rules.Pass,
		"set_field:0x1->reg0,NORMAL": rules.Pass, "note:00.00.00.00.00.00,NORMAL": rules.Pass, "group:1": rules.Pass,
		"meter:1,NORMAL": rules.Pass, "ct(table=1)": rules.Pass, "learn(table=1),NORMAL": rules.Pass,
		"write_actions(output:2)": rules.Pass, "clear_actions": rules.Pass, "clear_actions,goto_table:1": rules.Pass,
		"write_metadata:0x1,goto_table:1": rules.Pass, "meter:1,goto_table:1": rules.Pass,
		"resubmit:1": rules.Pass, "resubmit(1,)": rules.Pass, "resubmit(1,1)": rules.Pass, "resubmit(,1,ct)": rules.Pass,
		"resubmit(,1),resubmit(,1)": rules.Pass, "resubmit(,1),NORMAL": rules.Pass,
		"goto_table:1": rules.Normal, "resubmit(,1)": rules.Normal, // where table 1 has NORMAL alone
		"goto_table:2": rules.Pass, "resubmit(,2)": rules.Pass, // which is empty
		"resubmit(,254)": rules.Pass, "goto_table:255": rules.Pass, "resubmit(,256)": rules.Pass, "goto_table:": rules.Pass,
		"goto_table:x": rules.Pass, "resubmit(,)": rules.Pass, "resubmit(,+1)": rules.Pass, "goto_table:1x": rules.Pass,
	} {
		table := compile(t, " actions="+actions+"\n table=1, actions=NORMAL\n table=254, actions=NORMAL\n")
		if got, _ := table.Decide(1, rules.Fields{}); got != want {
			t.Errorf("%s: %s, want %s", actions, got, want)
		}
	}
}

func TestChains(t *testing.T) {
	for _, tt := range []struct{ name, rules, want string }{
		{"into two tables", `
 priority=9,in_port=1 actions=resubmit(,1)
 priority=8,ip actions=goto_table:2
 priority=7 actions=NORMAL
 table=1, priority=9,arp actions=drop
 table=1, priority=8,ip actions=resubmit(,2)
 table=2, priority=9,tcp actions=drop
 table=2, priority=8 actions=NORMAL
`, "port 0x1 type 806/ffff drop [0 3]\n" +
			"port 0x1 type 800/ffff proto 6/ff drop [0 4 5]\nport 0x1 type 800/ffff normal [0 4 6]\n" +
			"port 0x1 pass [0]\n" + // a miss in table 1
			"type 800/ffff proto 6/ff drop [1 5]\ntype 800/ffff normal [1 6]\nnormal [2]\n"},
		{"what does not meet", `
 priority=9,in_port=1,tcp actions=resubmit(,1)
 priority=1 actions=NORMAL
 table=1, priority=9,in_port=2 actions=drop
 table=1, priority=9,udp actions=drop
 table=1, priority=8,tcp,tp_dst=80 actions=drop
 table=1, priority=0 actions=NORMAL
`, "port 0x1 type 800/ffff proto 6/ff tp_dst 50/ffff drop [0 4]\nport 0x1 type 800/ffff proto 6/ff normal [0 5]\nnormal [1]\n"},
		{"nothing is left for lower priorities", `
 priority=9,tcp actions=resubmit(,1)
 priority=1 actions=NORMAL
 table=1, priority=9,ip actions=drop
 table=1, priority=8 actions=NORMAL
`, "type 800/ffff proto 6/ff drop [0 2]\nnormal [1]\n"},
		{"the shortest timeout", `
 idle_timeout=30, priority=9,tcp actions=resubmit(,1)
 priority=8,udp actions=resubmit(,1)
 table=1, idle_timeout=20, priority=9,dl_vlan=1 actions=NORMAL
 table=1, idle_timeout=40, priority=8,dl_vlan=2 actions=NORMAL
 table=1, hard_timeout=40, priority=7,dl_vlan=3 actions=NORMAL
 table=1, hard_timeout=40, priority=6,dl_vlan=4 actions=drop
 table=1, priority=0 actions=NORMAL
`, "type 800/ffff tci 1001/1fff proto 6/ff normal idle 20s [0 2]\ntype 800/ffff tci 1002/1fff proto 6/ff normal idle 30s [0 3]\n" +
			"type 800/ffff tci 1003/1fff proto 6/ff pass idle 30s [0 4]\ntype 800/ffff tci 1004/1fff proto 6/ff drop idle 30s [0 5]\n" +
			"type 800/ffff proto 6/ff normal idle 30s [0 6]\n" +
			"type 800/ffff tci 1001/1fff proto 11/ff normal idle 20s [1 2]\ntype 800/ffff tci 1002/1fff proto 11/ff normal idle 40s [1 3]\n" +
			"type 800/ffff tci 1003/1fff proto 11/ff pass [1 4]\ntype 800/ffff tci 1004/1fff proto 11/ff drop [1 5]\n" +
			"type 800/ffff proto 11/ff normal [1 6]\n"},
		{"a match that is widened does not go on", `
 priority=9,ct_state=+trk,tcp actions=resubmit(,1)
 priority=1 actions=NORMAL
 table=1, priority=9 actions=drop
`, "type 800/ffff proto 6/ff pass [0]\nnormal [1]\n"},
		{"a circle", `
 priority=9,tcp actions=resubmit(,1)
 priority=8,udp actions=resubmit(,0)
 priority=7 actions=NORMAL
 table=1, priority=9,tcp actions=resubmit(,2)
 table=2, priority=9,dl_vlan=1 actions=resubmit(,1)
 table=2, priority=8 actions=drop
`, "type 800/ffff tci 1001/1fff proto 6/ff pass [0 3 4]\ntype 800/ffff proto 6/ff drop [0 3 5]\n" +
			"type 800/ffff proto 11/ff pass [1]\nnormal [2]\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			table := compile(t, tt.rules)
			if diff := cmp.Diff(tt.want, print(&table)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestLongChains: OVS follows a frame through all tables, the compiler through 16
// behind the first.
func TestLongChains(t *testing.T) {
	for tables, want := range map[int]rules.Verdict{1: rules.Normal, 16: rules.Normal, 17: rules.Pass, 200: rules.Pass} {
		var b strings.Builder
		for i := range tables {
			fmt.Fprintf(&b, " table=%d, actions=goto_table:%d\n", i, i+1)
		}
		fmt.Fprintf(&b, " table=%d, actions=NORMAL\n", tables)
		table := compile(t, b.String())
		if got, _ := table.Decide(1, rules.Fields{}); got != want {
			t.Errorf("%d tables behind the first: %s, want %s", tables, got, want)
		}
	}
}

func TestOverlaps(t *testing.T) {
	for _, tt := range []struct{ name, rules, want string }{
		{"different things", `
 priority=5,ip actions=NORMAL
 priority=5,dl_vlan=1 actions=drop
`, "type 800/ffff tci 1001/1fff pass []\ntci 1001/1fff drop [1]\ntype 800/ffff normal [0]\n"},
		{"the same", `
 priority=5,ip actions=drop
 priority=5,dl_vlan=1 actions=drop
`, "tci 1001/1fff drop [1]\ntype 800/ffff drop [0]\n"},
		{"the same for another time", `
 priority=5,ip actions=drop
 idle_timeout=5, priority=5,dl_vlan=1 actions=drop
`, "type 800/ffff tci 1001/1fff pass []\ntci 1001/1fff drop idle 5s [1]\ntype 800/ffff drop [0]\n"},
		{"other priorities", `
 priority=6,ip actions=NORMAL
 priority=5,dl_vlan=1 actions=drop
`, "type 800/ffff normal [0]\ntci 1001/1fff drop [1]\n"},
		{"one covers the other", `
 priority=5,ip actions=NORMAL
 priority=5,tcp actions=drop
`, "type 800/ffff proto 6/ff pass []\ntype 800/ffff normal [0]\n"},
		{"one that is widened", `
 priority=5,ip actions=NORMAL
 priority=5,ct_state=+trk,tcp actions=NORMAL
`, "type 800/ffff proto 6/ff pass []\ntype 800/ffff normal [0]\n"},
		{"both pass", `
 priority=5,ip actions=output:1
 priority=5,dl_vlan=1 actions=output:2
 priority=0 actions=NORMAL
`, "tci 1001/1fff pass [1]\ntype 800/ffff pass [0]\nnormal [2]\n"},
		{"three of which two do the same", `
 priority=5,ip actions=NORMAL
 priority=5,dl_vlan=1 actions=NORMAL
 priority=5,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00 actions=drop
`, "dst 01:00:00:00:00:00 tci 1001/1fff pass []\ndst 01:00:00:00:00:00 type 800/ffff pass []\n" +
			"tci 1001/1fff normal [1]\ntype 800/ffff normal [0]\ndst 01:00:00:00:00:00 drop [2]\n"},
		{"ports and destinations", `
 priority=5,in_port=1 actions=drop
 priority=5,in_port=2 actions=NORMAL
 priority=5,dl_dst=52:54:00:00:00:01 actions=NORMAL
 priority=5,dl_dst=52:54:00:00:00:02 actions=drop
 priority=5,in_port=3,dl_dst=52:54:00:00:00:01 actions=drop
`, "port 0x1 dst 52:54:00:00:00:01 pass []\nport 0x3 dst 52:54:00:00:00:01 pass []\nport 0x2 dst 52:54:00:00:00:02 pass []\n" +
			"port 0x1 drop [0]\nport 0x2 normal [1]\n" +
			"to 52:54:00:00:00:01 dst 52:54:00:00:00:01 normal [2]\nto 52:54:00:00:00:02 dst 52:54:00:00:00:02 drop [3]\n"},
		{"both go on in one table", `
 priority=5,ip actions=goto_table:1
 priority=5,dl_vlan=1 actions=resubmit(,1)
 table=1, priority=5 actions=NORMAL
`, "tci 1001/1fff normal [1 2]\ntype 800/ffff normal [0 2]\n"},
		{"they go on in two tables", `
 priority=5,ip actions=goto_table:1
 priority=5,dl_vlan=1 actions=resubmit(,2)
 table=1, priority=5 actions=NORMAL
 table=2, priority=5 actions=NORMAL
`, "type 800/ffff tci 1001/1fff pass []\ntci 1001/1fff normal [1 3]\ntype 800/ffff normal [0 2]\n"},
		{"in the second table", `
 priority=5 actions=goto_table:1
 table=1, priority=5,ip actions=NORMAL
 table=1, priority=5,dl_vlan=1 actions=drop
`, "type 800/ffff tci 1001/1fff pass [0]\ntci 1001/1fff drop [0 2]\ntype 800/ffff normal [0 1]\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			table := compile(t, tt.rules)
			if diff := cmp.Diff(tt.want, print(&table)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestOverlapsOfManyKinds: of rules of equal priority each two that do different
// things conflict, however many things there are to do.
func TestOverlapsOfManyKinds(t *testing.T) {
	const n = 40
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, " idle_timeout=%d, priority=5,dl_src=00:00:00:00:00:%02x/00:00:00:00:00:ff,dl_dst=02:00:00:00:00:%02x actions=drop\n", 2+i/2, i, (i+2)/8)
		fmt.Fprintf(&b, " idle_timeout=%d, priority=5,dl_dst=02:00:00:00:00:%02x,dl_vlan=%d actions=drop\n", 2+i/2, (i+2)/8, i)
	}
	table := compile(t, b.String())
	for src := range n {
		for vlan := range n {
			f := rules.Fields{Dst: ovs.MAC{2, 0, 0, 0, 0, byte((src + 2) / 8)}, Src: ovs.MAC{2, 5: byte(src)}, TCI: rules.TagPresent | uint16(vlan)}
			want := rules.Drop // by one rule, or by two that do the same
			if (src+2)/8 == (vlan+2)/8 && src/2 != vlan/2 {
				want = rules.Pass
			}
			if got, _ := table.Decide(1, f); got != want {
				t.Errorf("source %d, VLAN %d: %s, want %s", src, vlan, got, want)
			}
		}
	}
}

func TestPlain(t *testing.T) {
	for text, want := range map[string]struct{ plain, offloads bool }{
		"":                   {false, false},
		" actions=NORMAL\n":  {true, true},
		" actions=drop\n":    {false, false},
		" ip actions=drop\n": {false, false},
		" ip actions=drop\n priority=0 actions=NORMAL\n":                    {false, true},
		" ip actions=NORMAL\n":                                              {false, true},
		" in_port=1 actions=NORMAL\n":                                       {false, true},
		" dl_dst=52:54:00:00:00:01 actions=NORMAL\n":                        {false, true},
		" in_port=1 actions=drop\n dl_dst=52:54:00:00:00:01 actions=drop\n": {false, false},
		" actions=goto_table:1\n table=1, actions=NORMAL\n":                 {true, true},
		" actions=NORMAL\n priority=3,ip actions=drop\n":                    {true, true}, // never reached
		" ct_state=-trk actions=NORMAL\n":                                   {false, false},
	} {
		table := compile(t, text)
		if table.Plain() != want.plain || table.Offloads() != want.offloads {
			t.Errorf("%q: plain %t, offloads %t; want %+v", text, table.Plain(), table.Offloads(), want)
		}
	}
}
