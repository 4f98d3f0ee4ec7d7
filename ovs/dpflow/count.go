// SPDX-License-Identifier: Apache-2.0

package dpflow

import (
	"fmt"
	"regexp"
	"strconv"
)

// current is how many flows a datapath has, in the text of upcall/show (of Open
// vSwitch 2.0 and later).
var current = regexp.MustCompile(`(?m)^ +flows +: \(current (\d+)\)`)

// Count reads what ovs-vswitchd says to upcall/show: how many flows all datapaths
// have together, as of their last revalidation.
func Count(text string) (int, error) {
	found := current.FindAllStringSubmatch(text, -1)
	if len(found) == 0 {
		return 0, fmt.Errorf("count flows: %.60q: there is no number of current flows", text)
	}
	n := 0
	for _, m := range found {
		of, err := strconv.Atoi(m[1])
		if err != nil {
			return 0, fmt.Errorf("count flows: %w", err)
		}
		n += of
	}
	return n, nil
}
