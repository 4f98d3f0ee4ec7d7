// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// countHidden counts the rules of table 0 that no OpenFlow message shows, in
// the text of "bridge/dump-flows BRIDGE":
//
//	duration=1s, n_packets=0, n_bytes=0, priority=180008,tcp,nw_src=192.0.2.1,tp_src=6653,actions=NORMAL
//	duration=1s, n_packets=0, n_bytes=0, ,actions=NORMAL
//	table_id=254, duration=1s, n_packets=0, n_bytes=0, priority=2,recirc_id=0,actions=drop
//
// ovs-vswitchd gives rules of its own a priority above 65535, which OpenFlow
// can't express: 180000 and more for in-band control, 15790320 for fail-open.
// table_id is missing for table 0, and priority when it is 32768. Table 254
// holds rules that are always there and that no frame reaches by itself.
func countHidden(text string) (int, error) {
	n := 0
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		head, _, ok := strings.Cut(line, "actions=")
		if !ok || !strings.HasPrefix(line, "duration=") && !strings.HasPrefix(line, "table_id=") {
			return 0, fmt.Errorf("line %q is not a rule", line)
		}
		if strings.HasPrefix(line, "table_id=") {
			continue
		}
		for token := range strings.SplitSeq(head, ",") {
			value, ok := strings.CutPrefix(strings.TrimSpace(token), "priority=")
			if !ok {
				continue
			}
			priority, err := strconv.Atoi(value)
			if err != nil {
				return 0, fmt.Errorf("line %q: priority %q is not a number", line, value)
			}
			if priority > math.MaxUint16 {
				n++
			}
		}
	}
	return n, nil
}
