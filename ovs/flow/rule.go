// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// protocols are the match fields that are printed without a value, see
// match_format in lib/match.c. Versions before 2.17 print igmp.
var protocols = map[string]bool{
	"eth": true, "ip": true, "ipv6": true, "arp": true, "rarp": true,
	"icmp": true, "icmp6": true, "tcp": true, "tcp6": true, "udp": true,
	"udp6": true, "sctp": true, "sctp6": true, "igmp": true,
	"mpls": true, "mplsm": true,
}

// flags are the attributes that are printed without a value, see
// ofputil_flow_mod_flags_format in lib/ofp-flow.c.
var flags = map[string]bool{
	"send_flow_rem": true, "check_overlap": true, "reset_counts": true,
	"no_packet_counts": true, "no_byte_counts": true,
}

// counters are attributes that hold a number for which Rule has no field.
var counters = map[string]bool{
	"importance": true, "idle_age": true, "hard_age": true,
	"n_offload_packets": true, "n_offload_bytes": true,
}

// attributes are those that hold a value and have a case in addPair.
var attributes = map[string]bool{
	"table": true, "table_id": true, "priority": true, "n_packets": true,
	"n_bytes": true, "idle_timeout": true, "hard_timeout": true,
	"cookie": true, "duration": true,
}

func parseRule(line string) (ovs.Rule, error) { return parse(line, false) }

func parseHiddenRule(line string) (ovs.Rule, error) { return parse(line, true) }

// parse reads one rule: a head of attributes and match fields, separated by
// commas and blanks, and then "actions=" and the actions.
func parse(line string, hidden bool) (ovs.Rule, error) {
	r := ovs.Rule{Priority: defaultPriority}
	seen := map[string]bool{}
	for rest := line; ; {
		if actions, ok := strings.CutPrefix(rest, "actions="); ok {
			var err error
			r.Actions, err = splitActions(actions)
			return r, err
		}
		if rest == "" {
			return r, errors.New("has no actions")
		}
		end, err := tokenEnd(rest, ", ")
		if err != nil {
			return r, err
		}
		token := rest[:end]
		rest = rest[min(end+1, len(rest)):]
		if token == "" {
			continue
		}
		name, value, hasValue := strings.Cut(token, "=")
		if seen[name] {
			return r, fmt.Errorf("has %s twice", name)
		}
		seen[name] = true
		switch {
		case hasValue && (flags[name] || protocols[name]):
			err = fmt.Errorf("has a value for %s", name)
		case hasValue:
			err = addPair(&r, name, value, hidden)
		case attributes[token] || counters[token]:
			err = fmt.Errorf("has no value for %s", token)
		case flags[token]:
		case protocols[token]:
			r.Match = append(r.Match, ovs.Match{Field: token})
		default:
			r.Unknown = append(r.Unknown, token)
		}
		if err != nil {
			return r, err
		}
	}
}

// addPair puts an attribute or a match field into r.
func addPair(r *ovs.Rule, name, value string, hidden bool) error {
	var err error
	number := func(bits int) uint64 {
		n, parseErr := strconv.ParseUint(value, 10, bits)
		if parseErr != nil {
			err = fmt.Errorf("%s=%s is not a number of %d bits", name, value, bits)
		}
		return n
	}
	switch name {
	case "table", "table_id":
		r.Table = uint8(number(8))
	case "priority":
		n := number(32)
		if n > 65535 && hidden {
			n = 65535
			r.Unknown = append(r.Unknown, "priority="+value)
		}
		if n > 65535 {
			return fmt.Errorf("priority %s is above 65535", value)
		}
		r.Priority = uint16(n)
	case "n_packets":
		r.Packets = number(64)
	case "n_bytes":
		r.Bytes = number(64)
	case "idle_timeout":
		r.IdleTimeout = uint16(number(16))
	case "hard_timeout":
		r.HardTimeout = uint16(number(16))
	case "cookie":
		if r.Cookie, err = strconv.ParseUint(value, 0, 64); err != nil {
			return fmt.Errorf("cookie %q is not a number", value)
		}
	case "duration":
		seconds, ok := strings.CutSuffix(value, "s")
		if _, err := strconv.ParseFloat(seconds, 64); !ok || err != nil {
			return fmt.Errorf("duration %q is not a number of seconds", value)
		}
	default:
		switch {
		case counters[name]:
			number(64)
		case isFieldName(name) && value != "":
			r.Match = append(r.Match, ovs.Match{Field: name, Value: value})
		default:
			r.Unknown = append(r.Unknown, name+"="+value)
		}
	}
	return err
}

func isFieldName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z'
		if !letter && (i == 0 || c != '_' && (c < '0' || c > '9')) {
			return false
		}
	}
	return s != ""
}

// splitActions splits at the commas that no bracket and no quotes enclose.
func splitActions(s string) ([]string, error) {
	var actions []string
	for {
		end, err := tokenEnd(s, ",")
		if err != nil {
			return nil, err
		}
		if end == 0 {
			return nil, errors.New("has an empty action")
		}
		actions = append(actions, s[:end])
		if end == len(s) {
			return actions, nil
		}
		s = s[end+1:]
	}
}

// tokenEnd returns the index of the first separator in s that stands outside
// of brackets and double quotes, len(s) if there is none. Quotes enclose names
// and are JSON strings.
func tokenEnd(s, separators string) (int, error) {
	var open []byte
	quoted := false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '(' || c == '[' || c == '{':
			open = append(open, c)
		case c == ')' || c == ']' || c == '}':
			if len(open) == 0 || !pairs(open[len(open)-1], c) {
				return 0, fmt.Errorf("has a %q too many", c)
			}
			open = open[:len(open)-1]
		case len(open) == 0 && strings.IndexByte(separators, c) >= 0:
			return i, nil
		}
	}
	if quoted || len(open) > 0 {
		return 0, errors.New("has a bracket or a quote that is not closed")
	}
	return len(s), nil
}

func pairs(open, closing byte) bool {
	return open == '(' && closing == ')' || open == '[' && closing == ']' || open == '{' && closing == '}'
}
