// SPDX-License-Identifier: Apache-2.0

package ovs

import (
	"fmt"
	"strings"
)

// IsNormal reports whether the rule matches every frame, as long as there are
// any, and does nothing but actions=NORMAL.
func (r *Rule) IsNormal() bool {
	return len(r.Match) == 0 && len(r.Unknown) == 0 && r.HardTimeout == 0 &&
		len(r.Actions) == 1 && r.Actions[0] == "NORMAL"
}

// String returns the rule in the manner of ovs-ofctl, without counters.
func (r *Rule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table=%d,priority=%d", r.Table, r.Priority)
	for _, t := range []struct {
		name string
		secs uint16
	}{{"idle_timeout", r.IdleTimeout}, {"hard_timeout", r.HardTimeout}} {
		if t.secs != 0 {
			fmt.Fprintf(&b, ",%s=%d", t.name, t.secs)
		}
	}
	for _, m := range r.Match {
		b.WriteString("," + m.Field)
		if m.Value != "" {
			b.WriteString("=" + m.Value)
		}
	}
	for _, u := range r.Unknown {
		b.WriteString("," + u)
	}
	return b.String() + " actions=" + strings.Join(r.Actions, ",")
}
