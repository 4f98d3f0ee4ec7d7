// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Port is a port of a bridge as dpif/show lists it.
type Port struct {
	// Bridge is the bridge's name, Name that of the interface.
	Bridge, Name string
	// OFPort is its OpenFlow number.
	OFPort int
	// InDatapath tells whether it is a port of the datapath; a patch port is
	// none. Number is its number there, which the tunnels of a kind share.
	InDatapath bool
	Number     uint32
}

// portLine is a port: "    v1 3/4: (system)". Names may hold blanks.
var portLine = regexp.MustCompile(`^    (.+?) (\d+)/(\d+|none): \(.*\)$`)

// ParsePorts reads the text of "dpif/show" and returns the ports of all bridges
// on the datapath of the named one: a frame may leave by another bridge.
//
//	netdev@ovs-netdev: hit:2 missed:20
//	  br0:
//	    br0 65534/1: (tap)
//	    v1 3/4: (system)
func ParsePorts(text, bridge string) ([]Port, error) {
	fail := func(n int, line, why string) ([]Port, error) {
		return nil, fmt.Errorf("parse dpif/show: line %d: %.60q: %s", n+1, line, why)
	}
	var ports []Port
	found := false // the bridge, on the datapath of ports
	datapath, current := false, ""
	for n, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		name, isBridge := strings.CutSuffix(line, ":")
		name, isBridge2 := strings.CutPrefix(name, "  ")
		fields := portLine.FindStringSubmatch(line)
		switch {
		case line != "" && line[0] != ' ':
			if !strings.Contains(line, "@") {
				return fail(n, line, "not a datapath")
			}
			if found {
				return ports, nil
			}
			datapath, current, ports = true, "", nil
		case fields != nil:
			if current == "" {
				return fail(n, line, "a port without a bridge")
			}
			p := Port{Bridge: current, Name: fields[1]}
			ofport, err := strconv.ParseUint(fields[2], 10, 16)
			if err != nil {
				return fail(n, line, "the OpenFlow number is too large")
			}
			p.OFPort = int(ofport)
			if fields[3] != "none" {
				number, err := strconv.ParseUint(fields[3], 10, 32)
				if err != nil {
					return fail(n, line, "the datapath's number is too large")
				}
				p.InDatapath, p.Number = true, uint32(number)
			}
			ports = append(ports, p)
		case isBridge && isBridge2 && name != "" && name[0] != ' ':
			if !datapath {
				return fail(n, line, "a bridge without a datapath")
			}
			current = name
			found = found || current == bridge
		default:
			return fail(n, line, "neither a datapath nor a bridge nor a port")
		}
	}
	if !found {
		return nil, fmt.Errorf("parse dpif/show: it does not list bridge %s", bridge)
	}
	return ports, nil
}
