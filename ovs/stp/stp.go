// SPDX-License-Identifier: Apache-2.0

// Package stp reads what ovs-vswitchd prints of the spanning tree: the
// unixctl commands stp/show and rstp/show. It asks nobody itself.
package stp

import (
	"fmt"
	"strings"
)

// Parse reads the text of "stp/show BRIDGE" or "rstp/show BRIDGE" and returns
// the state of each interface by its name, in lower case: "disabled",
// "blocking", "listening", "learning", "forwarding", or "discarding" (RSTP). An
// interface that takes no part is not listed. A text without the table of
// interfaces, or a line of it that is not understood, is an error.
func Parse(text string) (map[string]string, error) {
	states := make(map[string]string)
	rows, found := false, false
	for n, line := range strings.Split(text, "\n") {
		f := strings.Fields(line)
		switch {
		case len(f) == 0:
			rows = false
		case f[0] == "Interface":
			if len(f) < 3 || f[1] != "Role" || f[2] != "State" {
				return nil, fmt.Errorf("parse spanning tree: line %d: %q: want the columns Interface, Role, State", n+1, line)
			}
			rows, found = true, true
		case !rows || strings.HasPrefix(f[0], "---"):
		case len(f) != 5:
			return nil, fmt.Errorf("parse spanning tree: line %d: %q: want interface, role, state, cost and port", n+1, line)
		default:
			state := strings.ToLower(f[2])
			if !known[state] || states[f[0]] != "" {
				return nil, fmt.Errorf("parse spanning tree: line %d: %q: state is not known, or the interface is there twice", n+1, line)
			}
			states[f[0]] = state
		}
	}
	if !found {
		return nil, fmt.Errorf("parse spanning tree: no table of interfaces")
	}
	return states, nil
}

var known = map[string]bool{
	"disabled": true, "blocking": true, "listening": true, "learning": true, "forwarding": true, "discarding": true,
}
