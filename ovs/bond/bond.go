// SPDX-License-Identifier: Apache-2.0

// Package bond reads what ovs-vswitchd prints of a bond: the unixctl command
// bond/show. It asks nobody itself.
package bond

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// Parse reads the text of "bond/show PORT". Lines that say nothing of which
// members carry frames are skipped; one of those that do and is not understood,
// or that is missing, is an error. OVS before 2.15 says slave for member.
func Parse(text string) (ovs.Bond, error) {
	b := ovs.Bond{Enabled: make(map[string]bool)}
	fail := func(line, why string) (ovs.Bond, error) {
		return ovs.Bond{}, fmt.Errorf("parse bond: %q: %s", line, why)
	}
	member := ""
	for _, line := range strings.Split(text, "\n") {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		value = strings.TrimSpace(value)
		indented := strings.HasPrefix(line, " ")
		name, isMember := strings.CutPrefix(key, "member ")
		if !isMember {
			name, isMember = strings.CutPrefix(key, "slave ")
		}
		switch {
		case indented && (key == "active member" || key == "active slave"):
			if member == "" || b.Active != "" {
				return fail(line, "no member, or a second active one")
			}
			b.Active = member
		case indented:
		case key == "bond_mode":
			if b.Mode != "" {
				return fail(line, "a second bond")
			}
			b.Mode = value
		case key == "lacp_status":
			if value != ovs.LACPOff && value != ovs.LACPConfigured && value != ovs.LACPNegotiated {
				return fail(line, "status is not known")
			}
			b.LACP = value
		case key == "lacp_fallback_ab":
			b.Fallback = value != "false"
		case key == "bond may use recirculation":
			b.Recirc = recirculation(value)
		case isMember:
			if _, twice := b.Enabled[name]; twice || name == "" || value != "enabled" && value != "disabled" {
				return fail(line, "want a new member that is enabled or disabled")
			}
			member = name
			b.Enabled[name] = value == "enabled"
		}
	}
	if b.Mode == "" || b.LACP == "" {
		return fail(text, "bond_mode or lacp_status is missing")
	}
	return b, nil
}

// recirculation reads "yes, Recirc-ID : 1" and gives 0 for all else, as "no,
// Recirc-ID : -1".
func recirculation(value string) uint32 {
	number, ok := strings.CutPrefix(value, "yes, Recirc-ID : ")
	if n, err := strconv.ParseUint(number, 10, 32); ok && err == nil {
		return uint32(n)
	}
	return 0
}
