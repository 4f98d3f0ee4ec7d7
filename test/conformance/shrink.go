// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"slices"
	"time"
)

// Shrink makes a case that fails smaller while it fails in the same way, and
// returns the smallest that it finds in time with its failure.
func (r *Rig) Shrink(c *Case, f *Failure, budget time.Duration) (*Case, *Failure, error) {
	s := shrinker{rig: r, best: c, failure: f, deadline: time.Now().Add(budget)}
	s.keep(c.Events[:min(f.Event+1, len(c.Events))])
	for before := -1; before != len(s.best.Events) && s.err == nil && !s.over(); {
		before = len(s.best.Events)
		s.events()
		s.config()
	}
	return s.best, s.failure, s.err
}

type shrinker struct {
	rig      *Rig
	best     *Case
	failure  *Failure
	deadline time.Time
	err      error
}

func (s *shrinker) over() bool { return time.Now().After(s.deadline) }

// try runs a case and takes it for the best if it fails as the best does.
func (s *shrinker) try(c *Case) bool {
	if s.err != nil || s.over() {
		return false
	}
	f, err := s.rig.Run(c, NewTally())
	if err != nil {
		return false // a configuration that OVS does not take
	}
	if f == nil || f.Kind != s.failure.Kind {
		return false
	}
	s.best, s.failure = c, f
	return true
}

func (s *shrinker) keep(events []Event) bool {
	return s.try(&Case{Seed: s.best.Seed, Config: s.best.Config, Events: events})
}

// events leaves out ever smaller pieces of the sequence.
func (s *shrinker) events() {
	for size := (len(s.best.Events) + 1) / 2; size > 0; size /= 2 {
		for at := 0; at < len(s.best.Events) && !s.over(); {
			end := min(at+size, len(s.best.Events))
			if !s.keep(slices.Concat(s.best.Events[:at], s.best.Events[end:])) {
				at = end
			}
		}
	}
}

// config makes ports and bridges plain, and takes ports away.
func (s *shrinker) config() {
	change := func(fn func(c *Config)) bool {
		c := s.best.Config.Clone()
		fn(&c)
		return s.try(&Case{Seed: s.best.Seed, Config: c, Events: s.best.Events})
	}
	for i := range s.best.Config.Ports {
		p := s.best.Config.Ports[i]
		if p.Bridge < 0 || change(func(c *Config) { c.Ports[i].Bridge = -1 }) {
			continue
		}
		plain := Port{Bridge: p.Bridge, Tag: noTag}
		if p.String() == plain.String() || change(func(c *Config) { c.Ports[i] = plain }) {
			continue
		}
		for _, fn := range []func(p *Port){
			func(p *Port) { p.Protected, p.Offload, p.PriorityTags = false, "", "" },
			func(p *Port) { p.NoForward, p.NoReceive, p.OFDown, p.LinkDown = false, false, false, false },
			func(p *Port) { p.MTU = 0 },
			func(p *Port) { p.Trunks, p.CVLANs = nil, nil },
		} {
			change(func(c *Config) { fn(&c.Ports[i]) })
		}
	}
	s.rules(change)
	for i := range s.best.Config.Bridges {
		if !change(func(c *Config) { c.Bridges[i] = Bridge{Mode: "on", Policy: c.Bridges[i].Policy} }) {
			change(func(c *Config) {
				b := &c.Bridges[i]
				b.Canary, b.XDPVLANs, b.Snooping, b.ForwardBPDU, b.MACTableSize = "", "", false, false, 0
			})
			change(func(c *Config) { c.Bridges[i].FloodVLANs = nil })
		}
	}
}

// rules leaves out rules of the bridges.
func (s *shrinker) rules(change func(fn func(c *Config)) bool) {
	for i := range s.best.Config.Bridges {
		if p := s.best.Config.Bridges[i].Policy; p == nil || change(func(c *Config) { c.Bridges[i].Policy = nil }) {
			continue
		}
		for n := 0; n < len(s.best.Config.Bridges[i].Policy.Rules); {
			fewer := *s.best.Config.Bridges[i].Policy
			fewer.Rules = slices.Delete(slices.Clone(fewer.Rules), n, n+1)
			if !change(func(c *Config) { c.Bridges[i].Policy = &fewer }) {
				n++
			}
		}
	}
}
