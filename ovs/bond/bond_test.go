// SPDX-License-Identifier: Apache-2.0

package bond

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// The texts in testdata were captured from OVS 3.1.
func TestParse(t *testing.T) {
	for file, want := range map[string]ovs.Bond{
		"active-backup-3.1": {Mode: "active-backup", LACP: "off", Active: "p1", Enabled: map[string]bool{"p0": true, "p1": true}},
		"balance-tcp-3.1":   {Mode: "balance-tcp", LACP: "negotiated", Enabled: map[string]bool{"p0": false, "p1": false}, Recirc: 1},
		"balance-slb-3.1":   {Mode: "balance-slb", LACP: "off", Enabled: map[string]bool{"p0": false, "p1": false}},
	} {
		text, err := os.ReadFile(filepath.Join("testdata", file+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := Parse(string(text))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", file, d)
		}
		// The words of OVS before 2.15.
		old := strings.ReplaceAll(string(text), "member", "slave")
		if again, err := Parse(old); err != nil || !cmp.Equal(got, again) {
			t.Errorf("%s in the words of older releases: %v, %v", file, again, err)
		}
	}
}

// Nothing but the audit depends on the recirculation id.
func TestRecirculation(t *testing.T) {
	for text, want := range map[string]uint32{
		"yes, Recirc-ID : 7": 7, "no, Recirc-ID : -1": 0, "yes, Recirc-ID : -1": 0, "perhaps": 0,
	} {
		b, err := Parse("bond_mode: balance-tcp\nbond may use recirculation: " + text + "\nlacp_status: off\n")
		if err != nil || b.Recirc != want {
			t.Errorf("%q: %+v, %v; want %d", text, b, err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	const head = "bond_mode: active-backup\nlacp_status: off\n"
	for name, text := range map[string]string{
		"empty":                 "",
		"no mode":               "lacp_status: off\n",
		"no LACP":               "bond_mode: active-backup\n",
		"two bonds":             head + head,
		"unknown LACP":          "bond_mode: active-backup\nlacp_status: perhaps\n",
		"unknown state":         head + "member p0: sleepy\n",
		"member twice":          head + "member p0: enabled\nmember p0: enabled\n",
		"two active members":    head + "member p0: enabled\n  active member\nmember p1: enabled\n  active member\n",
		"active without member": head + "  active member\n",
	} {
		if got, err := Parse(text); err == nil {
			t.Errorf("%s: no error, but %v", name, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		b, err := Parse(text)
		if err != nil {
			return
		}
		if _, ok := b.Enabled[b.Active]; b.Active != "" && !ok {
			t.Errorf("the active member %q is none of %v", b.Active, b.Enabled)
		}
	})
}
