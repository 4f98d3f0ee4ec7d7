// SPDX-License-Identifier: Apache-2.0

package rules

import "github.com/ovs-xdp/ovs-xdp/ovs"

// settle makes the order of steps of equal priority, of which OpenFlow says
// nothing, a matter of no importance: before them come the frames that two of
// them match. Where the two do different things these pass; where they do the
// same, that is what happens, but nobody knows which of the rules OVS counts.
func (c *compiler) settle(group []step) []step {
	if len(group) == 1 {
		return group
	}
	var list, common []step
	seen := map[pattern]bool{}
	c.pairs(group, func(a, b *step) {
		both := step{pattern: a.and(&b.pattern), unsure: true}
		switch {
		case seen[both.pattern]:
		case a.act == b.act:
			both.act = a.act
			common = append(common, both)
		default:
			seen[both.pattern] = true
			list = append(list, both)
		}
	})
	// A frame that three rules match may be in both lists.
	for _, rest := range [][]step{common, group} {
		for i := range rest {
			if p := rest[i].pattern; !seen[p] {
				seen[p] = true
				list = append(list, rest[i])
			}
		}
	}
	return list
}

// pairs calls fn for each two steps of equal priority that meet and of which one
// at least does more than pass. It gives all up when there are too many.
func (c *compiler) pairs(group []step, fn func(a, b *step)) {
	pairs := 0
	var active shelves
	for _, passing := range []bool{false, true} {
		for i := range group {
			a := &group[i]
			if a.passes() != passing {
				continue
			}
			for _, list := range active.find(&a.pattern) {
				for _, j := range list {
					if c.work--; c.work < 0 || pairs > maxRules {
						c.work = -1
						return
					}
					if b := &group[j]; a.meets(&b.pattern) {
						pairs++
						fn(a, b)
					}
				}
			}
			if !passing {
				active.add(&a.pattern, i)
			}
		}
	}
}

// shelves keep steps, by their indexes, where those that may meet a pattern are
// found: steps of different ports or destinations do not.
type shelves struct {
	byPort      map[uint32]*shelf
	noPort, all shelf
}

type shelf struct {
	byDst      map[ovs.MAC][]int
	noDst, all []int
}

func (s *shelves) add(p *pattern, i int) {
	s.all.add(p, i)
	port, ok := p.port()
	if !ok {
		s.noPort.add(p, i)
		return
	}
	if s.byPort == nil {
		s.byPort = map[uint32]*shelf{}
	}
	if s.byPort[port] == nil {
		s.byPort[port] = &shelf{}
	}
	s.byPort[port].add(p, i)
}

func (s *shelf) add(p *pattern, i int) {
	s.all = append(s.all, i)
	dst, ok := p.dst()
	if !ok {
		s.noDst = append(s.noDst, i)
		return
	}
	if s.byDst == nil {
		s.byDst = map[ovs.MAC][]int{}
	}
	s.byDst[dst] = append(s.byDst[dst], i)
}

func (s *shelves) find(p *pattern) [][]int {
	port, ok := p.port()
	if !ok {
		return s.all.find(p)
	}
	lists := s.noPort.find(p)
	if own := s.byPort[port]; own != nil {
		lists = append(lists, own.find(p)...)
	}
	return lists
}

func (s *shelf) find(p *pattern) [][]int {
	if dst, ok := p.dst(); ok {
		return [][]int{s.byDst[dst], s.noDst}
	}
	return [][]int{s.all}
}
