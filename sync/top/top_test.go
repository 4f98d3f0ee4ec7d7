// SPDX-License-Identifier: Apache-2.0

package top

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/sync/report"
)

var update = flag.Bool("update", false, "write the golden files")

// samples are two moments of a host with a bridge on the lane, one in observe mode
// and one that is off.
func samples() (before, after Sample) {
	status := report.Status{Version: "0.1.0", PID: 77, Lane: "open", Bridges: []report.Bridge{
		{Name: "br-ext", Mode: "on", State: "on", Stations: 12},
		{Name: "br-lab", Mode: "observe", State: "observe", Stations: 2},
		{Name: "br-off", Mode: "off", State: "off"},
		{Name: "br-ovn", Mode: "on", State: "refused"},
	}}
	port := func(bridge, name string, ifindex int, rx report.Frames, tx report.Sent, reasons map[string]uint64) report.Port {
		return report.Port{Bridge: bridge, Interface: name, IfIndex: ifindex, RX: rx, TX: tx, Reasons: reasons}
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	vx := report.Port{Bridge: "br-ext", Interface: "vx0", Refusals: []report.Refusal{{Reason: "interface-type"}}}
	before = Sample{At: at, Status: status, Ports: []report.Port{
		port("br-ext", "eth0", 2, report.Frames{Lane: 1000, OVS: 100, LaneBytes: 1e6, OVSBytes: 1e4}, report.Sent{Lane: 10}, map[string]uint64{"lane": 1000, "group": 100}),
		port("br-ext", "tap1", 3, report.Frames{Lane: 900000, LaneBytes: 9e8}, report.Sent{}, nil),
		vx,
		port("br-lab", "v1", 5, report.Frames{OVS: 100, Would: 50}, report.Sent{}, nil),
	}}
	after = Sample{At: at.Add(2 * time.Second), Status: status, Ports: []report.Port{
		port("br-ext", "eth0", 2, report.Frames{Lane: 2501000, OVS: 150, LaneBytes: 1e6 + 2500000*1000, OVSBytes: 1e4 + 3000}, report.Sent{Lane: 30, Lost: 4},
			map[string]uint64{"lane": 2501000, "group": 110, "keepalive": 40}),
		// Another device of that name: its counters began anew.
		port("br-ext", "tap1", 9, report.Frames{Lane: 20, OVS: 20, LaneBytes: 2000, OVSBytes: 2000}, report.Sent{}, nil),
		vx,
		port("br-lab", "v1", 5, report.Frames{OVS: 300, Would: 200, OVSBytes: 20000, WouldBytes: 10000}, report.Sent{}, nil),
	}}
	return before, after
}

func TestRates(t *testing.T) {
	bridges, ports := Rates(samples())
	want := []Rate{
		{Bridge: "br-ext", Interface: "eth0", Lane: 1250000, OVS: 25, LaneBits: 1e10, Bits: 1e10 + 12000, Out: 10, Lost: 2, Note: "keepalive"},
		{Bridge: "br-ext", Interface: "tap1", Lane: 10, OVS: 10, LaneBits: 8000, Bits: 16000},
		{Bridge: "br-ext", Interface: "vx0", Note: "interface-type"},
		{Bridge: "br-lab", Interface: "v1", Lane: 75, OVS: 25, LaneBits: 40000, Bits: 80000},
	}
	if diff := cmp.Diff(want, ports); diff != "" {
		t.Errorf("ports (-want +got):\n%s", diff)
	}
	want = []Rate{
		{Bridge: "br-ext", Lane: 1250010, OVS: 35, LaneBits: 1e10 + 8000, Bits: 1e10 + 28000, Out: 10, Lost: 2},
		{Bridge: "br-lab", Lane: 75, OVS: 25, LaneBits: 40000, Bits: 80000},
		{Bridge: "br-ovn"},
	}
	if diff := cmp.Diff(want, bridges); diff != "" {
		t.Errorf("bridges (-want +got):\n%s", diff)
	}
	before, _ := samples()
	if b, p := Rates(before, before); b != nil || p != nil {
		t.Errorf("rates of no time: %v, %v", b, p)
	}
}

// screen drives the model as a user does, and renders it.
func screen(t *testing.T, width, height int, messages ...tea.Msg) string {
	t.Helper()
	var m tea.Model = newModel(t.Context(), Config{Interval: time.Second, Sample: func(context.Context) (Sample, error) { return Sample{}, nil }})
	m, _ = m.Update(tea.WindowSizeMsg{Width: width, Height: height})
	for _, msg := range messages {
		m, _ = m.Update(msg)
	}
	text := m.View().Content
	if lines := strings.Split(text, "\n"); len(lines) > height {
		t.Errorf("%d lines on a screen of %d", len(lines), height)
	}
	for _, style := range []string{bold, faint, red, green, plain} {
		text = strings.ReplaceAll(text, style, "")
	}
	for i, line := range strings.Split(text, "\n") {
		if len([]rune(line)) > width {
			t.Errorf("line %d is longer than %d columns: %q", i, width, line)
		}
	}
	return text
}

func press(key string) tea.Msg { return tea.KeyPressMsg{Code: []rune(key)[0], Text: key} }

func TestScreen(t *testing.T) {
	before, after := samples()
	both := []tea.Msg{sampled{before, nil}, sampled{after, nil}}
	for _, tt := range []struct {
		name          string
		width, height int
		messages      []tea.Msg
	}{
		{"asking", 80, 12, nil},
		{"first", 80, 12, both[:1]},
		{"rates", 120, 24, both},
		{"narrow", 60, 24, both},
		{"by-name", 120, 24, append(both, press("n"))},
		{"by-ovs-reversed-paused", 120, 24, append(both, press("o"), press("r"), press("p"))},
		{"scrolled", 120, 11, append(both, press("n"), press("j"))},
		{"gone", 120, 12, append(both, sampled{Sample{}, errors.New("find ovs-xdpd: not running")})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := screen(t, tt.width, tt.height, tt.messages...)
			golden := filepath.Join("testdata", tt.name+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(got+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got+"\n"); diff != "" {
				t.Errorf("screen (-want +got):\n%s", diff)
			}
		})
	}
}

// However many ports there are, the last can be reached, and no further.
func TestScroll(t *testing.T) {
	_, after := samples()
	var many []report.Port
	for i := range 100 {
		many = append(many, report.Port{Bridge: "br-ext", Interface: fmt.Sprintf("tap%03d", i), IfIndex: i + 1})
	}
	after.Ports = many
	before := after
	before.At = after.At.Add(-time.Second)
	messages := []tea.Msg{sampled{before, nil}, sampled{after, nil}, press("n")}
	for range 200 {
		messages = append(messages, press("j"))
	}
	if text := screen(t, 100, 20, messages...); !strings.Contains(text, "tap099") || strings.Contains(text, "tap010") {
		t.Errorf("the end of the list is not reached:\n%s", text)
	}
	for range 200 {
		messages = append(messages, press("k"))
	}
	if text := screen(t, 100, 20, messages...); !strings.Contains(text, "tap000") {
		t.Errorf("the begin of the list is not reached:\n%s", text)
	}
}

func TestQuit(t *testing.T) {
	m := newModel(t.Context(), Config{})
	for _, key := range []tea.KeyPressMsg{{Code: 'q', Text: "q"}, {Code: 'c', Mod: tea.ModCtrl}, {Code: tea.KeyEscape}} {
		_, cmd := m.Update(key)
		if cmd == nil {
			t.Fatalf("%s does not end it", key)
		}
		if _, ok := cmd().(tea.QuitMsg); !ok {
			t.Errorf("%s does not end it", key)
		}
	}
}

func TestNumber(t *testing.T) {
	for f, want := range map[float64]string{0: "0", 0.5: "0.5", 9.94: "9.9", 12: "12", 999: "999", 999.6: "1.0k", 12345: "12k", 1.5e9: "1.5G", 5e15: "5000T"} {
		if got := number(f); got != want {
			t.Errorf("number(%v) = %q, want %q", f, got, want)
		}
	}
}
