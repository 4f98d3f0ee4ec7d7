// SPDX-License-Identifier: Apache-2.0

package dpflow

import (
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

var update = flag.Bool("update", false, "write the golden files anew")

func read(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// texts returns the files of testdata. Those of 3.1 were captured
// (openvswitch_test.go), the others are written after the sources: those of
// dump-*.txt came from dpif/dump-flows, those of dpctl-*.txt from
// dpctl/dump-flows.
func texts(t testing.TB) []string {
	t.Helper()
	names, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	return names
}

// TestGolden writes a line for each flow.
func TestGolden(t *testing.T) {
	for _, name := range texts(t) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			flows, err := Parse(read(t, name))
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			for _, f := range flows {
				line, err := json.Marshal(f)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&b, "%s\n", line)
			}
			golden := strings.TrimSuffix(name, ".txt") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(read(t, golden), b.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// The parts of a line that the lane takes.
const (
	id       = "ufid:00000000-0000-4000-8000-525400000001"
	meta     = "recirc_id(0),dp_hash(0/0),skb_priority(0/0),in_port(tap1),skb_mark(0/0),ct_state(0/0),ct_zone(0/0),ct_mark(0/0),ct_label(0/0),"
	eth      = "eth(src=52:54:00:00:00:01,dst=52:54:00:00:00:02),"
	ipv4     = "eth_type(0x0800),ipv4(src=0.0.0.0/0.0.0.0,dst=0.0.0.0/0.0.0.0,proto=0/0,tos=0/0,ttl=0/0,frag=no)"
	counters = ", packets:1, bytes:60, used:0.201s"
)

func TestParse(t *testing.T) {
	key := Key{InPort: "tap1", EtherType: IPv4, Src: ovs.MAC{0x52, 0x54, 5: 1}, Dst: ovs.MAC{0x52, 0x54, 5: 2}}
	tagged := func(vid, vidMask ovs.VLAN, pcp, pcpMask uint8) Key {
		k := key
		k.Tag = TagMatch{Tag{true, vid, pcp}, vidMask, pcpMask}
		return k
	}
	for name, tt := range map[string]struct {
		match, actions string
		want           LaneFlow
	}{
		"plain":     {meta + eth + ipv4, "tap2", LaneFlow{Key: key, FragNo: true, Output: "tap2"}},
		"fragments": {meta + eth + "eth_type(0x0800)", "tap2", LaneFlow{Key: key, Output: "tap2"}},
		"nothing":   {"recirc_id(0),in_port(tap1)," + eth + "eth_type(0x0800),ipv4(frag=no)", "tap2", LaneFlow{Key: key, FragNo: true, Output: "tap2"}},
		"push":      {meta + eth + ipv4, "push_vlan(vid=10,pcp=3),eth1.5", LaneFlow{Key: key, FragNo: true, Push: Tag{true, 10, 3}, Output: "eth1.5"}},
		"extension headers": {meta + eth + "eth_type(0x86dd),ipv6(frag=no),key32(00 1f/00 00)", "tap2",
			LaneFlow{Key: Key{InPort: "tap1", EtherType: IPv6, Src: key.Src, Dst: key.Dst}, FragNo: true, Output: "tap2"}},
		"push VID 0": {meta + eth + ipv4, "push_vlan(vid=0,pcp=0),b-r_0", LaneFlow{Key: key, FragNo: true, Push: Tag{Present: true}, Output: "b-r_0"}},
		"tag kept": {meta + eth + "eth_type(0x8100),vlan(vid=10,pcp=5/0x0),encap(" + ipv4 + ")", "tap2",
			LaneFlow{Key: tagged(10, 0xfff, 0, 0), FragNo: true, Output: "tap2"}},
		"pop": {meta + eth + "eth_type(0x8100),vlan(vid=10,pcp=5),encap(" + ipv4 + ")", "pop_vlan,tap2",
			LaneFlow{Key: tagged(10, 0xfff, 5, 7), FragNo: true, Pop: true, Output: "tap2"}},
		"masks of a tag": {meta + eth + "eth_type(0x8100),vlan(vid=15/0xff0,pcp=7/0x6),encap(" + ipv4 + ")", "pop_vlan,push_vlan(vid=20,pcp=0),tap2",
			LaneFlow{Key: tagged(0, 0xff0, 6, 6), FragNo: true, Pop: true, Push: Tag{true, 20, 0}, Output: "tap2"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse(id + " " + tt.match + counters + ", actions:" + tt.actions + "\n")
			if err != nil {
				t.Fatal(err)
			}
			want := []Flow{{UFID: id[5:], Packets: 1, Bytes: 60, Used: 201 * time.Millisecond, Match: tt.want.Key, Lane: &tt.want}}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// refusals are flows that are refused, by reason. The detail is that which is to
// blame.
var refusals = map[Reason][]struct{ match, actions, detail string }{
	Recirculated: {{strings.Replace(meta, "recirc_id(0)", "recirc_id(0x1)", 1) + eth + ipv4, "tap2", "recirc_id(0x1)"},
		{strings.Replace(meta, "recirc_id(0)", "recirc_id(0/0)", 1) + eth + ipv4, "tap2", "recirc_id(0/0)"}},
	DPHash: {{strings.Replace(meta, "dp_hash(0/0)", "dp_hash(0x3/0xf)", 1) + eth + ipv4, "tap2", "dp_hash(0x3/0xf)"}},
	Mark: {{strings.Replace(meta, "skb_mark(0/0)", "skb_mark(0)", 1) + eth + ipv4, "tap2", "skb_mark(0)"},
		{strings.Replace(meta, "skb_priority(0/0)", "skb_priority(0x1/0x1)", 1) + eth + ipv4, "tap2", "skb_priority(0x1/0x1)"}},
	Conntrack: {{strings.Replace(meta, "ct_state(0/0)", "ct_state(0/0x20)", 1) + eth + ipv4, "tap2", "ct_state(0/0x20)"},
		{strings.Replace(meta, "ct_label(0/0)", "ct_label(0x1/0x1)", 1) + eth + ipv4, "tap2", "ct_label(0x1/0x1)"},
		{meta + eth + ipv4, "ct(commit,zone=1),tap2", "ct(commit,zone=1)"}, {meta + eth + ipv4, "ct_clear,tap2", "ct_clear"}},
	Tunnel: {{"tunnel(tun_id=0x7)," + meta + eth + ipv4, "tap2", "tunnel(tun_id=0x7)"},
		{meta + eth + ipv4, "tnl_pop(vxlan_sys_4789)", "tnl_pop(vxlan_sys_4789)"}},
	PortName: {{strings.Replace(meta, "tap1", "3", 1) + eth + ipv4, "tap2", "in_port(3)"},
		{strings.Replace(meta, "tap1", "3/0x3", 1) + eth + ipv4, "tap2", "in_port(3/0x3)"}, {meta + eth + ipv4, "5", "5"}, {meta + eth + ipv4, "a b", "a b"},
		{meta + eth + ipv4, "action27", "action27"}},
	PacketType: {{meta + "packet_type(ns=1,id=0x800)," + eth + ipv4, "tap2", "packet_type(ns=1,id=0x800)"},
		{meta + "packet_type(ns=0/0,id=0/0)," + eth + ipv4, "tap2", "packet_type(ns=0/0,id=0/0)"}},
	MaskedMAC: {{meta + "eth(src=52:54:00:00:00:01,dst=00:00:00:00:00:00/01:00:00:00:00:00)," + ipv4, "tap2", "eth(src=52:54:00:00:00:01,dst=00:00:00:00:00:00/01:00:00:00:00:00)"}},
	GroupMAC:  {{meta + "eth(src=52:54:00:00:00:01,dst=ff:ff:ff:ff:ff:ff)," + ipv4, "tap2", "eth(src=52:54:00:00:00:01,dst=ff:ff:ff:ff:ff:ff)"}},
	EtherType: {{meta + eth + "eth_type(0x0806),arp(sip=1.2.3.4)", "tap2", "eth_type(0x0806)"}, {meta + eth + "eth_type(0/0xffff)", "tap2", "eth_type(0/0xffff)"},
		{meta + eth + "eth_type(0x0800/0xff00)", "tap2", "eth_type(0x0800/0xff00)"},
		{meta + eth + "eth_type(0x8100),vlan(vid=1,pcp=0),encap(eth_type(0x8847),mpls(label=0/0x0))", "tap2", "eth_type(0x8847)"}},
	VLANMatch: {{meta + eth + "eth_type(0x88a8),vlan(vid=1,pcp=0),encap(" + ipv4 + ")", "tap2", "eth_type(0x88a8)"},
		{meta + eth + "eth_type(0x8100),vlan(vid=1,pcp=0),encap(eth_type(0x8100))", "tap2", "eth_type(0x8100)"},
		{meta + eth + "eth_type(0x8100),vlan(vid=1,pcp=0,cfi=0),encap(" + ipv4 + ")", "tap2", "vlan(vid=1,pcp=0,cfi=0)"},
		{meta + eth + "eth_type(0x8100),vlan(vid=1),encap(" + ipv4 + ")", "tap2", "vlan(vid=1)"},
		{meta + eth + "eth_type(0x8100),vlan(vid=1/0xfff,pcp=0),encap(" + ipv4 + ")", "tap2", "vlan(vid=1/0xfff,pcp=0)"},
		{meta + eth + "eth_type(0x8100),encap(" + ipv4 + ")", "tap2", "encap(" + ipv4 + ")"},
		{meta + eth + "eth_type(0x8100),vlan(vid=1,pcp=0)", "tap2", "a tag of which a part is missing"}},
	Fragments: {{meta + eth + strings.Replace(ipv4, "frag=no", "frag=first", 1), "tap2", "ipv4(frag=first)"}},
	L3Match: {{meta + eth + strings.Replace(ipv4, "proto=0/0", "proto=6", 1), "tap2", "ipv4(proto=6)"},
		{meta + eth + "eth_type(0x86dd),ipv6(frag=no),key32(00 00/00 01)", "tap2", "key32(00 00/00 01)"},
		{meta + eth + "eth_type(0x86dd),ipv6(frag=no),key32(00 00)", "tap2", "key32(00 00)"},
		{meta + eth + strings.Replace(ipv4, "tos=0/0", "tos=0/0x3", 1), "tap2", "ipv4(tos=0/0x3)"},
		{meta + eth + strings.Replace(ipv4, "0.0.0.0/0.0.0.0", "10.0.0.0/255.0.0.0", 1), "tap2", "ipv4(src=10.0.0.0/255.0.0.0)"}},
	L4Match: {{meta + eth + ipv4 + ",tcp(src=0/0,dst=80/0xfff0)", "tap2", "tcp(dst=80/0xfff0)"}, {meta + eth + ipv4 + ",tcp_flags(+syn-ack)", "tap2", "tcp_flags(+syn-ack)"},
		{meta + eth + ipv4 + ",nd_ext(nd_reserved=0x0,nd_options_type=0/0)", "tap2", "nd_ext(nd_reserved=0x0,nd_options_type=0/0)"}},
	UnknownMatch: {{meta + eth + ipv4 + ",quic(1/0)", "tap2", "quic(1/0)"},
		{meta + eth + ipv4 + ",key32(00 00/00 00)", "tap2", "key32(00 00/00 00)"}, {meta + eth + "eth_type(0x86dd),key32(00/00)", "tap2", "key32(00/00)"},
		{meta + eth + "eth_type(0x86dd),key33(00 00/00 00)", "tap2", "key33(00 00/00 00)"}, {meta + eth + ipv4 + ",udp(src=1/0,len=1/0)", "tap2", "udp(len=1/0)"},
		{meta + eth + ipv4 + ",udp(src=1/0),udp(src=1/0)", "tap2", "udp(src=1/0)"}, {meta + eth + ipv4 + ",udp(src=1/0,src=1/0)", "tap2", "udp(src=1/0)"},
		{meta + eth + ipv4 + ",ipv6(label=0/0)", "tap2", "ipv6(label=0/0)"}, {meta + eth + "ipv4(tos=0/0),eth_type(0x0800)", "tap2", "ipv4(tos=0/0)"},
		{meta + eth + strings.Replace(ipv4, "ttl=0/0", "ttl=0/256", 1), "tap2", "ipv4(ttl=0/256)"}, {meta + eth + strings.Replace(ipv4, "frag=no", "frag=maybe", 1), "tap2", "ipv4(frag=maybe)"},
		{meta + ipv4, "tap2", "no eth"}, {"in_port(tap1)," + eth + ipv4, "tap2", "no recirc_id"},
		{meta + eth + "vlan(vid=1,pcp=0),encap(" + ipv4 + ")", "tap2", "no eth_type"}, {"<empty>", "tap2", "<empty>"}, {meta + "eth(src=52:54:00:00:00:01)," + ipv4, "tap2", "eth(src=52:54:00:00:00:01)"},
		{meta + eth + "eth_type(0x8100),vlan(vid=1,pcp=0),encap(" + ipv4 + "),udp(src=1/0)", "tap2", "udp outside of encap"},
		{meta + eth + "eth_type(0x8100),vlan(vid=1,pcp=0),encap(" + ipv4 + ",skb_mark(0/0))", "tap2", "skb_mark(0/0)"}},
	Drop:           {{meta + eth + ipv4, "drop", "drop"}, {meta + eth + ipv4, "drop(3)", "drop(3)"}},
	SeveralOutputs: {{meta + eth + ipv4, "tap2,tap3", "tap2,tap3"}, {meta + eth + ipv4, "tap2,push_vlan(vid=1,pcp=0),tap3", "tap2,push_vlan(vid=1,pcp=0),tap3"}},
	VLANAction: {{meta + eth + ipv4, "pop_vlan,tap2", "pop_vlan"}, {meta + eth + ipv4, "push_vlan(vid=1,pcp=0),push_vlan(vid=1,pcp=0),tap2", "push_vlan(vid=1,pcp=0)"},
		{meta + eth + ipv4, "push_vlan(vid=1,pcp=0),pop_vlan,tap2", "pop_vlan"}, {meta + eth + ipv4, "push_vlan(tpid=0x88a8,vid=1,pcp=0),tap2", "push_vlan(tpid=0x88a8,vid=1,pcp=0)"},
		{meta + eth + ipv4, "push_vlan(vid=1,pcp=0,cfi=0),tap2", "push_vlan(vid=1,pcp=0,cfi=0)"}, {meta + eth + ipv4, "push_vlan(vid=4096,pcp=0),tap2", "push_vlan(vid=4096,pcp=0)"},
		{meta + eth + ipv4, "push_vlan(vid=1,pcp=0)", "push_vlan(vid=1,pcp=0)"},
		{meta + eth + "eth_type(0x8100),vlan(vid=1,pcp=0),encap(" + ipv4 + ")", "push_vlan(vid=1,pcp=0),tap2", "push_vlan(vid=1,pcp=0)"},
		{meta + eth + "eth_type(0x8100),vlan(vid=1,pcp=0),encap(" + ipv4 + ")", "pop_vlan,pop_vlan,tap2", "pop_vlan"}},
	Sampling: {{meta + eth + ipv4, "sample(sample=1.6%,actions(userspace(pid=0,sFlow(vid=0,pcp=0,output=5),actions))),tap2", "sample(sample=1.6%,actions(userspace(pid=0,sFlow(vid=0,pcp=0,output=5),actions)))"},
		{meta + eth + ipv4, "userspace(pid=0,ipfix(output_port=tap2)),tap2", "userspace(pid=0,ipfix(output_port=tap2))"}},
	Meter:            {{meta + eth + ipv4, "meter(0),tap2", "meter(0)"}},
	Userspace:        {{meta + eth + ipv4, "userspace(pid=0,slow_path(controller)),tap2", "userspace(pid=0,slow_path(controller))"}},
	Recirculates:     {{meta + eth + ipv4, "recirc(0x1)", "recirc(0x1)"}},
	HashAction:       {{meta + eth + ipv4, "hash(l4(0)),recirc(0x1)", "hash(l4(0))"}, {meta + eth + ipv4, "lb_output(1)", "lb_output(1)"}},
	Rewrite:          {{meta + eth + ipv4, "set(ipv4(ttl=63)),tap2", "set(ipv4(ttl=63))"}},
	Clone:            {{meta + eth + ipv4, "clone(tap3),tap2", "clone(tap3)"}},
	Truncate:         {{meta + eth + ipv4, "trunc(100),tap2", "trunc(100)"}},
	PacketLength:     {{meta + eth + ipv4, "check_pkt_len(size=9,gt(drop),le(tap2))", "check_pkt_len(size=9,gt(drop),le(tap2))"}},
	Hairpin:          {{meta + eth + ipv4, "tap1", "tap1"}},
	UnknownAction:    {{meta + eth + ipv4, "teleport(2),tap2", "teleport(2)"}, {meta + eth + ipv4, "pop_vlan(1),tap2", "pop_vlan(1)"}, {meta + eth + ipv4, "tap2()", "tap2()"}},
	HWOffload:        nil, // TestAttributes
	UnknownAttribute: {{meta + eth + ipv4, "tap2, dp-extra-info:quic", "dp-extra-info:quic"}},
}

func TestRefusals(t *testing.T) {
	for want, flows := range refusals {
		for _, tt := range flows {
			line := id + " " + tt.match + counters + ", actions:" + tt.actions
			got, err := Parse(line + "\n")
			if err != nil {
				t.Errorf("%s: %v", line, err)
				continue
			}
			if f := got[0]; f.Lane != nil || f.Refusal != want || f.Detail != shorten(tt.detail) || f.Packets != 1 || f.Again != (want == Recirculated) {
				t.Errorf("%s:\nrefused for %q (%s), want %q (%s)", line, f.Refusal, f.Detail, want, tt.detail)
			}
		}
	}
	// Every reason has a flow.
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if ok && spec.Type != nil && spec.Type.(*ast.Ident).Name == "Reason" {
			value := spec.Values[0].(*ast.BasicLit).Value
			if _, ok := refusals[Reason(strings.Trim(value, `"`))]; !ok {
				t.Errorf("no flow is refused for %s", value)
			}
		}
		return true
	})
}

func shorten(s string) string {
	if len(s) > maxDetail {
		return s[:maxDetail-3] + "..."
	}
	return s
}

// What stands between the counters and the actions.
func TestAttributes(t *testing.T) {
	for attributes, want := range map[string]Reason{
		"":                            "",
		", flags:SFP.":                "",
		", flags:P.[800]":             "",
		", dp:ovs":                    "",
		", flags:., dp:ovs":           "",
		", offloaded:yes, dp:tc":      HWOffload,
		", offloaded:partial, dp:ovs": HWOffload,
		", dp:dpdk":                   HWOffload,
		", dp:doca":                   UnknownAttribute,
		", offloaded:maybe":           UnknownAttribute,
		", flags:quic":                UnknownAttribute,
		", dp:ovs, dp:ovs":            UnknownAttribute,
		", age:3":                     UnknownAttribute,
		", ":                          UnknownAttribute,
	} {
		got, err := Parse(id + ", " + meta + eth + ipv4 + counters + attributes + ", actions:tap2, dp-extra-info:miniflow_bits(5,1)\n")
		if err != nil || got[0].Refusal != want {
			t.Errorf("%q: %+v, %v; want %q", attributes, got, err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	const good = id + " " + meta + eth + ipv4 + counters + ", actions:tap2"
	if _, err := Parse(good + "\n"); err != nil {
		t.Fatal(err)
	}
	for name, line := range map[string]string{
		"an error":           "br9: no such bridge",
		"no ufid":            strings.TrimPrefix(good, id+" "),
		"short ufid":         strings.Replace(good, "ufid:0", "ufid:", 1),
		"ufid of letters":    strings.Replace(good, "ufid:0", "ufid:g", 1),
		"no packets":         strings.Replace(good, ", packets:1", "", 1),
		"no bytes":           strings.Replace(good, ", bytes:60", "", 1),
		"no use":             strings.Replace(good, ", used:0.201s", "", 1),
		"no actions":         strings.Replace(good, ", actions:tap2", "", 1),
		"packets":            strings.Replace(good, "packets:1", "packets:-1", 1),
		"many packets":       strings.Replace(good, "packets:1", "packets:18446744073709551616", 1),
		"bytes":              strings.Replace(good, "bytes:60", "bytes:0x3c", 1),
		"used":               strings.Replace(good, "0.201s", "0.201", 1),
		"used in minutes":    strings.Replace(good, "0.201s", "3m", 1),
		"used without point": strings.Replace(good, "0.201s", "3s", 1),
		"used for ages":      strings.Replace(good, "0.201s", "9999999999.000s", 1),
		"parenthesis":        strings.Replace(good, "ct_mark(0/0)", "ct_mark(0/0", 1),
		"other parenthesis":  good + ")",
		"other header":       "flow-dump from pmd on cpu core: x",
	} {
		if got, err := Parse(line + "\n"); err == nil || !strings.HasPrefix(err.Error(), "parse dump-flows: line 1: ") {
			t.Errorf("%s: %v, %v; want an error that names the line", name, got, err)
		}
	}
	if _, err := Parse(good); err == nil {
		t.Error("a line without end is not refused")
	}
	if flows, err := Parse(""); err != nil || len(flows) != 0 {
		t.Errorf("no flows: %v, %v", flows, err)
	}
	for used, want := range map[string]time.Duration{"never": Never, "0.000s": 0, "-0.001s": 0, "3600.250s": time.Hour + 250*time.Millisecond} {
		flows, err := Parse(strings.Replace(good, "0.201s", used, 1) + "\n")
		if err != nil || flows[0].Used != want {
			t.Errorf("used %s: %v, %v", used, flows, err)
		}
	}
}

func TestPlainName(t *testing.T) {
	for name, want := range map[string]bool{
		"tap1": true, "eth0.100": true, "br-int": true, "vxlan_sys_4789": true, "5b45c61b307e_h": true, "actions": true, "0x1": true,
		"": false, "12": false, "a,b": false, "a b": false, "tap(1)": false, `"a"`: false, "drop": false, "pop_vlan": false, "push_vlan": false,
		"ct": false, "ct_clear": false, "meter": false, "action27": false, "tap\n": false, "é": false, "a=b": false, "a/b": false, "a:b": false,
	} {
		if PlainName(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	text := strings.Repeat(read(b, "testdata/dump-3.1-normal.txt"), 100)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}
