// SPDX-License-Identifier: Apache-2.0

package rules

import "github.com/ovs-xdp/ovs-xdp/ovs"

// settle makes the order of steps of equal priority, of which OpenFlow says
// nothing, a matter of no importance: before them come the frames that two of
// them match and do different things with. These pass.
//
// Where two do the same either may come first. The lane then counts for one what
// OVS may count for the other: rules for the frames of both would set that right,
// but their number grows with the square of that of the rules.
func (c *compiler) settle(group []step) []step {
	if len(group) == 1 {
		return group
	}
	var list []step
	seen := map[pattern]bool{}
	add := func(s step) {
		if !seen[s.pattern] {
			seen[s.pattern] = true
			list = append(list, s)
		}
	}
	c.conflicts(group, func(a, b *step) { add(step{pattern: a.and(&b.pattern)}) })
	for _, s := range group {
		add(s)
	}
	return list
}

// conflicts calls fn for each two steps of equal priority that meet and do
// different things. It gives all up when there are too many.
func (c *compiler) conflicts(group []step, fn func(a, b *step)) {
	found := 0
	var kinds []kind
	for _, passing := range []bool{false, true} {
		for i := range group {
			a := &group[i]
			if a.passes() != passing {
				continue
			}
			own := -1
			for k := range kinds {
				if kinds[k].act == a.act && !kinds[k].mixed {
					own = k
					continue
				}
				for _, list := range kinds[k].find(&a.pattern) {
					for _, j := range list {
						if c.work--; c.work < 0 || found > maxRules {
							c.work = -1
							return
						}
						if b := &group[j]; a.act != b.act && a.meets(&b.pattern) {
							found++
							fn(a, b)
						}
					}
				}
			}
			switch {
			case passing:
				continue // two that pass do not conflict
			case own < 0 && len(kinds) < maxKinds:
				own = len(kinds)
				kinds = append(kinds, kind{act: a.act})
			case own < 0:
				own = maxKinds - 1
				kinds[own].mixed = true
			}
			kinds[own].add(&a.pattern, i)
		}
	}
}

// maxKinds is how many kinds of steps are kept apart.
const maxKinds = 16

// kind holds steps that do the same thing, unless it is mixed.
type kind struct {
	act
	mixed bool
	shelves
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
