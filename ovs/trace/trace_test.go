// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

func read(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func out(port uint32, text string) Action { return Action{Kind: Output, Port: port, Text: text} }

var (
	push10 = Action{Kind: PushVLAN, VLAN: 10, Text: "push_vlan(vid=10,pcp=0)"}
	push20 = Action{Kind: PushVLAN, VLAN: 20, Text: "push_vlan(vid=20,pcp=0)"}
	pop    = Action{Kind: PopVLAN, Text: "pop_vlan"}
)

// The texts in testdata that end in -3.1 were captured from OVS 3.1 with the
// userspace datapath, the bridge of dpif-show-3.1; the others are such texts in
// the words of the release in their name, by its source.
func TestParse(t *testing.T) {
	l2 := func(port, fields string) string {
		return "recirc_id=0,eth,ip,in_port=" + port + "," + fields + ",nw_frag=no"
	}
	pair := func(src, dst string) string { return "dl_src=52:54:00:00:00:" + src + ",dl_dst=52:54:00:00:00:" + dst }
	const udp = "recirc_id=0,eth,udp,in_port=3"
	for file, want := range map[string]Trace{
		"known-3.1":           {Actions: []Action{out(8, "8")}, Megaflow: l2("3", pair("01", "02"))},
		"push-3.1":            {Actions: []Action{push10, out(2, "2")}, Megaflow: l2("3", pair("01", "04"))},
		"pop-3.1":             {Actions: []Action{pop, out(4, "4")}, Megaflow: l2("1", "dl_vlan=10,dl_vlan_pcp=0,"+pair("04", "01"))},
		"keep-3.1":            {Actions: []Action{out(3, "3")}, Megaflow: l2("1", "dl_vlan=20,"+pair("14", "05"))},
		"native-untagged-3.1": {Actions: []Action{pop, out(5, "5")}, Megaflow: l2("1", "dl_vlan=10,dl_vlan_pcp=0,"+pair("04", "07"))},
		"native-tagged-3.1":   {Actions: []Action{push10, out(6, "6")}, Megaflow: l2("7", pair("02", "06"))},
		"flood-3.1": {Actions: []Action{push20, out(1, "1"), out(3, "3"), out(6, "6"), out(2, "2"), out(5, "5"), out(9, "9"), out(12, "12"),
			{Kind: ToBond, Bond: 2, Text: "lb_output(2)"}}, Megaflow: l2("6", pair("03", "0f"))},
		"hairpin-3.1":           {Megaflow: l2("1", "dl_vlan=10,"+pair("04", "04")), Hairpin: true, Resident: true},
		"hairpin-elsewhere-3.1": {Actions: []Action{out(100, "100")}, Megaflow: l2("1", pair("04", "04")), Hairpin: true}, // behind a patch port
		"no-port-3.1":           {Megaflow: l2("99", pair("01", "02"))},
		"bond-3.1":              {Actions: []Action{push10, out(9, "9")}, Megaflow: l2("3", pair("01", "08"))},
		"lb-output-3.1":         {Actions: []Action{push10, {Kind: ToBond, Bond: 2, Text: "lb_output(2)"}}, Megaflow: l2("3", pair("01", "0b"))},
		"recirc-3.1":            {Actions: []Action{push10, {Kind: ToBond, Bond: 2, Text: "hash(l4(0)),recirc(0x2)"}}, Megaflow: l2("3", pair("01", "0b"))},
		"mirror-3.1":            {Actions: []Action{out(7, "7"), out(8, "8")}, Megaflow: l2("3", pair("01", "02"))},
		"dropped-3.1":           {Megaflow: udp + ",nw_frag=no"},
		"failed-3.1":            {Megaflow: udp + ",nw_frag=no", Failed: "Recursion too deep"},
		"conntrack-3.1":         {Actions: []Action{{Text: "ct"}, {Text: "recirc(0x5)"}}, Megaflow: udp + ",nw_frag=no"},
		"controller-3.1": {Actions: []Action{
			{Text: "userspace(pid=0,controller(reason=1,dont_send=1,continuation=0,recirc_id=4,rule_cookie=0,controller_id=0,max_len=65535))"}, out(8, "8"),
		}, Megaflow: udp + "," + pair("01", "02") + ",nw_frag=no"},
		"rewritten-3.1": {Actions: []Action{{Text: "set(eth(dst=52:54:00:00:00:04))"}, push10, out(2, "2")},
			Megaflow: udp + "," + pair("01", "02") + ",nw_frag=no"},
		"slow-2.13": {Actions: []Action{out(8, "8")}, Megaflow: l2("3", pair("01", "02")), SlowPath: true},
	} {
		got, err := Parse(read(t, file))
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", file, d)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	with := func(actions string) string {
		return "Flow: udp,in_port=1\n\nFinal flow: unchanged\nMegaflow: recirc_id=0,eth\nDatapath actions: " + actions
	}
	if _, err := Parse(with("1")); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty":               "",
		"an error":            "br9: unknown bridge",
		"cut off":             strings.Split(read(t, "known-3.1"), "Datapath")[0],
		"no megaflow":         strings.Replace(with("1"), "Megaflow: recirc_id=0,eth", "Megaflow:", 1),
		"no final flow":       strings.Replace(with("1"), "Final flow: unchanged\n", "", 1),
		"two flows":           "Flow: udp\n" + with("1"),
		"more after it":       with("1\nand then 2"),
		"names":               with("v1"),
		"no action":           with(""),
		"empty action":        with("1,,2"),
		"unknown action":      with("teleport(2),1"),
		"port out of range":   with("4294967296"),
		"negative port":       with("-1"),
		"open parenthesis":    with("set(eth(src=1),2"),
		"closed parenthesis":  with("1),2"),
		"text behind":         with("set(1)2"),
		"no tag":              with("push_vlan,1"),
		"VID out of range":    with("push_vlan(vid=4096,pcp=0),1"),
		"priority":            with("push_vlan(vid=1,pcp=8),1"),
		"another TPID":        with("push_vlan(tpid=0x88a8,vid=1,pcp=0),1"),
		"no CFI":              with("push_vlan(vid=1,pcp=0,cfi=0),1"),
		"hash without recirc": with("hash(l4(0)),1"),
		"hash at the end":     with("hash(l4(0))"),
		"bond 0":              with("hash(l4(0)),recirc(0)"),
		"lb_output 0":         with("lb_output(0)"),
		"failed twice":        with("drop\nTranslation failed (a), packet is dropped.\nTranslation failed (b), packet is dropped."),
		"reason of nothing":   with("1\n  - Sends \"packet-in\" messages to the OpenFlow controller."),
	} {
		if got, err := Parse(text); err == nil {
			t.Errorf("%s: no error, but %+v", name, got)
		}
	}
}

func TestSent(t *testing.T) {
	for _, tt := range []struct {
		name    string
		vlan    ovs.VLAN
		actions string
		want    []Sent
		others  []string
		fails   bool
	}{
		{name: "untagged", actions: "8", want: []Sent{{Port: 8}}},
		{name: "tag kept", vlan: 20, actions: "3", want: []Sent{{Port: 3, VLAN: 20}}},
		{name: "tag pushed", actions: "push_vlan(vid=10,pcp=0),2", want: []Sent{{Port: 2, VLAN: 10}}},
		{name: "tag popped", vlan: 10, actions: "pop_vlan,4", want: []Sent{{Port: 4}}},
		{name: "tag replaced", vlan: 10, actions: "pop_vlan,push_vlan(vid=20,pcp=5),4", want: []Sent{{Port: 4, VLAN: 20, PCP: 5}}},
		{name: "flood", actions: "1,push_vlan(vid=10,pcp=0),2,pop_vlan,3,lb_output(7)",
			want: []Sent{{Port: 1}, {Port: 2, VLAN: 10}, {Port: 3}, {Bond: 7}}},
		{name: "bond", actions: "push_vlan(vid=10,pcp=0),hash(l4(0)),recirc(0x2)", want: []Sent{{Bond: 2, VLAN: 10}}},
		{name: "drop", actions: "drop"},
		{name: "something else", actions: "userspace(pid=1),8", want: []Sent{{Port: 8}}, others: []string{"userspace(pid=1)"}},
		{name: "no tag to pop", actions: "pop_vlan,4", fails: true},
		{name: "second tag", vlan: 10, actions: "push_vlan(vid=10,pcp=0),4", fails: true},
		{name: "failed", actions: "4\nTranslation failed (Recursion too deep), packet is dropped."},
	} {
		tr, err := Parse("Flow: a\nFinal flow: unchanged\nMegaflow: b\nDatapath actions: " + tt.actions)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		got, others, err := tr.Sent(tt.vlan)
		if (err != nil) != tt.fails || !cmp.Equal(tt.want, got) || !cmp.Equal(tt.others, others) {
			t.Errorf("%s: %+v, others %q, error %v", tt.name, got, others, err)
		}
	}
}

func TestFlow(t *testing.T) {
	f := Flow{InPort: 3, Src: ovs.MAC{0x52, 0x54, 5: 1}, Dst: ovs.MAC{0x52, 0x54, 5: 2}}
	if s, want := f.String(), "in_port=3,dl_src=52:54:00:00:00:01,dl_dst=52:54:00:00:00:02,udp,nw_src=192.0.2.1,nw_dst=192.0.2.2,nw_ttl=64"; s != want {
		t.Errorf("%s, want %s", s, want)
	}
	f.VLAN = 10
	if s := f.String(); !strings.Contains(s, ",dl_vlan=10,") {
		t.Error(s)
	}
}

func TestParsePorts(t *testing.T) {
	text := read(t, "dpif-show-3.1")
	got, err := ParsePorts(text, "br1")
	if err != nil {
		t.Fatal(err)
	}
	want := []Port{
		{"br0", "br0", 65534, true, 1}, {"br0", "k1", 12, true, 14}, {"br0", "k2", 13, true, 15}, {"br0", "m1", 9, true, 10},
		{"br0", "m2", 8, true, 9}, {"br0", "n1", 10, true, 11}, {"br0", "n2", 11, true, 12}, {"br0", "n3", 4, true, 5},
		{"br0", "nt", 5, true, 6}, {"br0", "u1", 1, true, 2}, {"br0", "u2", 2, true, 3}, {"br0", "v1", 3, true, 4},
		{"br0", "v2", 7, true, 8}, {"br0", "v3", 6, true, 7},
		{"br1", "br1", 65534, true, 13}, {"br1", "xk1", 2, true, 17}, {"br1", "xk2", 1, true, 16},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("ports (-want +got):\n%s", d)
	}

	// Two datapaths number their ports each for itself; tunnels share a
	// number, patch ports have none, and names may be odd.
	text = "netdev@ovs-netdev: hit:0 missed:0\n  br-x:\n    p0 1/7: (system)\n" +
		"system@ovs-system: hit:3 missed:9\n  br-int:\n    a b 3/none: (patch: peer=c)\n    p1 4/7: (system)\n" +
		"  br-tun:\n    vx1 1/9: (vxlan: key=flow, remote_ip=192.0.2.1)\n    vx2 2/9: (vxlan: key=flow, remote_ip=192.0.2.2)\n"
	if got, err = ParsePorts(text, "br-int"); err != nil {
		t.Fatal(err)
	}
	want = []Port{{"br-int", "a b", 3, false, 0}, {"br-int", "p1", 4, true, 7}, {"br-tun", "vx1", 1, true, 9}, {"br-tun", "vx2", 2, true, 9}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("ports (-want +got):\n%s", d)
	}
	if got, err = ParsePorts(text, "br-x"); err != nil || len(got) != 1 || got[0].Name != "p0" {
		t.Errorf("ports of br-x: %+v, %v", got, err)
	}
}

func TestParsePortsRefuses(t *testing.T) {
	const head = "netdev@ovs-netdev: hit:0 missed:0\n"
	for name, text := range map[string]string{
		"empty":                     "",
		"no such bridge":            head + "  br1:\n",
		"bridge without a datapath": "  br0:\n",
		"port without a bridge":     head + "    p0 1/2: (system)\n  br0:\n",
		"no number":                 head + "  br0:\n    p0 1: (system)\n",
		"large OpenFlow number":     head + "  br0:\n    p0 65536/1: (system)\n",
		"large number":              head + "  br0:\n    p0 1/4294967296: (system)\n",
		"other indentation":         head + "  br0:\n      p0 1/2: (system)x\n",
		"other heading":             "ovs-netdev:\n  br0:\n",
	} {
		if got, err := ParsePorts(text, "br0"); err == nil {
			t.Errorf("%s: no error, but %+v", name, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, file := range files {
		f.Add(read(f, strings.TrimSuffix(filepath.Base(file), ".txt")))
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := Parse(text)
		if err != nil {
			return
		}
		// What was understood is there again in what was printed.
		var words []string
		for _, a := range got.Actions {
			words = append(words, a.Text)
			if (a.Kind == ToBond) != (a.Bond != 0) || a.VLAN > ovs.MaxVLAN || a.PCP > 7 || a.Kind != PushVLAN && (a.VLAN != 0 || a.PCP != 0) {
				t.Errorf("action %+v", a)
			}
		}
		line := strings.Join(words, ",")
		if line == "" {
			line = "drop"
		}
		if !strings.Contains(text, "\n"+megaflowLine+got.Megaflow+"\n"+actionsLine+line) {
			t.Errorf("megaflow %q and actions %q are not in %q", got.Megaflow, line, text)
		}
		for _, vlan := range []ovs.VLAN{0, 10} {
			sent, others, err := got.Sent(vlan)
			if err == nil && len(sent)+len(others) > len(got.Actions) {
				t.Errorf("%d frames sent and %d other actions of %+v", len(sent), len(others), got.Actions)
			}
		}
	})
}

func FuzzParsePorts(f *testing.F) {
	f.Add(read(f, "dpif-show-3.1"), "br0")
	f.Add("system@ovs-system: hit:3 missed:9\n  br0:\n    a b 3/none: (patch: peer=c)\n", "br0")
	f.Fuzz(func(t *testing.T, text, bridge string) {
		ports, err := ParsePorts(text, bridge)
		if err != nil {
			return
		}
		for _, p := range ports {
			if p.Bridge == "" || p.Name == "" || !strings.Contains(text, "\n    "+p.Name+" ") || !strings.Contains(text, "\n  "+p.Bridge+":\n") ||
				!p.InDatapath && p.Number != 0 {
				t.Errorf("port %+v of %q", p, text)
			}
		}
	})
}
