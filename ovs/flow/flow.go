// SPDX-License-Identifier: Apache-2.0

// Package flow parses OpenFlow rules as Open vSwitch prints them: the output
// of "ovs-ofctl --no-names dump-flows" and of the unixctl command
// bridge/dump-flows, in versions 2.13 to 4.0.
//
// The parsers are strict, because a rule that is misread or left out makes the
// fast path forward what OVS would drop: a line that is not understood, such
// as the "***decode error***" with which ovs-ofctl ends a table that it can't
// decode (exiting with 0), is an error. Match fields and actions are taken
// apart but not interpreted. The package runs no program; ovs/ofctl does.
package flow

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// defaultPriority is OFP_DEFAULT_PRIORITY, which OVS does not print.
const defaultPriority = 32768

// Parse reads the output of "ovs-ofctl --no-names [-O VERSION] dump-flows", in
// its order. Use OpenFlow 1.3 or later: in a table dumped with an earlier
// version rules can lose instructions (meter, goto_table) without a trace.
func Parse(text string) ([]ovs.Rule, error) {
	rules, err := parseLines(text, parseRule)
	if err != nil {
		return nil, fmt.Errorf("parse dump-flows: %w", err)
	}
	return rules, nil
}

// ParseHidden reads the reply of the unixctl command "bridge/dump-flows
// BRIDGE". It shows all rules, also those that dump-flows leaves out, but
// neither cookies nor timeouts. In-band control and fail-open rules have a
// priority above 65535: such a rule gets Priority 65535, and its real priority
// stands in Unknown; Hidden tells. Table 254 is OVS's own.
func ParseHidden(text string) ([]ovs.Rule, error) {
	rules, err := parseLines(text, parseHiddenRule)
	if err != nil {
		return nil, fmt.Errorf("parse bridge/dump-flows: %w", err)
	}
	return rules, nil
}

// Hidden reports whether a rule that ParseHidden has returned is one of
// in-band control or fail-open: no OpenFlow rule reaches its priority, and
// dump-flows does not show it.
func Hidden(r ovs.Rule) bool {
	for _, token := range r.Unknown {
		if strings.HasPrefix(token, "priority=") {
			return true
		}
	}
	return false
}

func parseLines(text string, parse func(line string) (ovs.Rule, error)) ([]ovs.Rule, error) {
	rules := make([]ovs.Rule, 0, strings.Count(text, "\n"))
	more := false
	for n := 1; text != ""; n++ {
		line, rest, complete := strings.Cut(text, "\n")
		text = rest
		if !complete {
			return nil, fmt.Errorf("line %d: %q has no end", n, line)
		}
		if strings.TrimSpace(line) == "" {
			continue
		}
		if isHeader(line) {
			more = strings.HasSuffix(line, moreFlag)
			continue
		}
		r, err := parse(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %q: %w", n, line, err)
		}
		rules = append(rules, r)
	}
	if more {
		return nil, errors.New("the last part of the reply is missing")
	}
	return rules, nil
}

// moreFlag ends the header of a part that is not the last one.
const moreFlag = "): flags=[more]"

// isHeader tells the line that begins each part of a reply, as
// "OFPST_FLOW reply (OF1.3) (xid=0x2):".
func isHeader(line string) bool {
	for _, name := range []string{"OFPST_FLOW reply (", "NXST_FLOW reply (", "OFPST_FLOW_DESC reply ("} {
		if strings.HasPrefix(line, name) {
			return strings.HasSuffix(line, "):") || strings.HasSuffix(line, moreFlag)
		}
	}
	return false
}
