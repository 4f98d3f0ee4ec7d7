// SPDX-License-Identifier: Apache-2.0

package unixctl

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// What it costs to take the reply of fdb/show apart, of 100,000 stations.
func BenchmarkReadReply(b *testing.B) {
	var text strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&text, "%5d  %4d  52:54:00:%02x:%02x:%02x  %3d\n", 1+i%500, 10+i%20, i>>16, i>>8&255, i&255, i%300)
	}
	reply, err := marshal(map[string]any{"id": 0, "result": text.String(), "error": nil})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(reply)))
	for b.Loop() {
		got, _, err := readReply[string](json.NewDecoder(bytes.NewReader(reply)), 0)
		if err != nil || len(*got) != text.Len() {
			b.Fatal(err)
		}
	}
}
