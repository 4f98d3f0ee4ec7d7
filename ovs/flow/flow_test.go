// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

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

// parserOf returns the parser for a file of testdata: dump-*.txt came from
// dump-flows, bridge-*.txt from bridge/dump-flows. Those of 3.1 were captured,
// the others are written after the sources.
func parserOf(name string) func(string) ([]ovs.Rule, error) {
	if strings.HasPrefix(filepath.Base(name), "bridge-") {
		return ParseHidden
	}
	return Parse
}

func TestGolden(t *testing.T) {
	names, _ := filepath.Glob("testdata/*.txt")
	if len(names) == 0 {
		t.Fatal("no testdata")
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			rules, err := parserOf(name)(read(t, name))
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			for _, r := range rules {
				line, err := json.Marshal(r)
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

// TestSourcesAgree compares what two commands said of one table at one time.
func TestSourcesAgree(t *testing.T) {
	dumped, err := Parse(read(t, "testdata/dump-3.1-of15.txt"))
	if err != nil {
		t.Fatal(err)
	}
	all, err := ParseHidden(read(t, "testdata/bridge-3.1.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var visible []ovs.Rule
	for _, r := range all {
		if r.Table != 254 {
			visible = append(visible, r)
		}
	}
	key := func(r ovs.Rule) string { return fmt.Sprint(r.Table, r.Priority, r.Match) }
	if diff := cmp.Diff(dumped, visible,
		cmpopts.SortSlices(func(a, b ovs.Rule) bool { return key(a) < key(b) }),
		cmpopts.IgnoreFields(ovs.Rule{}, "Cookie", "IdleTimeout", "HardTimeout")); diff != "" {
		t.Errorf("(-dump-flows +bridge/dump-flows):\n%s", diff)
	}
}

func TestParse(t *testing.T) {
	for name, tt := range map[string]struct {
		line string
		want ovs.Rule
	}{
		"default priority": {
			" cookie=0x0, duration=0.9s, table=0, n_packets=1, n_bytes=2, actions=NORMAL",
			ovs.Rule{Priority: 32768, Packets: 1, Bytes: 2, Actions: []string{"NORMAL"}}},
		"everything": {
			" cookie=0xff, duration=4s, table=7, n_packets=1, n_bytes=2, idle_timeout=3, hard_timeout=4, send_flow_rem check_overlap reset_counts no_packet_counts no_byte_counts importance=5, idle_age=6, hard_age=7, priority=8,tcp,in_port=LOCAL,tun_metadata0=0x1/0x3 actions=learn(table=1,load:NXM_OF_IN_PORT[]->NXM_NX_REG0[0..15]),output:2",
			ovs.Rule{Table: 7, Priority: 8, Packets: 1, Bytes: 2, IdleTimeout: 3, HardTimeout: 4, Cookie: 0xff,
				Match:   []ovs.Match{{Field: "tcp"}, {Field: "in_port", Value: "LOCAL"}, {Field: "tun_metadata0", Value: "0x1/0x3"}},
				Actions: []string{"learn(table=1,load:NXM_OF_IN_PORT[]->NXM_NX_REG0[0..15])", "output:2"}}},
		"brackets and quotes in the head": {
			` packet_type=(1,0x800),in_port="a, actions=b\"" actions=output:"c,(d"`,
			ovs.Rule{Priority: 32768,
				Match:   []ovs.Match{{Field: "packet_type", Value: "(1,0x800)"}, {Field: "in_port", Value: `"a, actions=b\""`}},
				Actions: []string{`output:"c,(d"`}}},
		"unknown tokens": {
			" priority=5,quic,in_port=1,Strange=2,x= actions=drop",
			ovs.Rule{Priority: 5, Match: []ovs.Match{{Field: "in_port", Value: "1"}},
				Actions: []string{"drop"}, Unknown: []string{"quic", "Strange=2", "x="}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse(tt.line + "\n")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]ovs.Rule{tt.want}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, line := range []string{
		"***decode error: OFPBAC_UNSUPPORTED_ORDER***",
		"NXST_FLOW reply (xid=0x4): ***decode error: OFPBAC_UNSUPPORTED_ORDER***",
		"00000000  01 11 11 38 00 00 00 04-ff ff 00 00 00 00 23 20 |...8..........# |",
		"OFPT_ERROR (OF1.3) (xid=0x2): OFPBRC_BAD_TYPE",
		" cookie=0x0, duration=0.9s, table=0, n_packets=1",
		" priority=5,in_port=1",
		" priority=5 actions=",
		" priority=5 actions=NORMAL,",
		" priority=5 actions=,NORMAL",
		" priority=5 actions=resubmit(,10",
		" priority=5 actions=resubmit(,10))",
		" priority=5 actions=load:0x1->NXM_NX_REG0[(])",
		` priority=5 actions=output:"a`,
		" priority=65536 actions=NORMAL",
		" priority=-1 actions=NORMAL",
		" priority= actions=NORMAL",
		" priority actions=NORMAL,priority=5,priority=6 actions=drop,",
		" priority=1,priority=2 actions=drop",
		" tcp,tcp actions=drop",
		" table=classifier, priority=1 actions=drop",
		" table=256, priority=1 actions=drop",
		" n_packets=? actions=drop",
		" cookie=x actions=drop",
		" duration=5 actions=drop",
		" duration=5m actions=drop",
		" idle_timeout=70000 actions=drop",
		" idle_age=x actions=drop",
		" idle_age actions=drop",
		" cookie actions=drop",
		" tcp=1 actions=drop",
		" send_flow_rem=1 actions=drop",
	} {
		if got, err := Parse(line + "\n"); err == nil || !strings.HasPrefix(err.Error(), "parse dump-flows: line 1: ") {
			t.Errorf("%s: %v, %v; want an error that names the line", line, got, err)
		}
	}
	if _, err := Parse(" actions=NORMAL"); err == nil {
		t.Error("a line without end is not refused")
	}
	if _, err := Parse("NXST_FLOW reply (xid=0x4): flags=[more]\n actions=NORMAL\n"); err == nil {
		t.Error("a reply without its last part is not refused")
	}
}

func TestParseHidden(t *testing.T) {
	rules, err := ParseHidden(read(t, "testdata/bridge-3.1-hidden.txt"))
	if err != nil {
		t.Fatal(err)
	}
	hidden := 0
	for _, r := range rules {
		if Hidden(r) {
			hidden++
			if r.Table != 0 || r.Priority != 65535 {
				t.Errorf("hidden rule %+v", r)
			}
		}
	}
	if len(rules) != 12 || hidden != 8 { // 7 of in-band control, 1 of fail-open
		t.Errorf("%d rules, %d of them hidden; want 12 and 8", len(rules), hidden)
	}
	rules, err = ParseHidden("duration=3s, n_packets=1, n_bytes=90, ,actions=NORMAL\n")
	want := []ovs.Rule{{Priority: 32768, Packets: 1, Bytes: 90, Actions: []string{"NORMAL"}}}
	if diff := cmp.Diff(want, rules); err != nil || diff != "" {
		t.Errorf("match-all with the default priority: %v\n%s", err, diff)
	}
}

// print is a normal form that both parsers read back as the same rule.
func print(r ovs.Rule) string {
	var b strings.Builder
	fmt.Fprintf(&b, " cookie=%#x, table=%d, n_packets=%d, n_bytes=%d, idle_timeout=%d, hard_timeout=%d",
		r.Cookie, r.Table, r.Packets, r.Bytes, r.IdleTimeout, r.HardTimeout)
	for _, token := range r.Unknown {
		b.WriteString(", " + token)
	}
	if !Hidden(r) {
		fmt.Fprintf(&b, ", priority=%d", r.Priority)
	}
	for _, m := range r.Match {
		b.WriteString("," + m.Field)
		if m.Value != "" {
			b.WriteString("=" + m.Value)
		}
	}
	fmt.Fprintf(&b, " actions=%s\n", strings.Join(r.Actions, ","))
	return b.String()
}

func fuzz(f *testing.F, pattern string, parse func(string) ([]ovs.Rule, error)) {
	names, _ := filepath.Glob("testdata/" + pattern)
	for _, name := range names {
		for line := range strings.Lines(read(f, name)) {
			f.Add(line)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		rules, err := parse(text)
		if err != nil {
			return
		}
		var b strings.Builder
		for _, r := range rules {
			b.WriteString(print(r))
		}
		again, err := parse(b.String())
		if err != nil {
			t.Fatalf("%q: %v", b.String(), err)
		}
		if diff := cmp.Diff(rules, again); diff != "" {
			t.Error(diff)
		}
	})
}

func FuzzParse(f *testing.F)       { fuzz(f, "dump-*.txt", Parse) }
func FuzzParseHidden(f *testing.F) { fuzz(f, "bridge-*.txt", ParseHidden) }

func BenchmarkParse(b *testing.B) {
	text := read(b, "testdata/dump-3.1-of13.txt")
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}
