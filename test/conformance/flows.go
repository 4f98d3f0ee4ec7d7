// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"os"
	"path/filepath"
	"strings"
)

// flows gives a bridge its groups and rules.
func (s *side) flows(i int, b Bridge) error {
	p := b.Policy
	if p == nil {
		p = &Policy{}
		if !b.Secure {
			p.Rules = []FlowRule{{Flow: "priority=0 actions=NORMAL"}}
		}
	}
	var lines []string
	for _, r := range p.Rules {
		// The sides have one tracker of connections, and of fragments, between them.
		zone := map[bool]string{false: "ct(zone=1,", true: "ct(zone=2,"}[s.lane]
		lines = append(lines, strings.ReplaceAll(r.Flow, "ct(", zone))
	}
	file := filepath.Join(s.lab.Dir, "rules-"+s.letter)
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	// A group takes the rules along that use it: new ones before, old ones after.
	had := i < len(s.now.Bridges) && s.now.Bridges[i].Policy != nil && len(s.now.Bridges[i].Policy.Groups) > 0
	for _, group := range p.Groups {
		command := "add-group"
		if had {
			command = "mod-group"
		}
		if _, err := s.lab.Ofctl("-O", "OpenFlow13", command, s.bridge(i), group); err != nil {
			return err
		}
	}
	if _, err := s.lab.Ofctl("-O", "OpenFlow13", "replace-flows", s.bridge(i), file); err != nil {
		return err
	}
	if had && len(p.Groups) == 0 {
		_, err := s.lab.Ofctl("-O", "OpenFlow13", "del-groups", s.bridge(i))
		return err
	}
	return nil
}

// learnedRules waits until ovs-xdpd has looked at rules that OVS has made of a
// frame (learn).
func (x *run) learnedRules(f *Frame) error {
	p := x.policy(f)
	if p == nil || !p.teaches() {
		return nil
	}
	b := x.cfg.Ports[f.Port].Bridge
	text, err := x.ask("bridge/dump-flows", x.Rig.lane.bridge(b))
	n := strings.Count(text, "\n")
	if err != nil || n == x.flowCount[b] {
		return err
	}
	x.flowCount[b] = n
	return x.caughtUp()
}
