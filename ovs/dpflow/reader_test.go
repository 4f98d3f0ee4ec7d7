// SPDX-License-Identifier: Apache-2.0

package dpflow

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A Reader says of each dump what Parse does, whatever the one before was like.
func TestReader(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var all []string
	for _, name := range texts(t) {
		all = append(all, strings.SplitAfter(strings.TrimSuffix(read(t, name), "\n"), "\n")...)
	}
	// What a line may become from one dump to the next.
	changes := []func(line string) string{
		func(line string) string { return line },
		func(line string) string { return line },
		func(line string) string { return strings.Replace(line, "packets:", "packets:7", 1) },
		func(line string) string { return strings.Replace(line, ", actions:", ", flags:S, actions:", 1) },
		func(line string) string { return strings.Replace(line, ", actions:", ", offloaded:yes, actions:", 1) },
		func(line string) string { return strings.Replace(line, ", actions:", ", actions:pop_vlan,", 1) },
		func(line string) string { return strings.Replace(line, "in_port(", "in_port(x", 1) },
		func(line string) string { return strings.Replace(line, "frag=no", "frag=later", 1) },
		func(string) string { return "" },
	}
	var r Reader
	again := 0
	for round := range 300 {
		var b strings.Builder
		for range 50 {
			b.WriteString(changes[random.IntN(len(changes))](all[random.IntN(len(all))]))
		}
		text := b.String()
		if round%50 == 49 {
			text += "no flow\n"
		}
		had := len(r.last)
		want, wantErr := Parse(text)
		for range 2 {
			got, err := r.Parse(text)
			if diff := cmp.Diff(want, got); diff != "" || fmt.Sprint(err) != fmt.Sprint(wantErr) {
				t.Fatalf("error %v, want %v; (-Parse +Reader):\n%s", err, wantErr, diff)
			}
		}
		if had > 0 && wantErr == nil {
			again++
		}
	}
	if again < 200 {
		t.Errorf("only %d dumps came after others", again)
	}
}

// What has not changed is not read again.
func TestReaderReadsOnce(t *testing.T) {
	text := read(t, "testdata/dump-3.1-neutron.txt")
	var r Reader
	first, err := r.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	second, err := r.Parse(strings.ReplaceAll(text, "packets:", "packets:1"))
	if err != nil {
		t.Fatal(err)
	}
	lanes := 0
	for i := range first {
		if first[i].Lane != second[i].Lane {
			t.Errorf("flow %d was read again", i)
		}
		if first[i].Lane != nil {
			lanes++
		}
		if first[i].Packets == second[i].Packets {
			t.Errorf("flow %d has the counters of before", i)
		}
	}
	if lanes == 0 {
		t.Error("no flow of the lane")
	}
}

func BenchmarkReader(b *testing.B) {
	var text strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&text, "ufid:55796c0a-0096-4fc2-a6b7-2a79d02e%04x %s%sipv4(src=10.0.0.2/0.0.0.0,dst=10.0.0.3/0.0.0.0,proto=17/0,tos=0/0,ttl=64/0,frag=no),udp(src=40000/0,dst=7/0), packets:0, bytes:0, used:never, actions:tap2\n",
			i, meta, eth+"eth_type(0x0800),")
	}
	b.Run("first", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Parse(text.String()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("again", func(b *testing.B) {
		b.ReportAllocs()
		var r Reader
		for b.Loop() {
			if _, err := r.Parse(text.String()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
