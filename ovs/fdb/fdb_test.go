// SPDX-License-Identifier: Apache-2.0

package fdb

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

func mac(s string) ovs.MAC {
	m, err := ovs.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

func read(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var newer = []ovs.FDBEntry{
	{OFPort: 1, VLAN: 0, MAC: mac("50:54:00:00:00:05"), Static: true},
	{OFPort: 65279, VLAN: 0, MAC: mac("50:54:00:00:00:06"), Age: 7},
	{OFPort: ovs.LocalPort, VLAN: 10, MAC: mac("50:54:00:00:00:07")},
}

// The text of 3.1 was captured; the others are written after the sources.
func TestParse(t *testing.T) {
	for name, want := range map[string][]ovs.FDBEntry{
		"show-2.13.txt": {
			{OFPort: ovs.LocalPort, VLAN: 0, MAC: mac("be:95:df:40:fb:57"), Age: 27},
			{OFPort: 30, VLAN: 0, MAC: mac("fa:16:3e:42:49:25"), Age: 226},
			{OFPort: 1, VLAN: 341, MAC: mac("be:42:32:58:3d:73"), Age: 65},
			{OFPort: 2181, VLAN: 4095, MAC: mac("fa:16:3e:41:bb:21")},
		},
		"show-3.1.txt": {
			{OFPort: 65279, VLAN: 0, MAC: mac("4e:3d:ac:d5:21:bb"), Age: 1},
			{OFPort: ovs.LocalPort, VLAN: 0, MAC: mac("52:54:00:00:00:03"), Age: 4},
			{OFPort: 65279, VLAN: 0, MAC: mac("52:54:00:00:00:0a"), Age: 3},
			{OFPort: 1, VLAN: 10, MAC: mac("52:54:00:00:00:01"), Age: 4},
			{OFPort: 2, VLAN: 10, MAC: mac("52:54:00:00:00:02"), Age: 4},
			{OFPort: 3, VLAN: 20, MAC: mac("52:54:00:00:00:09"), Static: true},
			{OFPort: ovs.LocalPort, VLAN: 200, MAC: mac("52:54:00:00:00:03"), Age: 4},
			{OFPort: 3, VLAN: 4094, MAC: mac("fe:ff:ff:ff:ff:fe"), Static: true},
		},
		"show-4.0.txt": newer,
	} {
		got, err := Parse(read(t, name))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestParseEmpty(t *testing.T) {
	got, err := Parse(" port  VLAN  MAC                Age\n")
	if err != nil || len(got) != 0 {
		t.Errorf("%v, %v; want no rows", got, err)
	}
}

func TestParseRefuses(t *testing.T) {
	const header = " port  VLAN  MAC                Age\n"
	for name, tt := range map[string]struct{ text, want string }{
		"nothing":         {"", "no header"},
		"no header":       {"    1    10  52:54:00:00:00:01    4\n", "line 1:"},
		"many bridges":    {" Bridge  Port  VLAN  MAC                Age\n br0        2     0  50:54:00:00:00:05    1\n", "not the header"},
		"more columns":    {header + "    1    10  52:54:00:00:00:01    4  x\n", "line 2: "},
		"fewer columns":   {header + "    1    10  52:54:00:00:00:01\n", "line 2: "},
		"blank line":      {header + "\n    1    10  52:54:00:00:00:01    4\n", "line 2: "},
		"port name":       {header + "  tap0    10  52:54:00:00:00:01    4\n", `port "tap0"`},
		"port too high":   {header + "65280    10  52:54:00:00:00:01    4\n", `port "65280"`},
		"VLAN too high":   {header + "    1  4096  52:54:00:00:00:01    4\n", `VLAN "4096"`},
		"MAC":             {header + "    1    10  52:54:00:00:00:0g    4\n", "octet 6"},
		"negative age":    {header + "    1    10  52:54:00:00:00:01   -4\n", `age "-4"`},
		"truncated":       {header + "    1    10  52:54:00:00:00:01    4\n    1    1", "line 3: "},
		"cut in a number": {header + "    1    10  52:54:00:00:00:01    4", "no end"},
		"same key":        {header + "    1    10  52:54:00:00:00:01    4\n    2    10  52:54:00:00:00:01    4\n", "twice on VLAN 10"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := Parse(tt.text); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, %v; want an error with %q", got, err, tt.want)
			}
		})
	}
}

func TestParseJSON(t *testing.T) {
	for _, name := range []string{"show-3.6.json", "show-4.0.json"} {
		got, err := ParseJSON([]byte(read(t, name)), "br0")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(newer, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if got, err := ParseJSON([]byte(`{"br0":[]}`), "br0"); err != nil || len(got) != 0 {
		t.Errorf("empty table: %v, %v", got, err)
	}
	const row = `"mac":"50:54:00:00:00:06","vlan":0`
	for _, text := range []string{
		``, `null`, `"x"`, `{}`, `{"br1":[]}`, `{"br0":[],"br1":[]}`, `{"br0":null}`, `[] []`,
		`[{"port":1,"age":1,` + row + `,"new":1}]`,
		`[{"age":1,` + row + `}]`,
		`[{"port":1,` + row + `}]`,
		`[{"port":1,"age":1,"static":true,` + row + `}]`,
		`[{"port":1,"age":-1,` + row + `}]`,
		`[{"port":65280,"age":1,` + row + `}]`,
		`[{"port":"LOCAL","age":1,` + row + `}]`,
		`[{"port":1,"age":1,"mac":"x","vlan":0}]`,
		`[{"port":1,"age":1,"mac":"50:54:00:00:00:06","vlan":4096}]`,
		`{"reply":" port  VLAN  MAC                Age\n","reply-format":"plain"}`,
	} {
		if got, err := ParseJSON([]byte(text), "br0"); err == nil {
			t.Errorf("%s: %v, want an error", text, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"show-2.13.txt", "show-3.1.txt", "show-4.0.txt"} {
		f.Add(read(f, name))
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(print(got))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got, again); diff != "" {
			t.Error(diff)
		}
	})
}

func FuzzParseJSON(f *testing.F) {
	f.Add([]byte(read(f, "show-3.6.json")))
	f.Add([]byte(read(f, "show-4.0.json")))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := ParseJSON(text, "br0")
		if err != nil {
			return
		}
		again, err := Parse(print(got))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got, again); diff != "" {
			t.Error(diff)
		}
	})
}

// print is what ovs-vswitchd would print for these rows.
func print(entries []ovs.FDBEntry) string {
	var b strings.Builder
	b.WriteString(" port  VLAN  MAC                Age\n")
	for _, e := range entries {
		port, age := fmt.Sprint(e.OFPort), fmt.Sprintf("%3d", e.Age)
		if e.OFPort == ovs.LocalPort {
			port = "LOCAL"
		}
		if e.Static {
			age = "static"
		}
		fmt.Fprintf(&b, "%5s  %4d  %s  %s\n", port, e.VLAN, e.MAC, age)
	}
	return b.String()
}

func BenchmarkParse(b *testing.B) {
	const rows = 100_000
	entries := make([]ovs.FDBEntry, rows)
	for i := range entries {
		n := i * 7919 % rows // scattered, as OVS's order of use is
		entries[i] = ovs.FDBEntry{OFPort: uint32(n%1000 + 1), VLAN: ovs.VLAN(n % 4000), Age: n % 300,
			MAC: ovs.MAC{0x52, 0x54, 0, byte(n >> 16), byte(n >> 8), byte(n)}}
	}
	text := print(entries)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if got, err := Parse(text); err != nil || len(got) != rows {
			b.Fatal(len(got), err)
		}
	}
}
