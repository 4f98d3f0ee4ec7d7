// SPDX-License-Identifier: Apache-2.0

package rules_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/ovs/flow"
	"github.com/ovs-xdp/ovs-xdp/sync/plan/rules"
)

// FuzzCompile compiles what ovs/flow takes for the rules of a bridge, and asks
// about a frame of any bytes. A rule that is not understood may change a verdict
// to pass, and to nothing else.
func FuzzCompile(f *testing.F) {
	names, _ := filepath.Glob("../../../ovs/flow/testdata/*.txt")
	if len(names) == 0 {
		f.Fatal("no testdata")
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text), []byte{}, uint16(0))
		for line := range strings.Lines(string(text)) {
			f.Add(line+otherwise, []byte{1, 2, 3}, uint16(0))
		}
	}
	f.Fuzz(func(t *testing.T, text string, frame []byte, which uint16) {
		list, err := flow.Parse(text)
		if err != nil {
			return
		}
		table := rules.Compile(list)
		if wrong := wellFormed(&table, len(list)); wrong != "" {
			t.Fatal(wrong)
		}
		if diff := cmp.Diff(table, rules.Compile(list)); diff != "" {
			t.Fatalf("a second Compile differs:\n%s", diff)
		}
		if len(list) == 0 {
			return
		}
		var fields rules.Fields
		var port uint32
		padded := append(frame, make([]byte, binary.Size(fields)+4)...)
		if _, err := binary.Decode(padded, binary.BigEndian, &fields); err != nil {
			t.Fatal(err)
		}
		port = binary.BigEndian.Uint32(padded[binary.Size(fields):])
		before, _ := table.Decide(port, fields)
		list[int(which)%len(list)].Unknown = []string{"unknown"}
		table = rules.Compile(list)
		if after, rule := table.Decide(port, fields); after != before && after != rules.Pass {
			t.Fatalf("port %d, %+v: %s, and %s by %+v once a rule is not understood", port, fields, before, after, rule)
		}
	})
}
