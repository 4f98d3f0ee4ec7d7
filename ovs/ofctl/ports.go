// SPDX-License-Identifier: Apache-2.0

package ofctl

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// parsePortConfig reads the output of "ovs-ofctl --no-names dump-ports-desc":
//
//	OFPST_PORT_DESC reply (OF1.3) (xid=0x2):
//	 1(tap0): addr:52:54:00:12:34:56
//	     config:     NO_FWD
//	     state:      LIVE
//
// Each port must have one config line, and all its words must be known; the
// other lines of a port are not looked into.
func parsePortConfig(text string) (map[uint32]ovs.PortConfig, error) {
	ports := map[uint32]ovs.PortConfig{}
	var (
		port uint32
		name string
	)
	begun, configured, headers := false, true, 0
	for n := 1; text != ""; n++ {
		line, rest, _ := strings.Cut(text, "\n")
		text = rest
		var err error
		switch {
		case strings.HasPrefix(line, "OFPST_PORT_DESC reply "):
			headers++
		case strings.HasPrefix(line, "     config: "):
			if !begun || configured {
				err = fmt.Errorf("belongs to no port")
				break
			}
			var config ovs.PortConfig
			config, err = parseConfigWords(strings.Fields(line)[1:])
			config.Name = name
			ports[port] = config
			configured = true
		case strings.HasPrefix(line, "     "):
			if !begun {
				err = fmt.Errorf("belongs to no port")
			}
		default:
			if !configured {
				err = fmt.Errorf("follows a port without config")
				break
			}
			if port, name, err = parsePortLine(line); err == nil {
				if _, ok := ports[port]; ok {
					err = fmt.Errorf("is there twice")
				}
			}
			begun, configured = true, false
		}
		if err != nil {
			return nil, fmt.Errorf("parse dump-ports-desc: line %d: %q: %w", n, line, err)
		}
	}
	if headers == 0 || !configured {
		return nil, fmt.Errorf("parse dump-ports-desc: the reply is not complete")
	}
	return ports, nil
}

// parsePortLine reads the number and the name of " 1(tap0): addr:52:54:…".
func parsePortLine(line string) (uint32, string, error) {
	number, rest, _ := strings.Cut(line, "(")
	number, blank := strings.CutPrefix(number, " ")
	name, _, addr := strings.Cut(rest, "): addr:")
	if !blank || !addr {
		return 0, "", fmt.Errorf("is not the line of a port")
	}
	if number == "LOCAL" {
		return ovs.LocalPort, name, nil
	}
	port, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return 0, "", fmt.Errorf("port %q is neither a number nor LOCAL", number)
	}
	return uint32(port), name, nil
}

// parseConfigWords reads the names of ofputil_port_config_to_name in
// lib/ofp-port.c; "0" stands for none.
func parseConfigWords(words []string) (ovs.PortConfig, error) {
	var c ovs.PortConfig
	if len(words) == 0 {
		return c, fmt.Errorf("has no config")
	}
	for _, word := range words {
		switch word {
		case "PORT_DOWN":
			c.Down = true
		case "NO_RECV":
			c.NoRecv = true
		case "NO_FWD":
			c.NoFwd = true
		case "0":
			if len(words) > 1 {
				return c, fmt.Errorf("has more than 0")
			}
		case "NO_STP", "NO_RECV_STP", "NO_FLOOD", "NO_PACKET_IN":
			// About frames that the fast path leaves to OVS anyway.
		default:
			return c, fmt.Errorf("config bit %q is not known", word)
		}
	}
	return c, nil
}
