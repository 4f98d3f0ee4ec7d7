// SPDX-License-Identifier: Apache-2.0

// Package trace reads what ovs-vswitchd says it would do with a frame: the text
// of the unixctl command ofproto/trace, and that of dpif/show, which tells whose
// the numbers in it are. The forms are those of ofproto/ofproto-dpif-trace.c,
// ofproto/ofproto-dpif.c and lib/odp-util.c in Open vSwitch 2.13 to 3.6.
//
// The parsers are strict: what they don't understand is an error, never a
// guess. The package asks nobody itself; without a packet, as here, ofproto/trace
// has no side effects (xlate_in_init in ofproto/ofproto-dpif-xlate.c).
package trace

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// Flow is a frame to ask about: UDP over IPv4, with addresses that no machine
// has (RFC 5737).
type Flow struct {
	// InPort is the OpenFlow number of the port that it comes from.
	InPort int
	// VLAN is the VID of its 802.1Q tag, with priority 0; 0 when it has none.
	VLAN     ovs.VLAN
	Src, Dst ovs.MAC
}

// String returns the flow as ofproto/trace takes it after the bridge's name.
func (f Flow) String() string {
	tag := ""
	if f.VLAN != 0 {
		tag = fmt.Sprintf(",dl_vlan=%d", f.VLAN)
	}
	return fmt.Sprintf("in_port=%d,dl_src=%s,dl_dst=%s%s,udp,nw_src=192.0.2.1,nw_dst=192.0.2.2,nw_ttl=64", f.InPort, f.Src, f.Dst, tag)
}

// Carries returns what the frame carries, as rules match on it.
func (Flow) Carries() ovs.Fields {
	return ovs.Fields{EtherType: 0x0800, Proto: 17, TTL: 64, IPSrc: [16]byte{192, 0, 2, 1}, IPDst: [16]byte{192, 0, 2, 2}}
}

// Trace is an answer of ofproto/trace. When the frame would be recirculated, it
// is what comes before that.
type Trace struct {
	// Actions are those of the datapath, in order; none when it is dropped.
	Actions []Action
	// Megaflow is the match of the datapath flow that OVS would install, as
	// printed.
	Megaflow string
	// Failed is why the rules could not be followed to their end, so that the
	// frame is dropped; "" when they could.
	Failed string
	// Hairpin tells that NORMAL has dropped it: the destination is known on the
	// port that the frame comes from.
	Hairpin bool
	// Resident tells more: the bridge that was asked has decided alone, so that the
	// destination is in its own MAC table, on the port that the frame comes from.
	Resident bool
	// SlowPath tells that ovs-vswitchd would handle each such frame itself.
	SlowPath bool
}

const (
	flowLine     = "Flow: "
	finalLine    = "Final flow: "
	megaflowLine = "Megaflow: "
	actionsLine  = "Datapath actions: "
	failedLine   = "Translation failed ("
	failedEnd    = "), packet is dropped."
	hairpinLine  = "-> learned port is input port, dropping"
	bridgeLine   = `bridge("`
	slowLine     = "This flow is handled by the userspace slow path because it:"
)

// Parse reads the text of "ofproto/trace BRIDGE FLOW", with or without --names:
//
//	Flow: udp,in_port=3,…
//	(how the rules were followed)
//
//	Final flow: unchanged
//	Megaflow: recirc_id=0,eth,ip,in_port=3,…
//	Datapath actions: push_vlan(vid=10,pcp=0),2
//
// With --names the ports of Actions are names, which Parse refuses.
func Parse(text string) (Trace, error) {
	t, err := parse(text)
	if err != nil {
		return Trace{}, fmt.Errorf("parse ofproto/trace: %w", err)
	}
	return t, nil
}

func parse(text string) (Trace, error) {
	var t Trace
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if !strings.HasPrefix(lines[0], flowLine) {
		return t, fmt.Errorf("it begins with %.40q, not with %q", lines[0], flowLine)
	}
	// Lines on how the rules were followed are indented, or name a bridge.
	i, bridges := 1, 0
	for ; i < len(lines) && !strings.HasPrefix(lines[i], finalLine); i++ {
		if strings.HasPrefix(lines[i], flowLine) || strings.HasPrefix(lines[i], megaflowLine) || strings.HasPrefix(lines[i], actionsLine) {
			return t, fmt.Errorf("line %d: %.40q comes before %q", i+1, lines[i], finalLine)
		}
		line := strings.TrimSpace(lines[i])
		t.Hairpin = t.Hairpin || line == hairpinLine
		if strings.HasPrefix(line, bridgeLine) {
			bridges++
		}
	}
	if len(lines) < i+3 {
		return t, errors.New("it ends before the actions")
	}
	var ok bool
	if t.Megaflow, ok = strings.CutPrefix(lines[i+1], megaflowLine); !ok || t.Megaflow == "" {
		return t, fmt.Errorf("line %d: %.40q is not the megaflow", i+2, lines[i+1])
	}
	actions, ok := strings.CutPrefix(lines[i+2], actionsLine)
	if !ok {
		return t, fmt.Errorf("line %d: %.40q are not the actions", i+3, lines[i+2])
	}
	var err error
	if t.Actions, err = parseActions(actions); err != nil {
		return t, err
	}
	t.Resident = t.Hairpin && bridges == 1 && len(t.Actions) == 0
	return t, t.rest(lines[i+3:])
}

// rest reads what follows the actions.
func (t *Trace) rest(lines []string) error {
	for i, line := range lines {
		switch {
		case line == "" && i+1 < len(lines) && strings.HasPrefix(lines[i+1], "====="):
			return nil // what comes after recirculation
		case line == "" && i+1 == len(lines):
		case strings.HasPrefix(line, failedLine) && strings.HasSuffix(line, failedEnd) && t.Failed == "":
			t.Failed = strings.TrimSuffix(strings.TrimPrefix(line, failedLine), failedEnd)
			if t.Failed == "" {
				return errors.New("the translation failed without a reason")
			}
		case line == slowLine && !t.SlowPath:
			t.SlowPath = true
		case t.SlowPath && (strings.HasPrefix(line, "  - ") || strings.HasPrefix(line, "\t- ")):
		default:
			return fmt.Errorf("%.60q after the actions is not understood", line)
		}
	}
	return nil
}

// Sent is a frame as OVS would send it.
type Sent struct {
	// Port is the datapath's number of a port. It counts when Bond is 0.
	Port uint32
	// Bond is the recirculation id of the bond whose member OVS would choose by
	// a hash of the frame (bond/show).
	Bond uint32
	// VLAN and PCP are those of its 802.1Q tag; VLAN 0 for none.
	VLAN ovs.VLAN
	PCP  uint8
}

// Sent follows the actions for a frame that comes with a tag of this VID and
// priority 0, or untagged for 0. It lists where OVS would send it, in order, and
// the actions that are neither output nor a change of its tag.
func (t Trace) Sent(vlan ovs.VLAN) (sent []Sent, others []string, err error) {
	if t.Failed != "" {
		return nil, nil, nil // dropped, whatever was put together until then
	}
	now := Sent{VLAN: vlan}
	tagged := vlan != 0
	for _, a := range t.Actions {
		switch a.Kind {
		case Output, ToBond:
			s := now
			s.Port, s.Bond = a.Port, a.Bond
			sent = append(sent, s)
		case PopVLAN:
			if !tagged {
				return nil, nil, errors.New("follow the actions of ofproto/trace: a tag is taken off a frame without one")
			}
			tagged, now.VLAN, now.PCP = false, 0, 0
		case PushVLAN:
			if tagged {
				return nil, nil, errors.New("follow the actions of ofproto/trace: a second tag is pushed")
			}
			tagged, now.VLAN, now.PCP = true, a.VLAN, a.PCP
		default:
			others = append(others, a.Text)
		}
	}
	return sent, others, nil
}
