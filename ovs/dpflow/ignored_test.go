// SPDX-License-Identifier: Apache-2.0

package dpflow

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What these tests are about: nothing that is printed is ignored.

// print is the normal form of a flow of the lane.
func print(f Flow) string {
	used := "never"
	if f.Used != Never {
		used = fmt.Sprintf("%.3fs", f.Used.Seconds())
	}
	match, actions, _ := strings.Cut(f.Lane.String(), ", actions:")
	return fmt.Sprintf("ufid:%s %s, packets:%d, bytes:%d, used:%s, actions:%s\n", f.UFID, match, f.Packets, f.Bytes, used, actions)
}

var (
	innermost = regexp.MustCompile(`\b([a-z_0-9]+)\(([^()]*)\)`)
	zeroMask  = regexp.MustCompile(`^(?:[a-z_]+=)?[^/=,]+/(?:0|0x0|0\.0\.0\.0|::|00:00:00:00:00:00|00 00)$`)
)

// reduce takes out of a line, by other means than the parser, what has a mask of
// 0, and returns match and actions: the text of its LaneFlow.
func reduce(line string) string {
	head, rest, _ := strings.Cut(line, ", packets:")
	_, match, _ := strings.Cut(head, " ")
	_, actions, _ := strings.Cut(rest, ", actions:")
	actions, _, _ = strings.Cut(actions, ", dp-extra-info:")
	const gone = "\x00"
	match = innermost.ReplaceAllStringFunc(match, func(s string) string {
		parts := innermost.FindStringSubmatch(s)
		if s == "packet_type(ns=0,id=0)" {
			return gone
		}
		if parts[1] == "vlan" {
			return vlan(parts[2])
		}
		var left []string
		for _, field := range strings.Split(parts[2], ",") {
			if !zeroMask.MatchString(field) {
				left = append(left, field)
			}
		}
		if left == nil {
			return gone
		}
		return parts[1] + "(" + strings.Join(left, ",") + ")"
	})
	match = strings.ReplaceAll(strings.ReplaceAll(match, gone+",", ""), ","+gone, "")
	// The order of attributes is the datapath's.
	order := []string{"recirc_id(", "in_port(", "eth(", "eth_type(", "vlan(", "encap(", "ipv4(", "ipv6("}
	items, err := split(match)
	if err != nil {
		return err.Error()
	}
	var sorted []string
	for _, prefix := range order {
		for _, item := range items {
			if strings.HasPrefix(item, prefix) {
				sorted = append(sorted, item)
			}
		}
	}
	if len(sorted) != len(items) {
		return "not understood: " + match
	}
	return strings.Join(sorted, ",") + ", actions:" + actions
}

// vlan takes out the bits that don't count.
func vlan(content string) string {
	var out []string
	for _, field := range strings.Split(content, ",") {
		name, value, _ := strings.Cut(field, "=")
		if number, mask, ok := strings.Cut(value, "/"); ok {
			n, _ := strconv.ParseUint(number, 10, 16)
			m, _ := strconv.ParseUint(mask, 0, 16)
			value = fmt.Sprintf("%d/%s", n&m, mask)
		}
		out = append(out, name+"="+value)
	}
	return "vlan(" + strings.Join(out, ",") + ")"
}

// hold checks what is true of every line: if it is a flow of the lane, then what
// the lane knows of it is all that the line says.
func hold(t *testing.T, line string) (Flow, bool) {
	t.Helper()
	flows, err := Parse(line + "\n")
	if err != nil || len(flows) != 1 {
		return Flow{}, false
	}
	f := flows[0]
	if (f.Lane == nil) != (f.Refusal != "") || f.Lane != nil && f.Detail != "" {
		t.Fatalf("%q: neither of the lane nor refused: %+v", line, f)
	}
	if f.Lane == nil {
		return f, false
	}
	if want := reduce(line); f.Lane.String() != want {
		t.Fatalf("%q:\nread as  %s\nit says  %s", line, f.Lane, want)
	}
	again, err := Parse(print(f))
	if err != nil {
		t.Fatalf("%q: %v", print(f), err)
	}
	if diff := cmp.Diff([]Flow{f}, again); diff != "" {
		t.Fatalf("%q: printed and read again (-want +got):\n%s", line, diff)
	}
	return f, true
}

// laneLines are the lines of testdata that are flows of the lane.
func laneLines(t *testing.T) []string {
	t.Helper()
	var lines []string
	for _, name := range texts(t) {
		for line := range strings.Lines(read(t, name)) {
			line = strings.TrimSuffix(line, "\n")
			if _, ok := hold(t, line); ok {
				lines = append(lines, line)
			}
		}
	}
	if len(lines) < 30 {
		t.Fatalf("%d lines of the lane in testdata", len(lines))
	}
	return lines
}

// Something unknown between any two things of a flow refuses it.
func TestUnknownIsRefused(t *testing.T) {
	for _, line := range laneLines(t) {
		start := strings.Index(line, " ") + 1
		stats := strings.Index(line, ", packets:")
		acts := strings.Index(line, ", actions:") + len(", actions:")
		end := len(line)
		if i := strings.Index(line, ", dp-extra-info:"); i >= 0 {
			end = i
		}
		insert := func(at int, text string) {
			t.Helper()
			if mutant := line[:at] + text + line[at:]; mutant != line {
				if f, ok := hold(t, mutant); ok {
					t.Fatalf("%q is a flow of the lane: %s", mutant, f.Lane)
				}
			}
		}
		for at := start; at <= stats; at++ {
			before, after := line[at-1], line[at]
			if before == ' ' || before == ',' || before == '(' && strings.HasSuffix(line[:at], "encap(") {
				for _, unknown := range []string{"quic(1),", "quic(1/0),", "quic(),", "quic,", "quic=1,", "quic=1/0,", "key40(00 01)/key40(ff ff),", ",", "+"} {
					insert(at, unknown)
				}
			}
			if after == ',' || after == ')' {
				for _, unknown := range []string{",quic(1)", ",quic(1/0)", ",quic()", ",quic", ",quic=1", ",quic=1/0", ",", "/quic", "/0/0", "(", ")"} {
					insert(at, unknown)
				}
			}
			if before == '(' {
				for _, unknown := range []string{"quic,", "quic=1,", "quic=1/0,", ",", "(", "!"} {
					insert(at, unknown)
				}
			}
		}
		for at := acts; at <= end; at++ {
			for _, unknown := range []string{"quic(1)", "quic()", "quic", "action27", "action27(00 01)", "push_quic", "drop", "<empty>", "bad length 3, expected 4 for: action27(00)", "***4 leftover bytes*** (00000000)"} {
				if at == acts || line[at-1] == ',' && line[acts:at] != "" && !strings.Contains(unknown, "***") && depth(line[acts:at]) == 0 {
					insert(at, unknown+",")
				}
				if at == end || line[at] == ',' && depth(line[acts:at]) == 0 {
					insert(at, ","+unknown)
				}
			}
		}
		for at := stats; at < acts; at++ {
			if line[at] == ',' && at > stats {
				insert(at, ", quic:1")
				insert(at, ", quic")
			}
		}
	}
}

func depth(s string) int { return strings.Count(s, "(") - strings.Count(s, ")") }

// A field that counts is seen, whichever it is.
func TestEveryMaskCounts(t *testing.T) {
	masks := regexp.MustCompile(`/(0\.0\.0\.0|::|00:00:00:00:00:00|00 00|0)([,)])`)
	for _, line := range laneLines(t) {
		for _, at := range masks.FindAllStringSubmatchIndex(line, -1) {
			others := map[string][]string{
				"0":                 {"/1", "/0x1", "/0x8", "/255", ""},
				"0.0.0.0":           {"/0.0.0.1", "/128.0.0.0", "/255.255.255.255", ""},
				"::":                {"/::1", "/8000::", "/ffff::", ""},
				"00 00":             {"/00 01", "/ff ff", "/00", ""},
				"00:00:00:00:00:00": {"/00:00:00:00:00:01", "/01:00:00:00:00:00", ""},
			}[line[at[2]:at[3]]]
			for _, other := range others {
				mutant := line[:at[0]] + other + line[at[4]:]
				if f, ok := hold(t, mutant); ok {
					t.Fatalf("%q is a flow of the lane: %s", mutant, f.Lane)
				}
			}
		}
	}
}

// Whatever becomes of a byte, what is read is what is written.
func TestEveryByteCounts(t *testing.T) {
	lines := laneLines(t)
	if testing.Short() {
		lines = lines[:3]
	}
	for _, line := range lines {
		for at := range line {
			hold(t, line[:at]+line[at+1:])
			for _, c := range []byte("07afz(),=/ .:-x\x00") {
				hold(t, line[:at]+string(c)+line[at:])
				hold(t, line[:at]+string(c)+line[at+1:])
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range texts(f) {
		for line := range strings.Lines(read(f, name)) {
			f.Add(line)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		for line := range strings.Lines(text) {
			hold(t, strings.TrimSuffix(line, "\n"))
		}
		_, _ = Parse(text)
	})
}
