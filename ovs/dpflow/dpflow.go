// SPDX-License-Identifier: Apache-2.0

// Package dpflow reads datapath flows (megaflows) as Open vSwitch 2.13 to 3.6
// prints them, and says of each whether it can be followed by looking at L2
// alone: what OVS has decided for a class of frames, so that the lane can do
// the same without a model of the pipeline.
//
// Nothing that is printed is ignored. A flow is a LaneFlow when every field of
// its match, every mask and every action is understood and does not matter to the
// lane; in every other case it has a Refusal, so that its frames stay with OVS.
//
// OVS prints names of ports as they are, without quotes. Whoever uses flows must
// see first that PlainName is true of every port of the datapath, and must know
// Output and InPort as ports: an action of one word that this package does not
// know looks like a port.
//
// A flow is what the datapath does with frames, not all that OVS does with them:
// what is set at a device (policing, queues) is not in it, nor what ovs-vswitchd
// does when it collects the counters (learning of addresses, the action learn,
// idle timeouts). A flood that leaves one port to send to looks like known
// unicast. The package does no I/O.
//
// It reads text of both datapaths. The kernel's own would be cheaper to ask by netlink
// (family ovs_flow): that takes a quarter of the instructions altogether, and none of
// ovs-vswitchd's (BenchmarkDump; README, "Flows of OVS"). It would be a second reader as
// strict as this one, which the userspace datapath needs anyway; and text is read so
// seldom that it costs little.
package dpflow

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Never is Flow.Used of a flow that no frame has used since it was installed.
const Never time.Duration = -1

// Flow is a datapath flow.
type Flow struct {
	// UFID is the flow's identifier as printed: 8-4-4-4-12 hexadecimal digits.
	// A flow that is installed again has another number of frames, not another
	// UFID. With several PMD threads each has a copy.
	UFID string
	// Packets and Bytes count the frames that have used it in the datapath. The
	// frame that it was installed for is in neither.
	Packets, Bytes uint64
	// Used is the time since the last of them, in milliseconds, or Never.
	Used time.Duration
	// Match is the class of frames of the flow. When Lane is nil it is what was
	// read of it, perhaps not all: zero values are what was not.
	Match Key
	// Again tells that the frames have been through the datapath before (recirc_id),
	// which has sent them there by another flow of the same class.
	Again bool
	// Lane is the flow for the lane, nil when it stays with OVS.
	Lane *LaneFlow
	// Refusal is why it stays with OVS, "" when Lane is set. Detail is the part
	// of the text that is to blame, for people. Also has further reasons, as far as
	// the text was read.
	Refusal Reason
	Detail  string
	Also    []Reason
}

// Parse reads the reply of "dpif/dump-flows -m --names BRIDGE"
// (ofproto/ofproto-dpif.c), in its order:
//
//	ufid:03f7… recirc_id(0),…,eth(…),eth_type(0x0800),… , packets:1, bytes:60, used:0.201s, actions:tap2
//
// It reads that of "dpctl/dump-flows -m --names" (lib/dpctl.c) as well, which is
// of all bridges of a datapath and says more about each flow. A line that has not
// this form is an error, and then there are no flows.
func Parse(text string) ([]Flow, error) { return parse(text, nil, nil) }

// parse is Parse. What was read before is not read again; what could be so next time
// goes into next, when there is one.
func parse(text string, before, next map[string]known) ([]Flow, error) {
	flows := make([]Flow, 0, strings.Count(text, "\n"))
	names := names{}
	for n := 1; text != ""; n++ {
		line, rest, complete := strings.Cut(text, "\n")
		text = rest
		if !complete {
			return nil, fmt.Errorf("parse dump-flows: line %d: %.80q has no end", n, line)
		}
		if line == "" || isHeader(line) {
			continue
		}
		f, err := parseLine(line, names, before, next)
		if err != nil {
			return nil, fmt.Errorf("parse dump-flows: line %d: %.80q: %w", n, line, err)
		}
		flows = append(flows, f)
	}
	return flows, nil
}

// isHeader tells the line that dpctl/dump-flows prints for each thread of the
// userspace datapath.
func isHeader(line string) bool {
	core, ok := strings.CutPrefix(line, "flow-dump from pmd on cpu core: ")
	if ok {
		_, ok = decimal(core, 32)
	}
	return ok || line == "flow-dump from the main thread:"
}

// parseLine reads a flow. Its parts are found from outside in.
func parseLine(line string, names names, before, next map[string]known) (Flow, error) {
	var f Flow
	head, rest, ok := strings.Cut(line, ", packets:")
	if !ok {
		return f, errors.New("it has no packets")
	}
	counters, actions, ok := strings.Cut(rest, ", actions:")
	if !ok {
		return f, errors.New("it has no actions")
	}
	var r reading
	if err := f.readCounters(counters, &r); err != nil {
		return f, err
	}
	plain := r.reason == ""
	if was, ok := before[head]; ok && plain && was.actions == actions {
		was.flow.Packets, was.flow.Bytes, was.flow.Used = f.Packets, f.Bytes, f.Used
		f = was.flow
	} else if err := f.readRest(head, actions, &r, names); err != nil {
		return f, err
	}
	if plain && next != nil {
		next[head] = known{actions, f}
	}
	return f, nil
}

// readRest reads all of a flow but its counters.
func (f *Flow) readRest(head, actions string, r *reading, names names) error {
	ufid, match, ok := strings.Cut(head, " ")
	ufid, isUFID := strings.CutPrefix(strings.TrimSuffix(ufid, ","), "ufid:")
	if !ok || !isUFID || !isUUID(ufid) {
		return errors.New("it does not begin with a ufid and a blank")
	}
	f.UFID = strings.Clone(ufid)
	actions, extra, hasExtra := strings.Cut(actions, ", dp-extra-info:")
	attributes, err := split(match)
	if err != nil {
		return err
	}
	steps, err := split(actions)
	if err != nil {
		return err
	}
	if hasExtra && !isExtra(extra) {
		r.refuse(UnknownAttribute, "dp-extra-info:"+extra)
	}
	r.readMatch(attributes)
	r.readActions(steps)
	r.lane.InPort = names.one(r.lane.InPort)
	f.Match, f.Again = r.lane.Key, r.again
	if r.reason != "" {
		f.Refusal, f.Detail, f.Also = r.reason, r.detail, r.also
		return nil
	}
	r.lane.Output = names.one(r.lane.Output)
	lane := r.lane
	f.Lane = &lane
	return nil
}

// readCounters reads "1, bytes:60, used:0.201s" and what may follow it.
func (f *Flow) readCounters(text string, r *reading) error {
	fields := strings.Split(text, ", ")
	if len(fields) < 3 {
		return errors.New("it has no bytes or no time of use")
	}
	bytes, isBytes := strings.CutPrefix(fields[1], "bytes:")
	used, isUsed := strings.CutPrefix(fields[2], "used:")
	var ok, ok2, ok3 bool
	f.Packets, ok = decimal(fields[0], 64)
	f.Bytes, ok2 = decimal(bytes, 64)
	f.Used, ok3 = parseUsed(used)
	if !isBytes || !isUsed || !ok || !ok2 || !ok3 {
		return fmt.Errorf("%.80q are not its counters", text)
	}
	var seen []string
	for _, field := range fields[3:] {
		name, value, _ := strings.Cut(field, ":")
		switch {
		case has(seen, name):
			r.refuse(UnknownAttribute, field)
		case name == "flags" && isTCPFlags(value): // of the frames so far
		case name == "dp" && value == "ovs":
		case name == "dp" && (value == "tc" || value == "dpdk"), name == "offloaded" && (value == "yes" || value == "partial"):
			r.refuse(HWOffload, field)
		default:
			r.refuse(UnknownAttribute, field)
		}
		seen = append(seen, name)
	}
	return nil
}

// parseUsed reads "0.201s" or "never". The clock of the datapath may be a little
// ahead of that of ovs-vswitchd: a negative time is 0.
func parseUsed(s string) (time.Duration, bool) {
	if s == "never" {
		return Never, true
	}
	digits, ok := strings.CutSuffix(s, "s")
	digits, negative := strings.CutPrefix(digits, "-")
	seconds, millis, hasPoint := strings.Cut(digits, ".")
	a, okA := decimal(seconds, 33)
	b, err := strconv.ParseUint(millis, 10, 10)
	if !ok || !hasPoint || !okA || err != nil || len(millis) != 3 {
		return 0, false
	}
	if negative {
		return 0, true
	}
	return time.Duration(a)*time.Second + time.Duration(b)*time.Millisecond, true
}

// isTCPFlags tells a text of packet_format_tcp_flags (lib/packets.c), as "SFP."
// or "P.[800]".
func isTCPFlags(s string) bool {
	for i := range len(s) {
		if !strings.ContainsRune("FSRP.UECN[]0123456789abcdef", rune(s[i])) {
			return false
		}
	}
	return s != ""
}

// isExtra tells "miniflow_bits(5,1)", how many words of a frame's key the
// userspace datapath compares.
func isExtra(s string) bool {
	s, ok := strings.CutPrefix(s, "miniflow_bits(")
	s, ok2 := strings.CutSuffix(s, ")")
	a, b, ok3 := strings.Cut(s, ",")
	_, ok4 := decimal(a, 8)
	_, ok5 := decimal(b, 8)
	return ok && ok2 && ok3 && ok4 && ok5
}

func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		hyphen := i == 8 || i == 13 || i == 18 || i == 23
		if hyphen != (s[i] == '-') || !hyphen && !isHex(s[i]) {
			return false
		}
	}
	return true
}

// names keeps one copy of each name, so that a flow does not keep the whole
// reply in memory.
type names map[string]string

func (n names) one(name string) string {
	if kept, ok := n[name]; ok {
		return kept
	}
	name = strings.Clone(name)
	n[name] = name
	return name
}
