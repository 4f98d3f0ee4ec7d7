// SPDX-License-Identifier: Apache-2.0

package dpflow

import "testing"

func TestCount(t *testing.T) {
	const shown = `system@ovs-system:
  flows         : (current 12) (avg 10) (max 1200) (limit 200000)
  dump duration : 1ms
  ufid enabled : true

  23: (keys 7)
  27: (keys 5)
`
	for _, c := range []struct {
		text string
		want int // -1: an error
	}{
		{shown, 12},
		{shown + "netdev@ovs-netdev:\n  flows         : (current 30) (avg 30) (max 30) (limit 10000)\n", 42},
		{"", -1},
		{"system@ovs-system:\n  flows         : (current many)\n", -1},
		{"  flows         : (current 99999999999999999999)\n", -1},
	} {
		if n, err := Count(c.text); err != nil != (c.want < 0) || err == nil && n != c.want {
			t.Errorf("Count(%q) = %d, %v, want %d", c.text, n, err, c.want)
		}
	}
}
