// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// Action is a datapath action as format_odp_actions in lib/odp-util.c prints it.
type Action struct {
	Kind Kind
	// Port is the datapath's number of the port of an Output.
	Port uint32
	// Bond is the recirculation id of the bond of a ToBond, never 0.
	Bond uint32
	// VLAN and PCP are those that a PushVLAN pushes, as an 802.1Q tag.
	VLAN ovs.VLAN
	PCP  uint8
	// Text is the action as printed.
	Text string
}

// Kind says what an Action does.
type Kind int

// The kinds of actions.
const (
	// Other is any that is none of the following.
	Other Kind = iota
	// Output sends the frame to a port.
	Output
	// ToBond sends it to a member of a bond that a hash chooses.
	ToBond
	// PushVLAN pushes a tag, PopVLAN takes the outer one off.
	PushVLAN
	PopVLAN
)

// others are the names of actions that are known and of no use here.
var others = map[string]bool{
	"add_mpls": true, "check_pkt_len": true, "clone": true, "ct": true, "ct_clear": true, "dec_ttl": true,
	"meter": true, "pop_eth": true, "pop_mpls": true, "pop_nsh": true, "psample": true, "push_eth": true,
	"push_mpls": true, "push_nsh": true, "recirc": true, "sample": true, "set": true,
	"tnl_pop": true, "tnl_push": true, "trunc": true, "userspace": true,
}

// parseActions reads the list of actions, "drop" for none.
func parseActions(text string) ([]Action, error) {
	if text == "drop" {
		return nil, nil
	}
	items, err := split(text)
	if err != nil {
		return nil, err
	}
	var list []Action
	for i := 0; i < len(items); i++ {
		name, args, hasArgs := cutArgs(items[i])
		if name == "hash" {
			// A bond hashes the frame, and looks it up again by the hash.
			if i+1 == len(items) {
				return nil, fmt.Errorf("action %q is the last", items[i])
			}
			i++
			next, id, _ := cutArgs(items[i])
			bond, err := parseNumber(id)
			if next != "recirc" || err != nil || bond == 0 {
				return nil, fmt.Errorf("action %q follows %q: want recirc", items[i], items[i-1])
			}
			list = append(list, Action{Kind: ToBond, Bond: bond, Text: items[i-1] + "," + items[i]})
			continue
		}
		a, err := parseAction(items[i], name, args, hasArgs)
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, nil
}

func parseAction(text, name, args string, hasArgs bool) (Action, error) {
	a := Action{Text: text}
	var err error
	switch {
	case name == "pop_vlan" && !hasArgs:
		a.Kind = PopVLAN
	case name == "push_vlan" && hasArgs:
		a.Kind = PushVLAN
		a.VLAN, a.PCP, err = parseTag(args)
	case name == "lb_output" && hasArgs:
		a.Kind = ToBond
		if a.Bond, err = parseNumber(args); a.Bond == 0 && err == nil {
			err = errors.New("0 is no bond")
		}
	case others[name], name == "drop":
	case !hasArgs:
		a.Kind = Output
		a.Port, err = parseNumber(name)
	default:
		err = errors.New("it is not known")
	}
	if err != nil {
		return Action{}, fmt.Errorf("action %.60q: %w", text, err)
	}
	return a, nil
}

// parseTag reads "vid=10,pcp=0". Another TPID or a tag without its CFI bit is an
// error: the frame would not be an 802.1Q one.
func parseTag(args string) (ovs.VLAN, uint8, error) {
	vid, pcp, ok := strings.Cut(args, ",")
	vid, isVID := strings.CutPrefix(vid, "vid=")
	pcp, isPCP := strings.CutPrefix(pcp, "pcp=")
	if !ok || !isVID || !isPCP {
		return 0, 0, errors.New("want vid= and pcp=")
	}
	v, err := ovs.ParseVLAN(vid)
	if err != nil {
		return 0, 0, err
	}
	p, err := strconv.ParseUint(pcp, 10, 3)
	if err != nil {
		return 0, 0, fmt.Errorf("priority %q: want 0 to 7", pcp)
	}
	return v, uint8(p), nil
}

// parseNumber reads a port number or a recirculation id, decimal or as 0x2.
func parseNumber(s string) (uint32, error) {
	base := 10
	digits, isHex := strings.CutPrefix(s, "0x")
	if isHex {
		base = 16
	}
	n, err := strconv.ParseUint(digits, base, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number", s)
	}
	return uint32(n), nil
}

// cutArgs splits "push_vlan(vid=10,pcp=0)" at its outer parentheses.
func cutArgs(item string) (name, args string, hasArgs bool) {
	name, args, hasArgs = strings.Cut(item, "(")
	return name, strings.TrimSuffix(args, ")"), hasArgs
}

// split cuts a list at the commas that are in no parentheses. An item has at
// most one pair of outer parentheses, at its end.
func split(text string) ([]string, error) {
	var items []string
	depth, start := 0, 0
	for i := range len(text) {
		switch c := text[i]; {
		case c == '(':
			depth++
		case c == ')':
			if depth--; depth < 0 || depth == 0 && i+1 < len(text) && text[i+1] != ',' {
				return nil, fmt.Errorf("actions %.60q: parentheses don't match", text)
			}
		case c == ',' && depth == 0:
			items = append(items, text[start:i])
			start = i + 1
		}
	}
	if depth != 0 {
		return nil, fmt.Errorf("actions %.60q: parentheses don't match", text)
	}
	return append(items, text[start:]), nil
}
