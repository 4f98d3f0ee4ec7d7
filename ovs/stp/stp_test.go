// SPDX-License-Identifier: Apache-2.0

package stp

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The texts in testdata were captured from OVS 3.1.
func TestParse(t *testing.T) {
	for file, want := range map[string]map[string]string{
		"testdata/stp-3.1.txt":  {"bs-1": "forwarding", "bs-2": "forwarding"},
		"testdata/rstp-3.1.txt": {"br2-1": "forwarding", "br2-2": "forwarding"},
	} {
		text, err := os.ReadFile(file)
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
	}
}

func TestParseRefuses(t *testing.T) {
	const head = "  Interface  Role       State      Cost  Pri.Nbr \n  ---------- ---------- ---------- ----- -------\n"
	for name, text := range map[string]string{
		"empty":         "",
		"no table":      "---- br0 ----\nRoot ID:\n",
		"unknown state": head + "  p1  designated dreaming 2 128.1\n",
		"short row":     head + "  p1  designated forwarding\n",
		"twice":         head + "  p1 designated forwarding 2 128.1\n  p1 designated blocking 2 128.1\n",
		"other columns": "  Interface  State\n  p1 forwarding\n",
	} {
		if got, err := Parse(text); err == nil {
			t.Errorf("%s: no error, but %v", name, got)
		}
	}
	if got, err := Parse(head); err != nil || len(got) != 0 {
		t.Errorf("a table without rows: %v, %v", got, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, file := range []string{"testdata/stp-3.1.txt", "testdata/rstp-3.1.txt"} {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		states, err := Parse(text)
		for name, state := range states {
			if err == nil && (name == "" || !known[state]) {
				t.Errorf("interface %q in state %q", name, state)
			}
		}
	})
}
