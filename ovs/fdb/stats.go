// SPDX-License-Identifier: Apache-2.0

package fdb

import (
	"fmt"
	"strconv"
	"strings"
)

// Stats is what fdb/stats-show prints about the MAC learning table of a
// bridge. The totals count since the bridge was made or its statistics were
// cleared (fdb/stats-clear). A total that has changed tells that the table
// has; a station that has merely been seen again changes none.
type Stats struct {
	// Current is the number of rows, static ones included, and Max their
	// limit (Bridge:other_config:mac-table-size).
	Current, Max uint64
	// Static is the number of static rows; 0 before Open vSwitch 2.16, which
	// has none.
	Static uint64
	// Learned, Expired, Evicted and Moved are totals.
	Learned, Expired, Evicted, Moved uint64
}

// Plus adds up what has become of a table and what has come since. Limits don't add up.
func (s Stats) Plus(since Stats) Stats {
	s.Current += since.Current
	s.Static += since.Static
	s.Learned += since.Learned
	s.Expired += since.Expired
	s.Evicted += since.Evicted
	s.Moved += since.Moved
	return s
}

// ParseStats reads the text of "fdb/stats-show BRIDGE", in Open vSwitch since
// 2.10. Any spacing will do; a line that is not known is an error, and so is
// one that is missing or there twice, except for the static rows.
func ParseStats(text string) (Stats, error) {
	var s Stats
	totals := map[string]*uint64{
		"Current static MAC entries in the table": &s.Static,
		"Total number of learned MAC entries":     &s.Learned,
		"Total number of expired MAC entries":     &s.Expired,
		"Total number of evicted MAC entries":     &s.Evicted,
		"Total number of port moved MAC entries":  &s.Moved,
	}
	const current = "Current/maximum MAC entries in the table"
	seen := map[string]bool{}
	for n, line := range strings.Split(text, "\n") {
		line = strings.Join(strings.Fields(line), " ")
		if line == "" || n == 0 && strings.HasPrefix(line, "Statistics for bridge ") {
			continue
		}
		label, value, _ := strings.Cut(line, ":")
		label, value = strings.TrimSpace(label), strings.TrimSpace(value)
		var err error
		switch total := totals[label]; {
		case seen[label]:
			err = fmt.Errorf("is there twice")
		case label == current:
			count, limit, _ := strings.Cut(value, "/")
			if s.Current, err = strconv.ParseUint(strings.TrimSpace(count), 10, 64); err == nil {
				s.Max, err = strconv.ParseUint(strings.TrimSpace(limit), 10, 64)
			}
		case total != nil:
			*total, err = strconv.ParseUint(value, 10, 64)
		default:
			err = fmt.Errorf("is not known")
		}
		if err != nil {
			return Stats{}, fmt.Errorf("parse fdb/stats-show: line %d: %q: %w", n+1, line, err)
		}
		seen[label] = true
	}
	for label := range totals {
		if !seen[label] && totals[label] != &s.Static {
			return Stats{}, fmt.Errorf("parse fdb/stats-show: no line %q", label)
		}
	}
	if !seen[current] {
		return Stats{}, fmt.Errorf("parse fdb/stats-show: no line %q", current)
	}
	return s, nil
}
